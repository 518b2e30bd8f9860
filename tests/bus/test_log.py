"""What is logged of events, and what never."""

from __future__ import annotations

import importlib
import io
import logging
import os
import threading

import pytest
from inside import under_lock
from programs import WITHOUT_STDERR, start
from waiting import LONG

import stdevents


def test_one_debug_line_an_event(bus, seen, caplog):
    caplog.set_level(logging.DEBUG, "stdevents")
    bus.configure(timeout=LONG)
    bus.post("test", "a", unique="key")
    skipped = bus.post("test", "b", unique="key")
    bus.post_local("test", "c")
    bus.poll()
    pid = os.getpid()
    assert caplog.record_tuples == [
        ("stdevents", logging.DEBUG, "handling event; source=test, event=c, pid=None"),
        ("stdevents", logging.DEBUG, f"handling event; source=test, event=a, pid={pid}"),
        ("stdevents", logging.DEBUG, f"skipping event {skipped} was handled by worker {pid}"),
    ]


def test_it_goes_to_the_log_that_there_is_after_logging_was_reloaded(bus, fork):
    """That has loggers of its own, of the same names."""

    def fail(*_):
        raise ValueError

    def work(parent):
        bus.post("test", "before")
        bus.poll()
        importlib.reload(logging)
        stream = io.StringIO()
        logging.basicConfig(stream=stream)
        bus.post("test", "after")
        bus.poll()
        return stream.getvalue()

    bus.register(fail, "test")
    told = fork(work).result()
    assert "source=test, event=after" in told
    assert "event=before" not in told


def test_an_event_without_a_handler_is_told_so(bus, caplog):
    caplog.set_level(logging.DEBUG, "stdevents")
    bus.register(lambda *event: None, "test", "drop")
    bus.post_local("test", "dorp")
    for event in ("drop", "dorp", "dorp"):
        bus.post("test", event)
    bus.poll()
    pid = os.getpid()
    told = [
        "no handler; source=test, event=dorp, pid=None",
        f"handling event; source=test, event=drop, pid={pid}",
        *2 * [f"no handler; source=test, event=dorp, pid={pid}"],
    ]
    assert caplog.messages == told


def test_no_payload_is_ever_logged(tiny, caplog):
    """G6: whatever happens to the event."""
    caplog.set_level(logging.DEBUG, "stdevents")
    bus, calls = tiny
    bus.configure(timeout=LONG)
    secret = "the payload"

    def fail(data, *_):
        raise LookupError

    bus.register(fail, "test")
    bus.post_local("test", "local", secret)
    for _ in range(100):  # more than there is room for
        bus.post("test", "event", secret)
    bus.post("test", "event", secret, unique="key")
    bus.post("test", "event", secret, unique="key")
    bus.poll()
    for bad in ([secret, object()], [secret, "\ud800"], secret * 1000):
        with pytest.raises(stdevents.EncodeError) as caught:
            bus.post("test", "event", bad)
        assert secret not in str(caught.value)
    assert secret in [data for data, *_ in calls]
    assert {record.levelname for record in caplog.records} == {"DEBUG", "WARNING", "ERROR"}
    assert secret not in caplog.text


def test_a_line_that_is_kept_keeps_no_error(bus, name, caplog):
    """Else it would keep the frames of that, and with them the memory of a bus that is closed."""
    bus.configure(wait_max=1e-6)
    under_lock(bus, in_other_thread, bus.close)
    (told, *_) = caplog.records
    assert "stopping could not be posted" in told.getMessage()
    assert not [one for one in told.args if isinstance(one, BaseException)]
    bus.configure(name)  # it was left behind


def in_other_thread(work):
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


# -- without a log configured ----------------------------------------------------------------------

FAIL = """
import sys
import stdevents

def fail(data, event, source, pid):
    raise LookupError("of the handler")

assert "logging" not in sys.modules
if "logging" in sys.argv:
    import logging
bus = stdevents.Bus(sys.argv[1], size=1024, interval=0)
bus.register(fail, "test", "event")
for _ in range(50):
    bus.post("test", "event", "the payload")
bus.poll()
assert bus.stats().handler_errors == 3
bus.close()
"""


@pytest.mark.parametrize("imported", ["logging", ""])
def test_what_goes_wrong_is_seen_without_a_log_configured(name, imported):
    """Also where nobody has imported logging, which is not imported for that; and no payload."""
    process = start(FAIL, name, imported)
    out, err = process.communicate()
    assert (process.returncode, out) == (0, ""), err
    assert "are lost, overwritten" in err
    assert err.count("event callback failed; source=test, event=event, pid=") == 3
    assert err.count("LookupError: of the handler") == 3
    assert "the payload" not in err


@pytest.mark.parametrize("imported", ["logging", ""])
def test_what_goes_wrong_never_goes_to_standard_output(name, imported):
    """Where standard error is closed: that is what the program prints, for others to read."""
    process = start(FAIL, name, imported, before=WITHOUT_STDERR)
    out, _ = process.communicate()
    assert (process.returncode, out) == (0, "")

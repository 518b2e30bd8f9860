"""What is logged of events, and what never."""

from __future__ import annotations

import logging
import os

import pytest
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
    for _ in range(10):
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

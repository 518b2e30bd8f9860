"""Configure, once more, and for several buses; who is told of it."""

from __future__ import annotations

import contextlib
import os
import select
import threading

import pytest
from inside import (
    settings_of,
)
from programs import LATE_WORKER, run
from waiting import LONG, let_pass, loop_threads, wait_until_in

import stdevents

# -- started and stopping --------------------------------------------------------------------------


def test_configure_posts_started_which_its_own_handlers_get(name):
    calls = []
    bus = stdevents.Bus()
    bus.register(lambda *arguments: calls.append(arguments), "stdevents", "started")
    bus.configure(name, interval=0)
    bus.poll()
    bus.close()
    assert calls == [(None, "started", "stdevents", os.getpid())]


def test_the_others_are_told_when_a_worker_starts_and_stops(bus, seen, name):
    run(LATE_WORKER, name, "new")
    bus.poll()
    events = stdevents.events
    assert [(source, event) for source, event, _ in seen] == [
        (events._source, events.started),
        (events._source, events.stopping),
    ]


# -- configure again -------------------------------------------------------------------------------


def test_interval_0_stops_the_loop_and_another_one_starts_it(name):
    with contextlib.closing(stdevents.Bus(name, wait_max=LONG)) as bus:
        assert len(loop_threads(name)) == 1
        bus.configure(interval=0)
        assert loop_threads(name) == []
        bus.configure(interval=0)
        bus.configure(interval=1.0)  # the default's value, but given
        assert len(loop_threads(name)) == 1
        bus.configure(interval=2.0)
        assert len(loop_threads(name)) == 1
    assert loop_threads(name) == []


def test_where_no_thread_can_start_configure_changes_nothing(name, monkeypatch):
    """As in a container with a limit of processes: it is polled by hand still."""

    def start(thread):
        raise RuntimeError("can't start new thread")

    bus = stdevents.Bus()
    with contextlib.closing(bus):
        monkeypatch.setattr(threading.Thread, "start", start)
        with pytest.raises(stdevents.StdeventsError, match=r"start .* configure\(interval=0\)"):
            bus.configure(name)
        assert not bus.configured()
        bus.configure(name, interval=0)
        with pytest.raises(stdevents.StdeventsError, match="can't start new thread"):
            bus.configure(interval=1, timeout=9)
        monkeypatch.undo()
        assert [settings_of(bus)[one] for one in ("interval", "timeout")] == [0, 2]
        bus.post("test", "event")
        assert bus.poll() == "done" and loop_threads(name) == []


def test_a_shorter_interval_counts_at_once(name, monkeypatch):
    """Also where no post can cut the sleep short."""
    monkeypatch.delattr(select, "epoll", raising=False)
    arrived = threading.Event()
    with contextlib.closing(stdevents.Bus(name, interval=100 * LONG)) as bus:
        bus.register(lambda *_: arrived.set(), "test", "event")
        wait_until_in(*loop_threads(name), "wait")
        bus.configure(interval=0.01)
        bus.post("test", "event")
        assert arrived.wait(LONG)


def test_settings_that_are_not_given_are_kept(name, seen, bus):
    bus.configure(timeout=LONG)
    bus.configure(name, wait_max=0.25)
    assert loop_threads(name) == []  # interval is 0 still
    bus.post("test", "event", 1, unique="key")
    let_pass(0.01)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]
    settings = settings_of(bus)
    assert [settings[one] for one in ("interval", "timeout", "wait_max")] == [0, LONG, 0.25]


def test_configure_again_returns_the_bus_and_posts_nothing(bus, name):
    assert bus.configure() is bus
    assert bus.configure(name) is bus
    assert bus.configure(timeout=1) is bus
    assert bus.stats().last_id == 1


# -- more than one bus -----------------------------------------------------------------------------


def test_two_buses_in_one_process_do_not_meet(bus, seen, name):
    with contextlib.closing(stdevents.Bus(f"{name}-2", interval=0)) as other:
        other_seen = []
        other.register(lambda data, *_: other_seen.append(data), "test")
        bus.post("test", "event", 1)
        other.post("test", "event", 2)
        other.poll()
        bus.poll()
        assert (seen, other_seen) == ([("test", "event", 1)], [2])


def test_one_bus_may_post_to_another_from_its_handler(bus, name):
    with contextlib.closing(stdevents.Bus(f"{name}-2", interval=0)) as other:
        arrived = []
        bus.register(lambda data, *_: (other.post("test", "event", data), other.poll()), "test")
        other.register(lambda data, *_: arrived.append(data), "test")
        bus.post("test", "event", 1)
        bus.poll()
        assert arrived == [1]


def test_a_bus_is_opened_once_in_a_process(bus, name):
    with pytest.raises(stdevents.StdeventsError, match=name):
        stdevents.Bus(name)
    with pytest.raises(stdevents.StdeventsError, match=name):
        stdevents.configure(name)
    assert not stdevents.configured()
    assert bus.post("test", "event") == 2
    bus.close()
    stdevents.Bus(name, interval=0).close()


def test_the_functions_of_the_module_are_those_of_one_bus(name):
    calls = []

    @stdevents.on("test", "event")
    def handle(*arguments):
        calls.append(arguments)

    try:
        assert not stdevents.configured()
        assert stdevents.configure(name, interval=0).configured()
        assert stdevents.configured()
        assert stdevents.post("test", "event", 1) == 2
        assert stdevents.post_local("test", "event", 2) is None
        assert stdevents.poll() == "done"
        assert stdevents.stats().handled == 2
        assert stdevents.close() is None
        assert [data for data, *_ in calls] == [2, 1]
    finally:
        assert stdevents.unregister(handle, "test", "event")


def test_a_bus_says_which_it_is(bus, name):
    assert repr(bus) == f"<Bus '{name}'>"
    bus.close()
    assert repr(bus) == "<Bus, closed>"

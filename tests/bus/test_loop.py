"""The loop: a thread that polls."""

from __future__ import annotations

import asyncio
import contextlib
import threading

import pytest
from inside import (
    have_loop_poll,
    loop_thread_of,
)
from waiting import LONG, loop_threads, wait_until_in

import stdevents


def test_the_loop_delivers(name):
    arrived = threading.Event()
    with contextlib.closing(stdevents.Bus(name, interval=0.01)) as bus:
        bus.register(lambda *_: arrived.set(), "test", "event")
        bus.post("test", "event")
        assert arrived.wait(LONG)


def test_a_child_that_opens_the_bus_itself_has_a_loop(name, fork):
    """G7: the usual worker, forked before any bus was open."""
    bus = stdevents.Bus()

    def work(parent):
        arrived = threading.Event()
        bus.register(lambda *_: arrived.set(), "test", "event")
        with contextlib.closing(bus.configure(name, interval=0.01)):
            bus.post("test", "event")
            return arrived.wait(LONG / 4)

    assert fork(work).result()


@pytest.mark.parametrize("error", [SystemExit, asyncio.CancelledError, KeyboardInterrupt])
def test_the_loop_outlives_what_a_handler_raises(name, caplog, error):
    """G6: and does not sleep before it handles the next event."""
    arrived = threading.Event()

    def fail(*_):
        raise error

    with contextlib.closing(stdevents.Bus(name, interval=10 * LONG)) as bus:
        bus.register(fail, "test", "bad")
        bus.register(lambda *_: arrived.set(), "test", "good")
        bus.post_many([("test", "bad", None), ("test", "good", None)])
        assert arrived.wait(LONG)
    assert "the loop goes on after" in caplog.text


def test_a_loop_that_comes_to_itself_when_the_bus_is_closed_says_nothing(name, caplog):
    bus = stdevents.Bus(name, interval=0.01, wait_max=0.05)
    inside, closed = threading.Event(), threading.Event()
    loop = loop_thread_of(bus)

    def late(poll):
        inside.set()
        closed.wait(LONG)
        poll()

    have_loop_poll(bus, late)
    inside.wait(LONG)
    bus.close()
    closed.set()
    loop.join()
    assert caplog.text == ""


def test_a_local_event_wakes_the_loop(name):
    started, arrived = threading.Event(), threading.Event()
    bus = stdevents.Bus()
    bus.register(lambda *_: started.set(), "stdevents", "started")
    bus.register(lambda *_: arrived.set(), "test", "event")
    with contextlib.closing(bus.configure(name, interval=100 * LONG)):
        assert started.wait(LONG)
        wait_until_in(*loop_threads(name), "wait")
        bus.post_local("test", "event")
        assert arrived.wait(LONG)


def test_interval_0_starts_no_thread(name):
    before = threading.enumerate()
    with contextlib.closing(stdevents.Bus(name, interval=0)):
        assert threading.enumerate() == before

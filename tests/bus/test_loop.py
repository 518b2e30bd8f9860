"""The loop: a thread that polls."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from time import monotonic

import pytest
from inside import (
    AT_MOST_EVERY,
    LoopOf,
    change_interval,
    have_loop_poll,
    idle_loop,
    loop_thread_of,
    note_naps,
    run_loops_by,
)
from steps import at_each, interrupt, with_steps
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


def test_a_loop_that_finds_the_bus_just_closed_says_nothing(name, caplog):
    """Before it is told to end."""
    bus = stdevents.Bus(name, interval=0.01)
    polled = threading.Event()

    def poll_a_closed_bus(real):
        polled.set()
        raise stdevents.NotConfigured("another thread is closing it")

    have_loop_poll(bus, poll_a_closed_bus)
    assert polled.wait(LONG)
    bus.close()
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


class Scripted:
    """A poller, and what it waits with. Each poll of it finds something or nothing, in turn."""

    burst_pause = AT_MOST_EVERY

    def __init__(self, *found):
        self.found = list(found)
        self.done, self.naps = [], []
        self.woken = lambda: None  # at once

    def poll_in_loop(self, signals):
        self.done.append("poll")
        return self.found.pop(0)

    def look_in_loop(self):
        pass

    def may_sleep(self):
        self.done.append("W1")
        return True

    def wait(self, timeout):
        self.done.append("wait")
        self.naps.append(timeout)
        self.woken()

    def wake(self):
        pass

    def is_intact(self):
        return True


def test_a_burst_is_handled_by_the_clock_and_nobody_rings_for_it(monkeypatch):
    """W1 comes again when a poll finds nothing; before that each poll comes after a pause."""
    poller = Scripted(True, True, True, True, False, True)
    loop = LoopOf(monkeypatch, poller)
    loop.rounds(6)
    sleep = ["W1", "wait"]
    assert poller.done == ["poll", *sleep, "poll", "poll", "poll", "poll", *sleep, "poll"]
    assert loop.clock.pauses == [AT_MOST_EVERY] * 6


def test_events_that_come_one_by_one_are_handled_at_once(monkeypatch):
    """None waits for a clock."""
    poller = Scripted(True, True, False, True)
    loop = LoopOf(monkeypatch, poller)

    def woken():
        loop.clock.now += 2 * AT_MOST_EVERY

    poller.woken = woken
    loop.rounds(4)
    assert poller.done == ["poll", "W1", "wait"] * 4
    assert loop.clock.pauses == []


def test_what_came_just_before_the_sleep_begins_a_burst(monkeypatch):
    """W2: it would have been a ring for each event of a fast poster."""
    poller = Scripted(True, True, False)
    loop = LoopOf(monkeypatch, poller)
    poller.may_sleep = lambda: False
    loop.rounds(2)
    assert poller.done == ["poll", "poll"]
    assert loop.clock.pauses == [AT_MOST_EVERY] * 2


def test_a_loop_sleeps_its_interval_after_a_fork_too(name, monkeypatch):
    """Its thread is another one, and looks at what that depends on before it first sleeps."""
    naps, loop = note_naps(monkeypatch), idle_loop(name)
    loop.start()
    assert naps.get(timeout=LONG) == 3600.0
    loop.park(LONG)
    loop.unpark()
    assert naps.get(timeout=LONG) == 3600.0
    loop.end(LONG)


def test_an_interval_that_changes_at_any_step_of_a_turn_is_slept(name, monkeypatch, watchdog):
    """Its thread is woken by that, and looks at it in the next turn, if not in this one."""
    poller, loops = Scripted(), []
    for at_step in at_each(lambda: change_interval(loops[-1].loop, 60.0)):
        poller.found, loop = [False, False], LoopOf(monkeypatch, poller, 3600.0)
        loops.append(loop)
        with_steps(lambda loop=loop: loop.rounds(1), at_step)
        loop.rounds(1)
        assert poller.naps[-1] <= 60.0


# -- exceptions from outside -----------------------------------------------------------------------


def wait_for(handled, bus):
    """Calls of the bus start a thread where none could go on."""
    deadline = monotonic() + LONG
    while not handled.wait(0.01):
        assert monotonic() < deadline
        bus.post("test", "event")
    handled.clear()


@pytest.mark.parametrize("again", [0, 1, 3, 8, 15])
def test_the_loop_outlives_exceptions_at_any_of_its_lines(name, watchdog, monkeypatch, again):
    """As by PyThreadState_SetAsyncExc; and when one more comes so many lines later."""
    for at_first in at_each(interrupt):
        left, gone = [again], []

        def at_step(at_first=at_first, left=left, gone=gone):
            if gone and left[0]:
                left[0] -= 1
                if not left[0]:
                    interrupt()
            try:
                at_first()
            except KeyboardInterrupt:
                gone.append(None)
                raise

        def run(work, traced, at_step=at_step):
            with contextlib.suppress(KeyboardInterrupt):
                with_steps(work, at_step, traced)

        with monkeypatch.context() as patch:
            run_loops_by(patch, run)
            with stdevents.Bus(name, interval=3600) as bus:
                handled = threading.Event()
                bus.register(lambda *_, handled=handled: handled.set(), "test")
                for _ in range(2):
                    bus.post("test", "event")
                    wait_for(handled, bus)

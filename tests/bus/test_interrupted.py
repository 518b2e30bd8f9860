"""Calls in the middle of which a signal handler, or another thread, calls the same bus."""

from __future__ import annotations

import contextlib
import fcntl
import gc
import os
import signal
import sys
import threading
import time

import pytest
from inside import (
    after_each_unlocking,
    after_next_hold,
    before,
    closing_of,
    folder_of,
    ghosts_of,
    is_of_memory,
    lock_file_of,
    look_at_ground,
    loop_thread_of,
    name_of,
    start_loop,
    stop_loop,
    wait_for_uses,
)
from programs import run
from state import assert_alone, assert_removed
from steps import at_each, interrupt, is_ours, with_steps
from waiting import LONG, loop_threads

import stdevents

SMALL = "16k"  # a bus that is opened thousands of times

# -- during something else -------------------------------------------------------------------------


def test_what_a_signal_handler_posts_in_workers_is_published(bus, seen, monkeypatch):
    ids = []
    before(monkeypatch, "the workers are listed", lambda: ids.append(bus.post("test", "signal")))
    assert len(bus.workers()) == 1
    assert ids == [0], "its id is not known yet"
    bus.poll()
    assert seen == [("test", "signal", None)]


def test_what_a_signal_handler_posts_in_a_claim_is_published(bus, seen, monkeypatch):
    ids = []
    bus.post("test", "main", unique="key")
    before(monkeypatch, "an event is claimed", lambda: ids.append(bus.post("test", "signal")))
    bus.poll()
    assert ids == [0]
    bus.poll()
    assert [event for _, event, _ in seen] == ["main", "signal"]


def test_signals_while_a_lock_is_let_go_of_leave_it_free(bus, monkeypatch):
    """G5: what each of them posted is published, also what came when that was being done."""
    ids = []

    def post():
        if len(ids) < 3:
            ids.append(bus.post("test", "signal"))

    after_each_unlocking(monkeypatch, post)
    first = bus.post("test", "main")
    assert ids == [0, 0, 0]
    assert bus.stats().last_id == first + 3
    descriptor = os.open(lock_file_of(name_of(bus)), os.O_RDWR)
    fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    os.close(descriptor)


def test_close_during_calls_of_other_threads_raises_only_not_configured(name):
    """Neither is memory used that is gone, nor a file whose number may be another one's."""
    raised = []
    for _ in range(30):
        bus = stdevents.Bus(name, interval=0, wait_max=LONG)

        def work(bus=bus):
            try:
                while True:
                    bus.post("test", "event")
                    bus.poll()
                    bus.stats()
                    bus.workers()
            except stdevents.NotConfigured:
                pass
            except Exception as error:
                raised.append(error)

        threads = [threading.Thread(target=work) for _ in range(3)]
        for thread in threads:
            thread.start()
        time.sleep(0.002)
        bus.close()
        for thread in threads:
            thread.join()
    assert raised == []


CALLS = {
    "poll": lambda bus: bus.poll(),
    "fileno": lambda bus: bus.fileno(),
    "post": lambda bus: bus.post("test", "event"),
    "post_local": lambda bus: bus.post_local("test", "event"),
    "stats": lambda bus: bus.stats(),
    "workers": lambda bus: bus.workers(),
    "wait": lambda bus: bus.wait(1, timeout=0),
    "lead": lambda bus: bus.lead("task"),
    "ask": lambda bus: bus.ask("test", "event", timeout=0),
}


def open_files():
    gc.collect()  # memory is unmapped by its last reader, who may have failed
    return len(os.listdir("/dev/fd"))


@pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)
def test_close_at_any_line_of_another_threads_call_does_not_break_it(
    watchdog, monkeypatch, name, call
):
    """It is done, or the bus is not open; and no file stays open."""
    bus = stdevents.Bus()
    wait_for_uses(monkeypatch, 0.001)  # of the call, which stands still

    def close():
        closing = threading.Thread(target=bus.close)
        closing.start()
        closing.join()

    files = open_files()
    for at_step in at_each(close, stride=2):
        bus.configure(name, interval=0, wait_max=0.001, size=SMALL)
        look_at_ground(bus)
        with contextlib.suppress(stdevents.NotConfigured):
            with_steps(lambda: call(bus), at_step)
    bus.close()
    assert open_files() == files


def test_a_post_that_was_published_when_the_bus_was_closed_has_its_id(bus):
    def close():
        closing = threading.Thread(target=bus.close)
        closing.start()
        closing.join()

    last = bus.stats().last_id
    after_next_hold(bus, close)
    assert bus.post("test", "event") == last + 1


def test_a_signal_handler_may_close_during_close(bus, monkeypatch):
    def close():
        monkeypatch.undo()
        bus.close()

    before(monkeypatch, "stopping is posted", close)
    bus.close()
    assert not bus.configured()


def test_close_at_any_line_of_configure_leaves_it_open_or_closed(watchdog, name):
    """Open with its loop, and known to be; or closed without, and nothing is left (G9)."""
    bus = stdevents.Bus()
    outcomes = set()
    for at_step in at_each(bus.close):
        with_steps(lambda: bus.configure(name, interval=1000, size=SMALL), at_step)
        outcomes.add(bus.configured())
        if bus.configured():
            assert len(loop_threads(name)) == 1
            with pytest.raises(stdevents.StdeventsError, match="has it open already"):
                stdevents.Bus(name)
            bus.close()
        for thread in loop_threads(name):
            thread.join(LONG)
        assert loop_threads(name) == []
        assert_removed(name)
    assert outcomes == {True, False}


@pytest.fixture
def on_signal():
    """`on_signal(do)`: what SIGUSR1 has the main thread do, until the end of the test."""
    before = signal.getsignal(signal.SIGUSR1)
    yield lambda do: signal.signal(signal.SIGUSR1, lambda *_: do())
    signal.signal(signal.SIGUSR1, before)


def signal_main_thread():
    signal.pthread_kill(threading.main_thread().ident, signal.SIGUSR1)


class Slow:
    """A handler that calls `do` as soon as the main thread closes its bus, and then ends or not."""

    def __init__(self, bus, do, end=True):
        self.bus, self.do = bus, do
        self.begun, self.go = threading.Event(), threading.Event()
        if end:
            self.go.set()

    def __call__(self, *_):
        closing = closing_of(self.bus)
        self.begun.set()
        while not closing():
            time.sleep(0.001)
        self.do()
        self.go.wait(LONG)


# -- the loop --------------------------------------------------------------------------------------


def test_a_close_that_is_interrupted_while_it_waits_for_a_handler_has_left(name, on_signal):
    """G9: else the bus would be open, and handle nothing."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=LONG)
    on_signal(interrupt)
    slow = Slow(bus, signal_main_thread, end=False)
    bus.register(slow, "test")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    try:
        with pytest.raises(KeyboardInterrupt):
            bus.close()
    finally:
        slow.go.set()
    assert not bus.configured()
    with pytest.raises(stdevents.NotConfigured):
        bus.post("test", "told")


def test_stopping_is_posted_once_where_a_signal_handler_closes_in_a_close(name, bus, seen):
    program = """
import os, signal, sys, threading, time
import stdevents
from inside import closing_of

bus = stdevents.Bus(sys.argv[1], interval=0.01, wait_max=60)
signal.signal(signal.SIGUSR1, lambda *_: bus.close())
begun = threading.Event()

def slow(*_):
    closing = closing_of(bus)
    begun.set()
    while not closing():
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGUSR1)

bus.register(slow, "test")
bus.post("test", "slow")
begun.wait(60)
bus.close()
"""
    run(program, name)
    bus.poll()
    assert [event for source, event, _ in seen if source == "stdevents"] == ["started", "stopping"]


def test_a_poll_of_a_signal_handler_does_not_wait_during_a_close(name, on_signal, watchdog):
    """A handler in another thread may close the bus, and so wait for the one that closes."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=1)
    polled = []

    def poll_and_close():
        signal_main_thread()
        bus.close()

    slow = Slow(bus, poll_and_close)
    bus.register(slow, "test")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    on_signal(lambda: polled.append(bus.poll()))
    bus.close()
    assert polled == ["recursive"]


def test_the_lock_is_free_while_a_close_during_a_post_waits_for_a_handler(
    name, monkeypatch, on_signal
):
    """G5."""
    bus = stdevents.Bus(name, interval=0.01, wait_max=1)
    lock = os.open(lock_file_of(name), os.O_RDWR)
    closed, taken = threading.Event(), []

    def take_the_lock():
        while not (taken or closed.is_set()):
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                taken.append(not closed.is_set())
        fcntl.flock(lock, fcntl.LOCK_UN)

    slow = Slow(bus, take_the_lock)
    bus.register(slow, "test", "slow")
    bus.post("test", "slow")
    assert slow.begun.wait(LONG)
    on_signal(bus.close)

    def interrupt():
        monkeypatch.undo()
        os.kill(os.getpid(), signal.SIGUSR1)

    before(monkeypatch, "an event is written", interrupt)
    assert bus.post("test", "told") > 0
    closed.set()
    assert not bus.configured(), "it was closed when the post ended"
    os.close(lock)
    assert taken == [True]


def test_a_loop_that_is_started_during_its_start_ends_the_other(name, monkeypatch):
    """As by a signal handler that closes and opens the bus."""
    start = threading.Thread.start
    started = []

    def nested(thread):
        started.append(thread)
        monkeypatch.undo()
        stop_loop(bus)
        start_loop(bus)
        started.append(loop_thread_of(bus))
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", nested)
    bus = stdevents.Bus()
    bus.configure(name, interval=10 * LONG)
    outer, inner = started
    outer.join(LONG)
    assert not outer.is_alive()
    assert inner.is_alive()
    bus.close()


def test_a_loop_whose_stop_was_cut_off_ends_by_itself(name, monkeypatch):
    """Else it would poll for ever beside the next one, and after the close."""
    bus = stdevents.Bus(name, interval=0.01)
    first = loop_thread_of(bus)
    before(monkeypatch, "a loop's thread is told to end", interrupt)
    with pytest.raises(KeyboardInterrupt):
        bus.configure(interval=0)
    monkeypatch.undo()
    first.join(LONG)
    assert not first.is_alive()
    bus.close()


@pytest.mark.parametrize("what", ["configure", "close", "join the bus again"])
def test_an_exception_at_any_opcode_leaves_no_ghost(watchdog, monkeypatch, name, what):
    """G5, G9: of opening, of closing, of joining anew; the bus can be closed, and opened again."""
    monkeypatch.setattr(sys, "unraisablehook", lambda raised: None)  # during a finaliser

    def traced(code):
        return is_ours(code) and not is_of_memory(code)

    def begin(bus):
        if what == "configure":
            return lambda: bus.configure(name, interval=0, size=SMALL)
        bus.configure(name, interval=0, size=SMALL)
        if what == "close":
            return bus.close
        os.unlink(os.path.join(folder_of(name), "bell"))
        look_at_ground(bus)
        return bus.poll

    # Before 3.10 Python goes on after some opcodes with the exception that a trace has raised.
    opcodes = sys.version_info >= (3, 10)
    for at_step in at_each(interrupt, stride=31 if opcodes else 3):
        bus = stdevents.Bus()
        with contextlib.suppress(KeyboardInterrupt):
            with_steps(begin(bus), at_step, traced, opcodes)
        if what == "join the bus again":
            bus.poll()  # which may be what joins it
            look_at_ground(bus)
            bus.poll()
            assert_alone(bus)
        bus.close()
        assert ghosts_of(name) == []
        assert_removed(name)
        other = stdevents.Bus(name, interval=0)
        assert_alone(other)
        other.close()
    gc.collect()  # of what tracebacks kept, mappings have descriptors

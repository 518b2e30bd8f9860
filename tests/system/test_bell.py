"""The bell (W1 to W4): a post wakes who sleeps, and `fileno` says that there is news.

The intervals here are so long that a test that misses a wake-up fails as hanging.
"""

from __future__ import annotations

import asyncio
import gc
import os
import select
import sys
import threading
import time

import pytest
from children import SECONDS
from inside import (
    AT_MOST_EVERY,
    BELL_FULL,
    Bell,
    Listener,
    OpenFile,
    Sleeper,
    anybody_sleeps,
    before,
    bell_file_of,
    bell_of,
    called_file_of,
    caller_file_of,
    is_asleep,
    last_of,
    listener_of,
    lock_number_of,
    loop_thread_of,
    may_sleep,
    note_rings,
    position_of,
)
from programs import run
from waiting import wait_until_in

import stdevents

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")

FOR_EVER = 10 * SECONDS


@pytest.fixture
def sleeping(name):
    """A bus whose loop sleeps, and an event that is set when it has handled one."""
    bus = stdevents.Bus(name, interval=FOR_EVER)
    handled = threading.Event()
    bus.register(lambda data, event, source, pid: handled.set(), "test")
    until_asleep(bus)
    yield bus, handled
    bus.close()


def until_asleep(bus):
    """Wait until the loop has had its last look before it sleeps."""
    waited = threading.Event()
    while not is_asleep(bus):
        waited.wait(0.001)


def is_readable(descriptor, timeout=0):
    poll = select.poll()
    poll.register(descriptor, select.POLLIN)
    return bool(poll.poll(1000 * timeout))


def test_a_post_wakes_the_own_loop(sleeping):
    bus, handled = sleeping
    bus.post("test", "now")
    assert handled.wait(SECONDS)


def test_a_local_event_wakes_the_own_loop(sleeping):
    bus, handled = sleeping
    bus.post_local("test", "now")
    assert handled.wait(SECONDS)


def test_a_post_wakes_all_other_processes(bus, fork):
    def work(parent):
        handled = threading.Event()
        bus.register(lambda data, event, source, pid: handled.set(), "test")
        bus.configure(interval=FOR_EVER)
        until_asleep(bus)
        parent.tell()
        return handled.wait(SECONDS)

    children = [fork(work) for _ in range(4)]
    for child in children:
        child.hear()
    bus.post("test", "now")
    assert [child.result() for child in children] == [True] * 4


def test_a_burst_rings_once(bus):
    """W4: who has rung clears WAITING; nobody asleep costs one look at it."""
    rung = note_rings(bus)
    bus.post("test", "nobody sleeps")
    assert not rung
    may_sleep(bus)
    for _ in range(5):
        bus.post("test", "one sleeps")
    assert len(rung) == 1


def test_a_burst_does_not_wake_a_sleeper_for_each_event(bus, fork, monkeypatch):
    """However fast it is handled, and though the next one comes when it has just fallen asleep."""

    def work(parent):
        fell_asleep, enough = [], threading.Event()

        def note():
            fell_asleep.append(time.monotonic())
            if len(fell_asleep) > 50:
                enough.set()

        before(monkeypatch, "the loop sleeps", note)
        bus.register(lambda data, event, source, pid: None, "test")
        bus.configure(interval=FOR_EVER)
        parent.tell()
        assert enough.wait(SECONDS)
        parent.tell()
        return min(after - before for before, after in zip(fell_asleep, fell_asleep[1:]))

    bus.configure(wait_max=20)
    child = fork(work)
    child.hear()
    enough = threading.Thread(target=child.hear)
    enough.start()
    while enough.is_alive():
        if anybody_sleeps(bus):
            bus.post("test", "burst")
    assert child.result() >= AT_MOST_EVERY


def test_news_before_the_sleep_is_seen(bus):
    """W2: a post between the poll and W1 finds nobody waiting, and is not slept over."""
    assert may_sleep(bus)
    bus.post("test", "just now")
    assert not may_sleep(bus)


def test_a_full_bell_still_rings(bus):
    """It is read down to one byte, never to empty."""
    bell = bell_of(bus)
    for _ in range(BELL_FULL):
        bell.ring()
    listener = Listener(bell)
    listener.wait(0)
    for _ in range(3):
        bell.ring()
        assert is_readable(listener.fileno())
        listener.wait(0)
        assert not is_readable(listener.fileno())
    listener.close()


def test_fileno_is_readable_while_there_is_news(bus):
    descriptor = bus.fileno()
    assert bus.fileno() == descriptor
    for _ in range(3):
        assert not is_readable(descriptor)
        bus.post("test", "x")
        assert is_readable(descriptor)
        bus.poll()
        assert not is_readable(descriptor)
        bus.post_local("test", "x")
        assert is_readable(descriptor)
        bus.poll()


def test_fileno_tells_of_what_was_there_before_it_was_asked_for(bus):
    bus.post("test", "x")
    assert is_readable(bus.fileno())


def test_fileno_stays_readable_when_a_poll_leaves_something(bus):
    """G5: a storm of a handler's own making ends the poll, and the rest is still announced."""
    bus.register(lambda data, event, source, pid: bus.post("test", "again"), "test")
    descriptor = bus.fileno()
    bus.post("test", "first")
    bus.poll()
    assert is_readable(descriptor)


def test_a_forked_child_asks_for_a_fileno_of_its_own(bus, fork):
    """G7."""

    def work(parent):
        descriptor = bus.fileno()
        parent.tell()
        return is_readable(descriptor, SECONDS)

    bus.fileno()
    child = fork(work)
    child.hear()
    bus.post("test", "x")
    assert child.result() is True


def test_fileno_of_a_closed_bus():
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Bus().fileno()


def test_asyncio_polls_when_there_is_news(bus, name):
    seen = []
    program = "import stdevents, sys; stdevents.configure(sys.argv[1]).post('test', 'from afar')"

    async def main():
        loop = asyncio.get_running_loop()
        handled = asyncio.Event()
        bus.register(lambda data, event, source, pid: (seen.append(pid), handled.set()), "test")
        loop.add_reader(bus.fileno(), bus.poll)
        await loop.run_in_executor(None, run, program, name)
        await asyncio.wait_for(handled.wait(), SECONDS)
        loop.remove_reader(bus.fileno())

    asyncio.run(main())
    assert len(seen) == 1 and seen[0] != os.getpid()


def test_without_epoll_the_loop_sleeps_its_interval(name):
    """As on macOS, and under gevent's monkey patching, which takes epoll away."""
    program = """
import select, sys, threading
import stdevents
del select.epoll
bus = stdevents.Bus(sys.argv[1], interval=0.01)
handled = threading.Event()
bus.register(lambda data, event, source, pid: handled.set(), "test")
bus.post("test", "x")
print(handled.wait(60))
bus.configure(interval=600)
handled.clear()
bus.post_local("test", "x")
print(handled.wait(60))
try:
    bus.fileno()
except stdevents.StdeventsError as error:
    print("epoll" in str(error))
bus.close()
"""
    assert run(program, name).split() == ["True"] * 3


def test_opening_and_closing_leaves_no_descriptor(name):
    """G9."""

    def descriptors():
        gc.collect()  # PyPy unmaps memory no earlier
        return set(os.listdir("/proc/self/fd"))

    def once():
        bus = stdevents.Bus(name, interval=FOR_EVER)
        bus.fileno()
        bus.close()

    once()  # what is opened only once in a process is there now
    before = descriptors()
    once()
    assert descriptors() == before


def test_the_last_look_is_at_the_shared_word(bus):
    """G8: a poll that finds nothing reads LAST and touches no file."""
    assert last_of(bus) == position_of(bus)
    assert bus.poll() == "done"


def test_a_sleeper_may_be_called_during_being_called():
    """By a signal handler or finaliser, in the same thread."""
    sleeper = Sleeper()

    def trace(frame, event, argument):
        sys.settrace(None)
        sleeper.wake()
        sys.settrace(trace)
        return trace

    sys.settrace(trace)
    sleeper.wake()
    sys.settrace(None)
    sleeper.wait(FOR_EVER)
    sleeper.wait(0)


def test_a_listener_that_cannot_be_made_leaves_no_descriptor():
    def count():
        return len(os.listdir("/proc/self/fd"))

    before = count()
    with pytest.raises((OSError, ValueError)):
        Listener(Bell(OpenFile()))
    assert count() == before


@pytest.mark.parametrize("file_of", [caller_file_of, called_file_of])
def test_a_listener_finds_out_that_its_pipe_was_closed_when_it_is_called(bus, tmp_path, file_of):
    """And writes to nobody else's file that has got the number."""
    listener = Listener(bell_of(bus))
    number = file_of(listener)
    with open(tmp_path / "decoy", "w+b") as decoy:
        os.dup2(decoy.fileno(), number)
        listener.wake()
        assert not listener.is_intact()
        assert not decoy.read()
    listener.close()
    os.close(number)  # is open still


def test_a_listener_whose_files_were_all_closed_is_not_deaf_for_long(bus):
    """As by what makes a daemon: its loop looks at it only after the wait."""
    listener = Listener(bell_of(bus))
    for number in (listener.fileno(), caller_file_of(listener), called_file_of(listener)):
        os.close(number)
    assert not listener.wait(FOR_EVER)
    assert not listener.is_intact()
    listener.close()


def test_a_listener_reads_from_no_file_that_is_not_its_own(bus):
    """A child may keep the pipe open, and with it what the epoll knows, by the old number."""
    listener = Listener(bell_of(bus))
    number = called_file_of(listener)
    copy = os.dup(number)
    there, here = os.pipe()
    os.write(here, b"not ours")
    os.dup2(there, number)
    listener.wake()
    listener.wait(FOR_EVER)
    assert not listener.is_intact()
    assert os.read(there, 100) == b"not ours"
    listener.close()
    for one in (number, copy, there, here):
        os.close(one)


def test_a_number_that_was_the_epolls_is_closed_for_nobody_else(bus, tmp_path):
    listener = Listener(bell_of(bus))
    with open(tmp_path / "file", "w") as file:
        os.dup2(file.fileno(), listener.fileno())
        assert not listener.is_intact()
        number = listener.fileno()
        for _ in range(2):
            listener.close()
            assert os.fstat(number).st_ino == os.fstat(file.fileno()).st_ino
    os.close(number)


def test_a_loop_that_fell_asleep_before_its_new_bell_hears_that(sleeping, monkeypatch):
    """Another thread takes the seat, and the loop comes out of a handler in the middle of that."""
    bus, handled = sleeping
    began, release = threading.Event(), threading.Event()

    def be_slow(*_):
        began.set()
        release.wait(SECONDS)

    def end_handler():
        monkeypatch.undo()
        release.set()
        wait_until_in(loop_thread_of(bus), "wait")

    bus.register(be_slow, "slow")
    bus.post("slow", "event")
    assert began.wait(SECONDS)
    os.close(lock_number_of(bus))
    before(monkeypatch, "started is posted", end_handler)
    bus.post("test", "on another seat")
    assert handled.wait(SECONDS)
    until_asleep(bus)
    handled.clear()
    bus.post("test", "heard again")
    assert handled.wait(SECONDS)


@pytest.mark.parametrize("file_of", [caller_file_of, called_file_of])
def test_a_loop_whose_listener_was_closed_takes_another(sleeping, file_of):
    """Though nobody but who posts can wake it."""
    bus, handled = sleeping
    old = listener_of(bus)
    os.dup2(bell_file_of(bus), file_of(old))
    bus.post_local("test", "not heard")
    bus.post("test", "heard")
    assert handled.wait(SECONDS)
    waited = threading.Event()
    while listener_of(bus) is old:
        waited.wait(0.001)
    until_asleep(bus)
    handled.clear()
    bus.post_local("test", "heard again")
    assert handled.wait(SECONDS)

"""G4, G7: a child that was forked only to exec another program is no worker that does anything."""

from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest
from children import threads_are_ours
from inside import loop_thread_of, loops_begin_after
from state import assert_alone, assert_sound
from waiting import LONG, wait_until_in

import stdevents

pytestmark = threads_are_ours

EVENTS = 5


class Busy:
    """A worker whose loop is in a handler, with events behind it that it has not handled yet.

    `ran`: a pipe into which each handler, in whatever process, writes its pid.
    """

    def __init__(self, name):
        self.main = os.getpid()
        self.ran, self._write = os.pipe()
        self._go, self._done = threading.Event(), threading.Event()
        begun = threading.Event()
        self.started = []
        self.bus = stdevents.Bus(name, interval=0.01, timeout=LONG)
        self.bus.register(lambda *_: (begun.set(), self._wait()), "test", "gate")
        self.bus.register(lambda *_: self._note(), "test", "event")
        self.bus.register(lambda *_: self._done.set(), "test", "last")
        self.bus.register(
            lambda data, event, source, pid: self.started.append(pid), "stdevents", "started"
        )
        self.bus.post("test", "gate")
        assert begun.wait(LONG)
        for number in range(EVENTS):
            self.bus.post("test", "event")
            self.bus.post("test", "event", unique=f"key {number}")

    def _wait(self):
        if os.getpid() == self.main:
            self._go.wait(LONG)

    def _note(self):
        os.write(self._write, f"{os.getpid()} ".encode())

    def finish(self):
        """Handle all that is there; the pids of those that handled something."""
        self.bus.post("test", "last")
        self._go.set()
        assert self._done.wait(LONG)
        os.close(self._write)
        with os.fdopen(self.ran) as ran:
            return list(map(int, ran.read().split()))

    def wait_until_child_would_begin(self):
        """In the child, before its exec: its loop is in its pause, or has done all that it does."""
        wait_until_in(loop_thread_of(self.bus), "wait")


@pytest.fixture
def busy(name):
    busy = Busy(name)
    with loops_begin_after(LONG):
        yield busy
    busy.bus.close()


def by_preexec_fn(busy):
    subprocess.run([sys.executable, "-c", ""], preexec_fn=busy.wait_until_child_would_begin)


def by_fork_and_exec(busy):
    child = os.fork()
    if not child:
        try:
            busy.wait_until_child_would_begin()
            os.execv(sys.executable, [sys.executable, "-c", ""])
        finally:
            os._exit(1)
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("spawn", [by_preexec_fn, by_fork_and_exec])
def test_it_handles_nothing_takes_nothing_and_posts_nothing(busy, name, spawn):
    """G4, G7: what is unique runs in the worker that is there, and all else once."""
    last = busy.bus.stats().last_id
    for _ in range(2):
        spawn(busy)
    assert busy.bus.stats().last_id == last, "neither `started` nor `stopping`"
    assert busy.finish() == [busy.main] * (2 * EVENTS)
    assert set(busy.started) <= {busy.main}
    assert_alone(busy.bus)
    assert_sound(name)


def test_a_child_that_ends_before_it_begins_says_nothing(bus, fork):
    """DESIGN 5: `stopping` without `started` would be of a worker that nobody knows."""
    last = bus.stats().last_id
    with loops_begin_after(LONG):
        fork(lambda parent: bus.close()).result()
    assert bus.stats().last_id == last
    assert_alone(bus)

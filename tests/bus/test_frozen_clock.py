"""A program whose tests freeze the clock: time.monotonic and its like stand still."""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import time
from unittest import mock

import pytest
from inside import lock_file_of, set_clock
from waiting import LONG, let_pass

import stdevents


@contextlib.contextmanager
def frozen():
    """What such tools do, in the module `time` itself; but who looks without end is told so."""
    now, looks = time.monotonic() - 1000, []

    def monotonic():
        looks.append(now)
        assert len(looks) < 1000, "it waits by a clock that stands still"
        return now

    still = {
        "monotonic": monotonic,
        "monotonic_ns": lambda: int(now * 1e9),
        "time": lambda: 1_709_208_000.0,
    }
    with mock.patch.multiple(time, **still):
        yield


def test_a_key_that_was_taken_meanwhile_is_held_for_its_timeout(bus, seen):
    """G4: neither shorter nor longer."""
    bus.configure(timeout=LONG)
    with frozen():
        bus.post("rates", "expired", 1, unique="rates")
        bus.poll()
    bus.post("rates", "expired", 2, unique="rates")
    bus.poll()
    assert [data for _, _, data in seen] == [1]


def test_a_key_that_was_taken_meanwhile_is_free_after_its_timeout(bus, seen):
    """G4."""
    bus.configure(timeout=0.05)
    with frozen():
        bus.post("rates", "expired", 1, unique="rates")
        bus.poll()
    let_pass(0.05)
    bus.post("rates", "expired", 2, unique="rates")
    bus.poll()
    assert [data for _, _, data in seen] == [1, 2]


def test_a_key_is_free_after_its_timeout_while_the_clock_stands_still(bus, seen):
    """G4."""
    bus.configure(timeout=0.05)
    bus.post("rates", "expired", 1, unique="rates")
    bus.poll()
    let_pass(0.05)
    with frozen():
        bus.post("rates", "expired", 2, unique="rates")
        bus.poll()
    assert [data for _, _, data in seen] == [1, 2]


def test_a_wait_for_the_lock_ends(bus, name):
    """G5: LockTimeout after `wait_max`, never a hang."""
    bus.configure(wait_max=0.05)
    lock = os.open(lock_file_of(name), os.O_RDWR)
    fcntl.flock(lock, fcntl.LOCK_EX)
    try:
        with frozen(), pytest.raises(stdevents.LockTimeout):
            bus.post("test", "event")
    finally:
        os.close(lock)


@pytest.mark.parametrize("told", [-100.0, 2.0**64, math.nan])
def test_a_bus_opens_at_any_time_that_is_told(name, told):
    """And it says when it was opened indeed."""
    before = int(time.time())
    with mock.patch("time.time", lambda: told), stdevents.Bus(name, interval=0) as bus:
        (worker,) = bus.workers()
    assert before <= worker.since <= time.time()


@pytest.mark.parametrize(("date", "told"), [(-1.0, 0), (2.0**40, 2**34 - 1)])
def test_a_bus_opens_at_any_time_of_the_system(name, monkeypatch, date, told):
    set_clock(monkeypatch, date)
    with stdevents.Bus(name, interval=0) as bus:
        (worker,) = bus.workers()
        assert (worker.since, bus.stats().lost) == (told, 0)

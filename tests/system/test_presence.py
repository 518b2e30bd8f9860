"""Who lives: the file of a worker, its lock, and the words in its slot."""

from __future__ import annotations

import os
import signal

import pytest
from inside import fail_to_open_files, file_of_worker, lives
from state import assert_alone

import stdevents


@pytest.fixture
def bus(name):
    """A bus with room for few events, none of which is overwritten before all have taken it."""
    bus = stdevents.Bus(name, interval=0, overflow="wait", size=1024, shm_retries=10**6)
    bus.poll()
    yield bus
    bus.close()


@pytest.fixture
def other(bus, fork):
    """A worker that takes no events, and its slot."""

    def work(parent):
        parent.tell([worker.slot for worker in bus.workers() if worker.pid == os.getpid()])
        signal.pause()

    child = fork(work)
    (slot,) = child.hear()
    bus.poll()
    return child, slot


def fill(bus):
    """Post and poll more than there is room for."""
    for number in range(20):
        bus.post("test", "event", number)
        bus.poll()


def test_a_worker_is_alive_until_it_dies(bus, name, other):
    child, slot = other
    assert lives(bus, slot)
    child.kill()
    assert not lives(bus, slot)
    assert os.path.exists(file_of_worker(name, slot)), "what is left of it says nothing"


def test_a_slot_that_nobody_ever_had_is_no_live_worker(bus, name):
    assert not lives(bus, 7)
    assert not os.path.exists(file_of_worker(name, 7))


def test_a_worker_that_cannot_be_looked_at_is_taken_for_alive(bus, other, monkeypatch):
    """G5: a process without descriptors must not overwrite what another has not taken."""
    _, slot = other
    with monkeypatch.context() as patch:
        fail_to_open_files(patch, 24)
        assert lives(bus, slot)
        assert lives(bus, 7)


def test_a_worker_that_lost_its_file_and_its_life_holds_up_nobody(bus, name, other):
    """G5: as after who removes what has not changed for long; nobody else clears its slot."""
    child, slot = other
    os.unlink(file_of_worker(name, slot))
    child.kill()
    fill(bus)
    assert bus.stats().lost == 0
    assert_alone(bus)


def test_a_worker_that_was_killed_holds_up_nobody(bus, other):
    """G5."""
    child, _ = other
    child.kill()
    fill(bus)
    assert bus.stats().lost == 0
    assert_alone(bus)

"""Forks of which a child makes nothing, and forks of which nobody tells it."""

from __future__ import annotations

import os
import threading

import pytest
from children import threads_are_ours
from inside import put_off_hook_of_child, under_lock
from state import assert_alone, assert_sound, is_locked

import stdevents


def test_a_child_that_execs_has_posted_and_taken_nothing(bus, seen):
    """G7, G4: it is no worker for as long as it is there."""
    bus.post("test", "event", unique="key")
    last = bus.stats().last_id
    child = os.fork()
    if not child:
        os.execlp("true", "true")
    assert os.waitpid(child, 0)[1] == 0
    assert bus.stats().last_id == last
    bus.poll()
    assert seen == [("test", "event", None)]
    assert_alone(bus)


def test_a_child_that_no_hook_told_is_a_worker_from_its_first_call_on(bus, fork, seen):
    """G7: as of a fork in C."""
    put_off_hook_of_child(bus)

    def work(parent):
        bus.post("test", "of the child")
        parent.tell([worker.pid for worker in bus.workers()])
        parent.hear()
        bus.close()

    pids = []
    bus.register(lambda data, event, source, pid: pids.append(pid), "test")
    child = fork(work)
    assert sorted(child.hear()) == sorted([os.getpid(), child.pid])
    bus.poll()
    assert pids == [child.pid]
    child.say()
    child.result()
    assert_alone(bus)


@threads_are_ours
def test_a_child_that_no_hook_told_does_not_use_the_lock_of_its_parent(bus, name, fork):
    """G7: its copy of the open file is locked when the parent's is, and would let it in."""
    bus.configure(wait_max=0.05)
    put_off_hook_of_child(bus)
    locked, release = threading.Event(), threading.Event()
    holder = threading.Thread(target=under_lock, args=(bus, lambda: (locked.set(), release.wait())))
    holder.start()
    locked.wait()

    def work(parent):
        with pytest.raises(stdevents.LockTimeout):
            bus.post("test", "too early")
        parent.tell("refused")
        parent.hear()
        return bus.post("test", "event")

    try:
        last = bus.stats().last_id
        child = fork(work)
        assert child.hear() == "refused"
        assert is_locked(name, patience=0), "the child has unlocked it"
    finally:
        release.set()
        holder.join()
    child.say()
    assert child.result() == last + len(["started", "event"])
    assert_sound(name)

"""The state of a bus, as its files and bytes show it to anybody."""

from __future__ import annotations

import fcntl
import os

from inside import faults_of, lock_file_of, remains_of


def is_locked(name):
    """Does anybody hold the lock of the bus, this process among them?"""
    with open(lock_file_of(name), "r+b") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def assert_sound(name):
    """Nobody has the lock, and no slot is at fault."""
    assert not is_locked(name), "the lock was kept"
    assert faults_of(name) == []


def assert_alone(bus):
    """This is the only worker that lives."""
    assert [worker.pid for worker in bus.workers()] == [os.getpid()]


def assert_removed(name):
    """Nothing is left of the bus."""
    assert remains_of(name) == []

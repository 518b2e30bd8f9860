"""The state of a bus, as its files and bytes show it to anybody."""

from __future__ import annotations

import fcntl
import os
import time

from inside import faults_of, lock_file_of, remains_of


def is_locked(name, patience=2.0):
    """Does anybody hold the lock of the bus, this process among them, and keeps it?

    For a moment a visitor may have it: `status` without a name, in a test that runs beside this
    one, looks at all buses.
    """
    deadline = time.monotonic() + patience
    with open(lock_file_of(name), "r+b") as file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() > deadline:
                    return True
                time.sleep(0.001)
            else:
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

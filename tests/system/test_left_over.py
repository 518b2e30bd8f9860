"""What a call held that has ended without a release: so many exceptions cut off its cleaning up."""

from __future__ import annotations

import threading

import pytest
from inside import leave_lock_over, leave_turn_over
from state import assert_sound, is_locked

pytestmark = pytest.mark.usefixtures("watchdog")


def here(work, *arguments):
    work(*arguments)


def in_a_thread_that_ends(work, *arguments):
    thread = threading.Thread(target=work, args=arguments)
    thread.start()
    thread.join()


@pytest.mark.parametrize("where", [here, in_a_thread_that_ends])
def test_a_lock_that_is_left_over_is_taken_over(bus, name, where):
    """G5: by the next call of that thread, or of any if the thread has ended."""
    where(leave_lock_over, bus)
    assert is_locked(name, patience=0)
    last = bus.stats().last_id
    assert bus.post("test", "event") == last + 1
    assert_sound(name)


@pytest.mark.parametrize("where", [here, in_a_thread_that_ends])
def test_a_poll_goes_on_where_a_turn_is_left_over(bus, seen, where):
    """G5: else nothing would ever be handled again."""
    where(leave_turn_over, bus)
    bus.post("test", "event")
    assert bus.poll() == "done"
    assert seen == [("test", "event", None)]

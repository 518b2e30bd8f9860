"""Events with `unique`: which of them run, and in which worker."""

from __future__ import annotations

import gc
import os

import pytest
from inside import expire_all_keys
from programs import LATE_WORKER, run
from waiting import LONG, let_pass


def test_two_posts_of_one_unique_key_run_once(bus, seen):
    """G4."""
    bus.configure(timeout=LONG)
    bus.post("test", "event", 1, unique="key")
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]
    assert bus.stats().ignored == 1


def test_after_timeout_the_next_post_of_the_key_runs_again(bus, seen):
    """G4: ignored for `timeout` seconds after the first was handled, and no longer."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    bus.poll()
    let_pass(0.05)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1), ("test", "event", 2)]


def test_timeout_counts_from_the_handling_not_from_the_post(bus, seen):
    """G4: an event that waits longer than `timeout` for its poll still runs once."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    let_pass(0.05)
    bus.configure(timeout=LONG)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    assert seen == [("test", "event", 1)]


def test_an_ignored_event_does_not_prolong_the_key(bus, seen):
    """G4: `timeout` seconds after the handled one, not after the ignored ones."""
    bus.configure(timeout=0.05)
    bus.post("test", "event", 1, unique="key")
    bus.poll()
    bus.configure(timeout=LONG)
    bus.post("test", "event", 2, unique="key")
    bus.poll()
    let_pass(0.05)
    bus.post("test", "event", 3, unique="key")
    bus.poll()
    assert seen[-1] == ("test", "event", 3)


def test_different_keys_do_not_hold_each_other_up(bus, seen):
    """G4: more keys than claim slots have to be probed for one."""
    for key in range(200):
        bus.post("test", "event", key, unique=f"key {key}")
    bus.poll()
    assert [data for _, _, data in seen] == list(range(200))


@pytest.mark.parametrize(
    ("number", "digits"), [(7, "7"), (0, "0"), (-1, "-1"), (1 << 70, str(1 << 70))]
)
def test_an_int_is_the_same_key_as_its_digits(bus, seen, number, digits):
    """G4."""
    bus.configure(timeout=LONG)
    bus.post("test", "event", "int", unique=number)
    bus.post("test", "event", "str", unique=digits)
    bus.poll()
    assert seen == [("test", "event", "int")]


def test_the_key_counts_for_all_events_of_the_bus(bus, seen):
    """G4, as the original: later events with the same `unique` are ignored, whichever they are."""
    bus.configure(timeout=LONG)
    bus.post("one", "a", unique="key")
    bus.post("two", "b", unique="key")
    bus.poll()
    assert [source for source, _, _ in seen] == ["one"]


def test_an_event_claimed_here_is_skipped_by_a_late_worker(bus, seen, name):
    """G4, C1: the mark is on the event, and holds when the key has long expired."""
    bus.configure(timeout=0.05)
    number = bus.post("backend", "down", unique="key")
    bus.poll()
    let_pass(0.05)
    printed = run(LATE_WORKER, name, "oldest", "log").splitlines()
    assert ("backend", "down", None) in seen
    assert "backend down None" not in printed
    assert f"skipping event {number} was handled by worker {os.getpid()}" in printed


def test_a_key_claimed_here_keeps_the_event_of_another_worker_from_running(bus, seen, name):
    """G4, C2: with the line that names who has the key; and then nobody else runs it either."""
    bus.configure(timeout=LONG)
    first = bus.post("backend", "down", unique="key")
    bus.poll()
    seen.clear()
    printed = run(LATE_WORKER, name, "new", "log", "unique").splitlines()
    second = first + 2  # its `started` is between the two
    assert f"skipping event {second} was handled by worker {os.getpid()}" in printed
    bus.poll()
    assert [event for _, event, _ in seen] == ["started", "stopping"]


def test_an_event_ignored_here_is_ignored_by_a_late_worker(bus, name):
    """G4, C2: for everybody, also when the key that it was ignored for has long expired."""
    bus.configure(timeout=LONG)
    handled = []
    bus.register(lambda data, *_: handled.append(data), "backend")
    bus.post("backend", "down", 1, unique="key")
    bus.post("backend", "down", 2, unique="key")
    bus.poll()
    expire_all_keys(bus)
    printed = run(LATE_WORKER, name, "oldest").splitlines()
    assert handled == [1]
    assert not any(line.startswith("backend down") for line in printed)


def test_a_worker_without_a_handler_leaves_the_event_to_one_that_has(bus, name):
    """G4: if a worker is alive to handle it, it runs."""
    bus.post("backend", "down", unique="key")
    assert bus.poll() == "done"
    assert "backend down None" in run(LATE_WORKER, name, "oldest").splitlines()


def test_who_has_no_handler_any_more_leaves_the_event_to_one_who_has(bus, name):
    """G4: it is not claimed for a handler that was held weakly, and is collected."""

    def handler(data, event, source, pid):
        pass

    bus.register_weak(handler, "backend")
    del handler
    gc.collect()
    bus.post("backend", "down", unique="key")
    bus.poll()
    assert "backend down None" in run(LATE_WORKER, name, "oldest").splitlines()

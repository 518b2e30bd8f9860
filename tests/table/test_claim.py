"""Claim, C1 to C4: one worker handles an event with `unique`, and its key is held after that."""

from __future__ import annotations

import pytest
from inside_log import Ground, Killed, claim, layout, workers
from steps import at, with_steps

MINE, MINE_NOT_HELD, IGNORE, LOST = (
    claim.MINE,
    claim.MINE_NOT_HELD,
    claim.IGNORE,
    claim.LOST,
)
SECOND = 1_000_000_000
ME, OTHER = workers.mark_of(1, 10), workers.mark_of(2, 20)


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path, 1 << 16)


@pytest.fixture
def table(ground):
    return ground.table()


@pytest.fixture
def clock(monkeypatch):
    """`clock[0]` is the time, in nanoseconds."""
    now = [10 * SECOND]
    monkeypatch.setattr(claim, "monotonic_ns", lambda: now[0])
    return now


def post(table):
    return table.append((b'[1,"s","e",0,"key"],',))


def test_the_first_one_handles_it_and_all_others_ignore_it(table):
    """G4."""
    event = post(table)
    assert table.claim(event, "key", 2, ME) == (MINE, 0)
    assert table.claim(event, "key", 2, OTHER) == (IGNORE, 10)


def test_who_was_interrupted_after_its_claim_has_it_still(table):
    """C1: by this very worker, which has not taken it yet."""
    event = post(table)
    table.claim(event, "key", 2, ME)
    assert table.claim(event, "key", 2, ME) == (MINE, 0)


def test_a_pid_of_another_worker_is_not_this_very_worker(table):
    """Two containers may both have pid 1."""
    event = post(table)
    table.claim(event, "key", 2, workers.mark_of(1, 1))
    assert table.claim(event, "key", 2, workers.mark_of(2, 1)) == (IGNORE, 1)


def test_later_events_of_the_key_are_ignored_by_all_until_its_deadline(table, clock):
    """C2: also by the one that holds the key, and also when it comes to them late."""
    first, second, third = post(table), post(table), post(table)
    assert table.claim(first, "key", 2, ME) == (MINE, 0)
    assert table.claim(second, "key", 2, ME) == (IGNORE, 10)
    clock[0] += 2 * SECOND
    assert table.claim(second, "key", 2, ME) == (IGNORE, 10)
    assert table.claim(second, "key", 2, OTHER) == (IGNORE, 10)
    assert table.claim(third, "key", 2, OTHER) == (MINE, 0)


def test_another_key_is_another_claim(table):
    first, second = post(table), post(table)
    assert table.claim(first, "key", 2, ME) == (MINE, 0)
    assert table.claim(second, "other", 2, OTHER) == (MINE, 0)


def test_a_slot_that_is_reused_is_lost(tmp_path):
    table = Ground(tmp_path, 1024).table()
    event = post(table)
    for _ in range(4):
        post(table)
    assert table.claim(event, "key", 2, ME) == (LOST, 0)


def test_the_event_that_gets_a_slot_next_is_nobodys(tmp_path):
    """P3: the mark of the one before is gone with it."""
    table = Ground(tmp_path, 1024).table()
    assert table.claim(post(table), "key", 2, ME) == (MINE, 0)
    for _ in range(3):
        post(table)
    assert table.claim(post(table), "other", 2, OTHER) == (MINE, 0)


def test_a_key_behind_an_expired_one_is_found(ground, table, clock):
    """C3: a look that stops at the first expired place would take a live key twice."""
    keys = keys_of_one_place(ground, 3)
    for number, key in enumerate(keys):
        assert table.claim(post(table), key, 1 + number, ME) == (MINE, 0)
    clock[0] += 3 * SECOND // 2  # only the first has expired
    for key in keys[1:]:
        assert table.claim(post(table), key, 9, OTHER) == (IGNORE, 10)
    assert table.claim(post(table), keys[0], 9, OTHER) == (MINE, 0)


def keys_of_one_place(ground, count):
    """Keys whose first place is the same; found by where they go in an empty table."""
    found = {}
    for number in range(10_000):
        place = ground.first_place(f"key{number}")
        found.setdefault(place, []).append(f"key{number}")
        if len(found[place]) == count:
            return found[place]
    raise AssertionError


def test_all_keys_that_are_alive_at_once_are_held(ground, table, clock):
    """As many as there are places, in a table that began full of expired ones."""
    places = ground.layout.claims
    for number in range(places):
        table.claim(post(table), f"old{number}", 1, OTHER)
    clock[0] += 2 * SECOND
    held = {}
    for number in range(places // 2):
        held[f"new{number}"], _ = table.claim(post(table), f"new{number}", 100, ME)
    assert set(held.values()) == {MINE}
    again = [table.claim(post(table), key, 100, OTHER) for key in held]
    assert set(again) == {(IGNORE, 10)}


def test_an_event_whose_key_finds_no_place_runs_once_all_the_same(tmp_path, clock):
    """C4 without C3."""
    table = Ground(tmp_path, 1024).table()
    for number in range(4):
        assert table.claim(post(table), f"key{number}", 2, ME) == (MINE, 0)
    event = post(table)
    assert table.claim(event, "one more", 2, ME) == (MINE_NOT_HELD, 0)
    assert table.claim(event, "one more", 2, OTHER) == (IGNORE, 10)
    assert table.claim(post(table), "one more", 2, OTHER) == (MINE_NOT_HELD, 0)


def test_a_claim_of_the_future_is_not_believed(table, clock):
    """The clock began again with the host, say; no key is held for years by that."""
    table.claim(post(table), "key", 2, OTHER)
    clock[0] = 1
    assert table.claim(post(table), "key", 2, ME) == (MINE, 0)


def test_a_timeout_for_ever_is_held(table, clock):
    table.claim(post(table), "key", 9e9, OTHER)
    clock[0] += 10**9 * SECOND
    assert table.claim(post(table), "key", 2, ME) == (IGNORE, 20)


def test_keys_are_hashed_differently_on_every_bus(tmp_path):
    """Else keys could be chosen that all stand in one place."""
    places = []
    for epoch in range(5):
        ground = Ground(tmp_path, 1 << 16)
        ground.words[layout.HEADER_EPOCH] = epoch
        places.append(ground.first_place("key"))
    assert len(set(places)) > 1


def test_a_key_that_is_no_text_is_a_key_still(table):
    assert table.claim(post(table), "\ud800", 2, ME) == (MINE, 0)
    assert table.claim(post(table), "\ud800", 2, OTHER) == (IGNORE, 10)


def is_claim(code):
    return code.co_filename == claim.__file__


def kill():
    raise Killed


@pytest.mark.parametrize("held", [False, True])
def test_a_claimer_killed_at_any_step_leaves_the_event_to_one(tmp_path, held):
    """G4: a worker that is alive runs it, unless it was claimed; C1 to C4 can be begun again."""
    step, outcomes = 0, set()
    while True:
        step += 1
        ground = Ground(tmp_path, 4096)
        table = ground.table()
        if held:
            table.claim(post(table), "key", 1e-9, OTHER)
        event = post(table)
        killed = False
        try:
            with_steps(
                lambda: table.claim(event, "key", 100, ME),  # noqa: B023
                at(step, kill),
                traced=is_claim,
            )
        except Killed:
            killed = True
        outcome = table.claim(event, "key", 100, OTHER)
        assert outcome in ((MINE, 0), (IGNORE, 10))
        outcomes.add(outcome[0])
        holder = 20 if outcome[0] == MINE else 10
        assert table.claim(post(table), "key", 100, OTHER) == (IGNORE, holder)
        if not killed:
            break
    assert outcomes == {MINE, IGNORE} and step > 20

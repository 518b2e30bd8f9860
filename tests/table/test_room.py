"""Room, with `overflow="wait"`: nothing is overwritten that a live worker has not taken."""

from __future__ import annotations

import threading

import pytest
from inside_log import Ground, layout, texts_of, workers

from stdevents import NoRoom

EVENT = b'[1,"s","e",0],'


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path, 1024, "wait")


@pytest.fixture
def table(ground):
    return ground.table()


def take(ground, slot, event_id):
    ground.words[workers.at(slot) + layout.WORKER_POSITION] = event_id


def post_until_full(table, record=EVENT):
    while True:
        try:
            table.append((record,))
        except NoRoom as full:
            return full


def test_slots_that_a_worker_needs_are_kept(ground, table):
    """All but one: where the event begins that it takes next stands in the slot before."""
    ground.join(0)
    run = table.run_at(0)
    full = post_until_full(table)
    assert table.last == ground.layout.events - 1
    assert texts_of(table, run) == [EVENT] * table.last
    assert (full.pids, full.slots, full.lag) == ((full.pid,), (0,), 3)


@pytest.mark.parametrize("length", [300, 512, 1000])
def test_bytes_that_a_worker_needs_are_kept(ground, table, length):
    record = b"[%b]," % (b"1" * (length - 3))
    ground.join(0)
    run = table.run_at(0)
    post_until_full(table, record)
    assert table.last == 1024 // length
    assert texts_of(table, run) == [record] * table.last
    take(ground, 0, 1)
    assert table.append((record,)) == 1024 // length + 1


def test_a_refused_post_leaves_nothing(ground, table):
    ground.join(0)
    post_until_full(table)
    before = bytes(ground.memory)
    with pytest.raises(NoRoom):
        table.append((EVENT, EVENT))
    assert bytes(ground.memory) == before


def test_without_workers_there_is_room(table):
    for number in range(1, 50):
        assert table.append((EVENT,)) == number


def test_dead_workers_need_no_room_and_are_cleared_away(ground, table):
    ground.join(0)
    ground.join(1)
    ground.alive = {1}
    table = ground.table()
    run = table.run_at(0)
    full = post_until_full(table)
    assert full.slots == (0, 1) or full.slots == (1,)
    assert [row[0] for row in workers.table(ground.words)] == [1]
    assert texts_of(table, run) == [EVENT] * 3


def test_the_slowest_is_named_first_and_by_its_slot(ground, table):
    """Two containers may both have pid 1."""
    for slot in range(3):
        ground.join(slot, pid=1)
    for _ in range(3):
        table.append((EVENT,))
    take(ground, 1, 3)
    take(ground, 0, 1)
    with pytest.raises(NoRoom) as caught:
        table.append((EVENT, EVENT, EVENT))
    full = caught.value
    assert (full.slots, full.pids, full.lag, full.position) == ((2, 0), (1, 1), 3, 0)


def test_a_worker_that_joins_is_reckoned_with_at_once(ground, table):
    """A post that looked at no worker before does so now."""
    for _ in range(10):
        table.append((EVENT,))
    ground.join(5)
    post_until_full(table)
    assert table.last == 13


def test_posts_look_at_no_worker_while_there_is_room(monkeypatch, ground, table):
    """G8: the cost of a post does not grow with their number."""
    for slot in range(64):
        ground.join(slot)
    table.append((EVENT,))
    looks = []
    real = workers.positions
    monkeypatch.setattr("inside_log.room.positions", lambda words: looks.append(1) or real(words))
    table.append((EVENT,))
    assert looks == []
    for slot in range(64):
        take(ground, slot, 2)
    table.append((EVENT,))
    table.append((EVENT,))
    assert looks == [1]


def test_a_post_waits_until_the_worker_has_taken_more(ground, table):
    ground.join(0)
    full = post_until_full(table)
    waiting = threading.Thread(
        target=table.append_when_there_is_room, args=((EVENT,), full, None, 1000, 0.01)
    )
    waiting.start()
    take(ground, 0, 1)
    waiting.join()
    assert table.last == 4


def test_a_post_waits_no_longer_than_its_worker_lives(ground, table):
    ground.join(0)
    full = post_until_full(table)
    ground.alive.clear()
    assert table.append_when_there_is_room((EVENT,), full, None, 1000, 0.01) == 4


def test_tries_come_to_an_end(ground, table):
    ground.join(0)
    full = post_until_full(table)
    with pytest.raises(NoRoom):
        table.append_when_there_is_room((EVENT,), full, None, 2, 0.001)


def test_nobody_waits_for_itself(ground, table):
    """A handler would wait for the worker that goes on when it has returned."""
    ground.join(0)
    ground.join(3)
    full = post_until_full(table)
    waits_for = []
    table.append = waits_for.append
    with pytest.raises(NoRoom):
        table.append_when_there_is_room((EVENT,), full, 3, 1000, 0.001)
    assert waits_for == []

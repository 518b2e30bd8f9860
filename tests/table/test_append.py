"""Post, P1 to P4 and W4: all or nothing, at whatever step a poster dies."""

from __future__ import annotations

import pytest
from inside_log import (
    Ground,
    Killed,
    after_ringing,
    before_release,
    cannot_ring,
    fence,
    is_append,
    layout,
    texts_of,
    without_checksums,
    write,
)
from steps import at, with_steps

from stdevents import LockTimeout, PayloadTooLarge, SegmentError

LAST, INTENT, INTENT_ID = layout.LAST, layout.INTENT, layout.INTENT_ID
WAITING, RINGING, CELLS = layout.WAITING, layout.RINGING, layout.CELLS


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path, 1024)


@pytest.fixture
def table(ground):
    return ground.table()


def record(text):
    return b'[1,"s","e","%b"],' % text.encode()


class Cell:
    """A companion that keeps a number in a cell of the header."""

    def __init__(self, number, at=CELLS[0], refuse=False):
        self.number, self.at, self.refuse = number, at, refuse

    def check(self, words):
        if self.refuse:
            raise LookupError("refused")

    def write(self, words, through):
        words[self.at + 1] = self.number
        words[self.at] = through


def number_published(words, at=CELLS[0]):
    return words[at + 1] if 0 < words[at] <= words[LAST] else None


def test_ids_are_dense_and_texts_come_back(table):
    assert [table.append((record("a"),)), table.append((record("b"), record("c")))] == [1, 3]
    assert texts_of(table) == [record("a"), record("b"), record("c")]
    assert table.posted == table.last == 3


def test_texts_come_back_from_every_place_of_the_ring(table):
    """Of all lengths, and also where the ring or the slots begin again."""
    run = table.run_at(0)
    for number in range(300):
        texts = [record("x" * (number * 7 % 101)), record("y" * (number % 13))]
        table.append(texts)
        run = table.read(run)
        assert run.text[1:-1] + b"," == b"".join(texts)


def test_an_event_may_fill_the_ring_and_a_post_all_slots_but_one(ground, table):
    most = ground.layout.events - 1
    table.append([b"[1],"] * most)
    assert texts_of(table) == [b"[1],"] * most
    table.append([b"[%b]," % (b"1" * 1021)])
    assert texts_of(table, table.run_at(most)) == [b"[%b]," % (b"1" * 1021)]


@pytest.mark.parametrize(
    ("records", "size", "limit"), [([b"x" * 1025], 1025, 1024), ([b"x"] * 4, 4, 3)]
)
def test_what_never_fits_is_refused_with_its_size(ground, table, records, size, limit):
    before = bytes(ground.memory)
    with pytest.raises(PayloadTooLarge) as caught:
        table.append(records)
    assert (caught.value.size, caught.value.limit) == (size, limit)
    assert bytes(ground.memory) == before


def killed_at(table, step, records, companion=None):
    """Post, and be killed at the step; was it?"""
    try:
        with_steps(
            lambda: write(table, records, companion),
            at(step, kill),
            traced=is_append,
        )
    except Killed:
        return True
    return False


def kill():
    raise Killed


@pytest.mark.parametrize("before", [0, 1, 5])
def test_a_poster_killed_at_any_step_leaves_all_or_nothing(tmp_path, before):
    """G2: several events that wrap around; the next poster's are where they belong."""
    dead, step, published = [record("d" * 200), record("e" * 200)], 0, set()
    while True:
        step += 1
        ground = Ground(tmp_path, 1024)
        table = ground.table()
        for number in range(before):
            table.append((record(f"{number}" * 90),))
        run = table.run_at(before)
        killed = killed_at(table, step, dead, Cell(1))
        is_there = table.last == before + 2
        published.add(is_there)
        assert number_published(ground.words) == (1 if is_there else None)
        after = record("after" * (step % 30))
        assert ground.table().append((after, after)) == table.last
        assert texts_of(table, run) == [*(dead if is_there else ()), after, after]
        # P1: the cell of the dead event is not published by the one that has its id now
        assert number_published(ground.words) == (1 if is_there else None)
        if not killed:
            break
    assert published == {True, False} and step > 30


def test_intent_is_never_lowered(ground, table):
    """P2: what a poster that died has overwritten stays so, though the next one writes less."""
    table.append((record("x" * 500),))
    step = 0
    while ground.words[INTENT] < 1024:
        step += 1
        assert killed_at(table, step, [record("d" * 600), record("e")])
    intents = ground.words[INTENT], ground.words[INTENT_ID]
    while ground.words[INTENT_ID] < 3:
        step += 1
        assert killed_at(table, step, [record("d" * 600), record("e")])
    ground.table().append((record("short"),))
    assert ground.words[LAST] == 2
    assert (ground.words[INTENT], ground.words[INTENT_ID]) == (intents[0], 3)


def test_what_a_dead_poster_has_overwritten_is_lost_without_any_checksum(tmp_path, monkeypatch):
    """P2: INTENT is raised before the first byte is overwritten."""
    without_checksums(monkeypatch)
    first, second, dead = (record(letter * 400) for letter in "abd")
    step, found = 0, []
    while True:
        step += 1
        table = Ground(tmp_path, 1024).table()
        table.append((first, second))
        if not killed_at(table, step, [dead]):
            break
        found.append(texts_of(table, table.run_at(0)))
        assert found[-1] in ([first, second], [(1, 1), second], [(1, 1), second, dead])
    assert found[0] == [first, second]
    assert [(1, 1), second] in found


def test_a_companion_that_refuses_leaves_nothing(ground, table):
    table.append((record("a"),))
    before = bytes(ground.memory)
    with pytest.raises(LookupError):
        table.append((record("b"),), Cell(1, refuse=True))
    assert bytes(ground.memory) == before


def test_a_companion_is_published_with_its_event(ground, table):
    table.append((record("a"), record("b")), Cell(7))
    assert (number_published(ground.words), ground.words[CELLS[0]]) == (7, 2)


@pytest.mark.parametrize(
    ("index", "value"),
    [(INTENT, 0), (INTENT, 1 << 40), (INTENT_ID, 0), (INTENT_ID, 1 << 40), (LAST, 99)],
)
def test_a_damaged_word_refuses_posts_and_names_the_bus(ground, table, index, value):
    table.append((record("a"), record("b")))
    ground.words[index] = value
    with pytest.raises(SegmentError, match="bus 'test': its shared memory is damaged"):
        table.append((record("c"),))


def test_the_chain_begins_with_the_checksum_before(ground, table):
    """Equal texts have different checksums, so a slot cannot stand for another."""
    table.append([record("same")] * 3)
    slots = [ground.layout.slot_of(number) for number in (1, 2, 3)]
    assert len({ground.words[slot + layout.EVENT_CHECK] for slot in slots}) == 3
    ends = [ground.words[slot + layout.EVENT_END] for slot in slots]
    assert ends == [len(record("same")) * number for number in (1, 2, 3)]


# -- wake ------------------------------------------------------------------------------------------


def test_a_post_rings_only_for_sleepers(ground, table):
    table.append((record("a"),))
    assert ground.rung == 0
    ground.words[WAITING] = 1
    table.append((record("b"),))
    assert (ground.rung, ground.words[WAITING], ground.words[RINGING]) == (1, 0, 0)


def test_who_died_while_it_rang_is_rung_for(ground, table):
    """W4: RINGING is left over."""
    ground.words[RINGING] = 1
    table.append((record("a"),))
    assert (ground.rung, ground.words[RINGING]) == (1, 0)


def test_it_rings_under_the_lock_with_ringing_set(ground, table):
    """W4: a late end of it would erase another poster's RINGING."""
    seen = []
    ground.ring = lambda: seen.append((ground.words[RINGING], ground.words[WAITING]))
    table = ground.table()
    ground.ring = lambda: seen.append(bool(table.lock.owner))
    ground.words[WAITING] = 1
    table.append((record("a"),))
    table.ring = ground.ring
    ground.words[WAITING] = 1
    table.append((record("b"),))
    assert seen == [(1, 0), True]


def test_ringing_is_over_when_the_lock_is_released(ground, table):
    """W4: else another poster may have begun to ring, and died in it."""
    seen = []
    after_ringing(table, lambda: seen.append(ground.words[RINGING]))
    ground.words[WAITING] = 1
    table.append((record("a"),))
    assert seen == [0]


def test_a_lock_that_cannot_be_had_for_ringing_is_no_error(ground, table):
    """W4: the event is published; the next post rings."""
    other = ground.table()
    ground.bounds.wait_max = 0.01
    ground.words[WAITING] = 1
    release = []

    def take_it_then():
        # The lock is free just now, and taken before it is rung for.
        release.append(True)
        raise LockTimeout("held by one that is stopped")

    cannot_ring(table, take_it_then)
    assert table.append((record("a"),)) == 1
    assert release and ground.words[WAITING] == 1
    other.append((record("b"),))
    assert ground.rung == 1


def test_an_exception_after_the_commit_rings_still(ground, table):
    """W4 in the clean-up: a signal handler raised between P4 and the release."""
    ground.words[WAITING] = 1

    def interrupt():
        raise KeyboardInterrupt

    before_release(table, interrupt)
    with pytest.raises(KeyboardInterrupt):
        table.append((record("a"),))
    assert (ground.rung, table.last, bool(table.lock.owner)) == (1, 1, False)


def test_a_post_inside_the_lock_is_left_to_the_call_that_has_it(ground, table):
    """Of a signal handler, or a finaliser: 0 instead of an id, and published right after."""
    given = []
    table.lock.hold(lambda: given.append(table.append((record("late"),))))
    assert given == [0]
    assert texts_of(table) == [record("late")]


@pytest.mark.parametrize("number", [1, 3])
def test_with_a_fence_before_the_commit_all_is_the_same(monkeypatch, ground, number):
    """P4 on processors that reorder: the last store comes after the fence."""
    steps = []
    real_fence = fence.fence
    monkeypatch.setattr(fence, "REORDERS", True)
    monkeypatch.setattr(fence, "fence", lambda: (steps.append(ground.words[LAST]), real_fence()))
    table = ground.table()
    table.append([record("a")] * number)
    assert steps == [0] and table.last == number
    assert texts_of(table) == [record("a")] * number
    assert len(steps) == 3  # R1 and R4

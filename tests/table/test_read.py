"""Poll, R1 to R5: what is read is what was published, or it is told as lost; nothing else."""

from __future__ import annotations

import random
import threading

import pytest
from inside_log import Ground, layout, read, texts_of

from stdevents import LockTimeout, SegmentError

LAST, INTENT, INTENT_ID = layout.LAST, layout.INTENT, layout.INTENT_ID


@pytest.fixture
def ground(tmp_path):
    return Ground(tmp_path, 4096)


@pytest.fixture
def table(ground):
    return ground.table()


def record(number, length=0):
    return b'[1,"s","%b",%d],' % (b"e" * (length + 1), number)


def post(table, count, length=0):
    for _ in range(count):
        table.append((record(table.last + 1, length),))


def numbers_of(found):
    """The ids of the events in what `texts_of` found, whose texts must be right."""
    numbers = []
    for one in found:
        if isinstance(one, tuple):
            numbers.append(one)
        else:
            number = int(one.split(b",")[3].rstrip(b"],"))
            numbers.append(number)
    return numbers


def held(table):
    """Have another one hold the lock until the end of the `with`."""
    entered, leave = threading.Event(), threading.Event()

    def work():
        entered.set()
        leave.wait()

    thread = threading.Thread(target=table.lock.hold, args=(work,))

    class Held:
        def __enter__(self):
            thread.start()
            entered.wait()

        def __exit__(self, *_):
            leave.set()
            thread.join()

    return Held()


def test_events_that_are_there_are_read_without_the_lock(ground, table):
    """G5: while a stopped worker has it."""
    post(table, 10)
    with held(ground.table()):
        ground.bounds.wait_max = 0.01
        assert numbers_of(texts_of(ground.table())) == list(range(1, 11))
        run = ground.table().run_at(4)
        assert numbers_of(texts_of(ground.table(), run)) == list(range(5, 11))


def test_what_is_overwritten_needs_the_lock_and_skips_nothing_without(ground, table):
    """G5: LockTimeout, and later the same is found."""
    run = table.run_at(0)
    post(table, 40, 200)
    ground.bounds.wait_max = 0.01
    with held(ground.table()), pytest.raises(LockTimeout):
        table.read(run)
    assert texts_of(table, run)[0][0] == 1


@pytest.mark.parametrize("length", [0, 100, 1000, 4000])
@pytest.mark.parametrize("count", [1, 15, 16, 17, 100])
def test_a_lapped_reader_is_told_what_it_missed_and_gets_the_rest(ground, length, count):
    """G3: at once, in order; of what the ring and the slots still hold nothing is lost."""
    table = ground.table()
    run = table.run_at(0)
    post(table, count, length)
    found = numbers_of(texts_of(table, run))
    lost = found.pop(0)[1] if isinstance(found[0], tuple) else 0
    assert found == list(range(lost + 1, count + 1))
    sizes = [len(record(number, length)) for number in range(1, count + 1)]
    fit = sum(sum(sizes[-kept:]) <= 4096 for kept in range(1, min(count, 15) + 1))
    assert count - lost >= fit


def test_a_run_is_at_most_64_kib_or_one_event(tmp_path):
    table = Ground(tmp_path, 1 << 20).table()
    post(table, 100, 3000)
    table.append((record(101, 100_000),))
    post(table, 3)
    run, lengths = table.run_at(0), []
    while run.through != table.last:
        run = table.read(run)
        assert not run.losses
        lengths.append(len(run.text))
    assert run.through == 104
    assert sum(length > read.RUN_BYTES + 2 for length in lengths) == 1
    assert len(lengths) == 7


def test_a_worker_that_begins_in_the_middle_reads_what_follows(ground, table):
    post(table, 5)
    run = ground.table().run_at(3)
    assert numbers_of(texts_of(table, run)) == [4, 5]


def test_going_back_finds_the_oldest_and_has_posters_look_again(ground, table):
    ground.join(2)
    post(table, 100)
    ground.words[layout.ROOM_ID] = ground.words[layout.ROOM_POSITION] = 1 << 40
    run = table.go_back(2)
    assert numbers_of(texts_of(table, run)) == list(range(86, 101))
    assert ground.words[layout.ROOM_ID] == ground.words[layout.ROOM_POSITION] == 0


# -- damage ----------------------------------------------------------------------------------------


def lost_in(found):
    stretches = [one for one in found if isinstance(one, tuple)]
    return [number for first, last in stretches for number in range(first, last + 1)]


COUNT = 9


def damaged_at(tmp_path, place, bit):
    """What two readers find of nine events when one bit of memory has changed."""
    ground = Ground(tmp_path, 4096)
    table = ground.table()
    post(table, COUNT, 20)
    readers = [table.run_at(0), table.run_at(4)]
    ground.memory[place] ^= 1 << bit
    return [numbers_of(texts_of(ground.table(), run)) for run in readers]


def test_a_damaged_byte_of_the_ring_loses_its_event_and_no_other(tmp_path):
    parts = layout.Layout(4096)
    at = 0
    for number in range(1, COUNT + 1):
        length = len(record(number, 20))
        for place in range(at, at + length):
            found = damaged_at(tmp_path, parts.ring_at + place, 4)
            for first, ids in zip((1, 5), found):
                expected = [number] if number >= first else []
                assert lost_in(ids) == expected or (
                    # the comma of a run's last event is not copied
                    place == at + length - 1 and lost_in(ids) == []
                )
                heard = [one for one in ids if isinstance(one, int)]
                assert heard == [one for one in range(first, COUNT + 1) if one not in lost_in(ids)]
        at += length


@pytest.mark.parametrize("field", ["EVENT_ID", "EVENT_END", "EVENT_CHECK"])
@pytest.mark.parametrize("bit", [0, 9, 40, 63])
def test_a_damaged_slot_loses_its_event_and_at_most_the_next(tmp_path, field, bit):
    parts = layout.Layout(4096)
    for number in range(1, COUNT + 1):
        place = 8 * (parts.slot_of(number) + getattr(layout, field)) + bit // 8
        for first, ids in zip((1, 5), damaged_at(tmp_path, place, bit % 8)):
            lost = lost_in(ids)
            assert set(lost) <= {number, number + 1}
            heard = [one for one in ids if isinstance(one, int)]
            assert heard == [one for one in range(first, COUNT + 1) if one not in lost]


def test_who_was_handed_the_event_before_needs_not_its_slot(ground, table):
    """The reader's own END and CHECK are as good: nothing is lost."""
    post(table, 3)
    run = table.read(table.run_at(0))
    post(table, 2)
    ground.words[ground.layout.slot_of(3) + layout.EVENT_CHECK] ^= 1
    assert numbers_of(texts_of(table, run)) == [4, 5]


@pytest.mark.parametrize("last", [1 << 20, (1 << 64) - 1])
def test_a_last_id_from_nowhere_costs_no_endless_search(ground, table, last):
    post(table, 5)
    run = table.run_at(0)
    ground.words[LAST] = last
    run = table.read(run)
    assert run.through == last
    assert run.losses[0][0] == 1 and len(run.losses) <= 2


def test_a_last_id_that_went_back_is_an_error(ground, table):
    post(table, 5)
    run = table.read(table.run_at(0))
    ground.words[LAST] = 3
    with pytest.raises(SegmentError, match="its last event is 3, and 5 was there already"):
        table.read(run)


def test_damaged_slots_in_the_middle_of_a_run_cost_nothing(ground, table):
    """The chain is right at its end."""
    post(table, 9)
    for number in (3, 4, 5, 8):
        ground.words[ground.layout.slot_of(number)] = 0
    assert numbers_of(texts_of(table)) == list(range(1, 10))


def test_small_events_outlive_their_slots(ground, table):
    """Only the last one's slot is needed, and the text in the ring."""
    run = table.run_at(0)
    post(table, 100)
    assert numbers_of(texts_of(table, run)) == list(range(1, 101))


def test_several_damaged_events_are_told_of_at_once(ground, table):
    """One error for a stretch, not a line for each of its events."""
    post(table, 9, 20)
    ring = ground.memory[ground.layout.ring_at :]
    length = len(record(1, 20))
    ring[2 * length : 5 * length] = bytes(3 * length)
    run = table.read(table.run_at(2))
    assert (run.losses, run.before, run.through) == (((3, 5, False),), 5, 9)


def test_a_torn_read_is_looked_at_under_the_lock(ground, table):
    """On a 32-bit Python a word is stored in two halves: LAST is seen too high, for a moment."""
    post(table, 3)
    run = table.read(table.run_at(0))
    reader = table.reader
    ground.words[LAST] = 1 << 33
    assert reader.run(run.through, run.end, run.check) is None
    ground.words[LAST] = 3
    again = table.lock.hold(reader.run_again, run.through, run.end, run.check)
    assert (again.before, again.through, again.losses) == (3, 3, ())


class TornOnce:
    """The words of the memory; one of them is seen half stored, the first time that it is read."""

    def __init__(self, words, index, value):
        self.words, self.values = words, {index: value}

    def __getitem__(self, index):
        return self.values.pop(index, self.words[index])


LOW = (1 << 32) - 1
slot_fields = read.slot_fields


def fields_of(words, offset):
    return slot_fields(getattr(words, "words", words), offset)


@pytest.mark.parametrize("halves", ["high half first", "low half first"])
@pytest.mark.parametrize("word", [LAST, INTENT, INTENT_ID])
@pytest.mark.parametrize("more", [0, 3, 40])
def test_a_word_that_is_seen_half_stored_costs_no_event(
    ground, table, monkeypatch, more, word, halves
):
    """G3: a 32-bit Python stores two halves, of which both change at event 2^32, and at 4 GiB."""
    first = LOW - 1
    slot = ground.layout.slot_of(first)
    end = LOW - len(record(LOW))
    ground.words[slot], ground.words[slot + layout.EVENT_END] = first, end
    ground.words[LAST] = ground.words[INTENT_ID] = first
    ground.words[INTENT] = end
    run = table.run_at(first)
    post(table, 1)
    before = ground.words[word]
    post(table, 1)
    after = ground.words[word]
    assert (before >> 32, after >> 32) == (0, 1)
    post(table, more, 100)  # 40: which overwrite the first ones
    whole = texts_of(table, run)
    assert len(whole) > more / 3
    high, low = (after, before) if halves == "high half first" else (before, after)
    seen = TornOnce(ground.words, word, high >> 32 << 32 | low & LOW)
    monkeypatch.setattr(read, "slot_fields", fields_of)
    reader = read.Reader("test", seen, ground.memory[ground.layout.ring_at :], ground.layout)
    reader.run_again = read.Reader.run_again.__get__(table.reader)  # under the lock nobody stores
    table.reader = reader
    assert texts_of(table, run) == whole
    assert more == 40 or not seen.values, "it was read"


def test_random_damage_is_lost_or_harmless_and_never_handed_over(tmp_path):
    """Seeded: any bytes of slots and ring, several at a time."""
    random_of = random.Random(4711)
    for _ in range(400):
        ground = Ground(tmp_path, 4096)
        table = ground.table()
        count = random_of.randrange(1, 40)
        table_run = table.run_at(0)
        post(table, count, random_of.randrange(0, 300))
        start = 8 * ground.layout.events_at
        for _ in range(random_of.randrange(1, 4)):
            place = random_of.randrange(start, ground.layout.total)
            ground.memory[place] = random_of.randrange(256)
        found = numbers_of(texts_of(table, table_run))  # raises for a text that is not its own
        heard = [one for one in found if isinstance(one, int)]
        assert sorted(heard + lost_in(found)) == list(range(1, count + 1))

"""The bytes of a segment: the header that is written once, and refused unless it is sound."""

from __future__ import annotations

import pytest
from inside_log import Ground, header, layout, workers


def test_a_new_segment_is_accepted(tmp_path):
    ground = Ground(tmp_path, 4096)
    assert header.check(ground.memory).total == ground.layout.total


def test_an_older_layout_is_refused_by_name(tmp_path):
    ground = Ground(tmp_path)
    ground.words[layout.HEADER_MAGIC] = layout.SIGNATURE << 8 | 1
    with pytest.raises(ValueError, match="has layout version 1, and this stdevents has 2"):
        header.check(ground.memory)


@pytest.mark.parametrize("index", range(layout.HEADER_LOCK + 1))
def test_a_changed_word_of_the_header_is_noticed(tmp_path, index):
    ground = Ground(tmp_path)
    ground.words[index] ^= 1 << 17
    with pytest.raises(ValueError, match="is damaged"):
        header.check(ground.memory)


def test_memory_that_is_cut_off_is_refused(tmp_path):
    ground = Ground(tmp_path)
    with pytest.raises(ValueError, match=f"needs {ground.layout.total}"):
        header.check(ground.memory[:-1])
    with pytest.raises(ValueError, match="only 8 bytes"):
        header.check(ground.memory[:8])


def test_memory_of_something_else_is_refused(tmp_path):
    ground = Ground(tmp_path)
    ground.words[0] = 0
    with pytest.raises(ValueError, match="none of ours"):
        header.check(ground.memory)


def test_parts_do_not_overlap_and_slots_keep_to_their_lines():
    for size in (layout.SMALLEST, 4096, 5000, 1 << 20):
        parts = layout.Layout(size)
        assert workers.at(parts.workers) == parts.claims_at
        assert parts.claims_at + parts.claims * layout.CLAIM_WORDS <= parts.events_at
        assert parts.events_at % 8 == 0 and workers.at(0) % 8 == 0
        assert parts.ring_at + size == parts.total
        assert parts.slot_of(parts.events) == parts.slot_of(0) == parts.events_at


def test_the_words_of_a_worker_are_its_own(tmp_path):
    ground = Ground(tmp_path)
    words = ground.words
    assert [ground.join(slot, pid=10 + slot, role=slot % 2) for slot in (3, 0)] == [1, 2]
    assert workers.table(words) == [(0, 10, 2, 1, 0, 0, 0, 0), (3, 13, 1, 1, 1, 0, 0, 0)]
    assert workers.positions(words) == [(0, 0, 10), (0, 3, 13)]
    workers.end(words, 0)
    assert [row[0] for row in workers.table(words)] == [3]


def test_a_mark_tells_pid_and_serial_apart():
    assert workers.mark_of(1, 2) != workers.mark_of(2, 1)
    assert workers.mark_of(1 << 31, 0) < layout.IGNORED  # never taken for that bit

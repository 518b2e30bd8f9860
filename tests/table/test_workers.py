"""Who has to handle an event, and has, by the words of the worker slots."""

from __future__ import annotations

import pytest
from inside_log import Ground, layout, workers


@pytest.fixture
def ground(tmp_path):
    """Worker 0 joined before event 3, 1 and 2 after it; 2 then began with the oldest."""
    ground = Ground(tmp_path)
    for slot, position in enumerate((2, 3, 5)):
        workers.begin(ground.words, slot, 10 + slot, 20 + slot, 0, slot % 2, position)
    for word in (layout.WORKER_POSITION, layout.WORKER_DONE):
        ground.words[workers.at(2) + word] = 1
    return ground


def set_words(ground, slot, position, done, tasks=0):
    first = workers.at(slot)
    ground.words[first + layout.WORKER_POSITION] = position
    ground.words[first + layout.WORKER_DONE] = done
    ground.words[first + layout.WORKER_TASKS] = tasks


def test_those_that_joined_before_an_event_have_to_handle_it(ground):
    """Not who joined after it, even if that reads it."""
    assert workers.behind(ground.words, 3) == [0]
    assert workers.concerned(ground.words, 3) == [(0, 10, 20, 0, False)]
    assert workers.behind(ground.words, 6) == [0, 1, 2]
    assert [row[0] for row in workers.concerned(ground.words, 6)] == [0, 1, 2]
    workers.end(ground.words, 0)
    assert workers.behind(ground.words, 3) == workers.concerned(ground.words, 3) == []


@pytest.mark.parametrize(
    ("position", "done", "tasks", "is_done"),
    [
        (2, 2, 0, False),
        (3, 2, 0, False),  # its handlers run
        (4, 2, 0, True),  # those of a later event do
        (4, 2, 1, False),  # it may have left tasks behind
        (4, 3, 1, True),
        (3, 3, 0, True),
    ],
)
def test_an_event_is_done_by_done_or_by_a_later_position(ground, position, done, tasks, is_done):
    set_words(ground, 0, position, done, tasks)
    assert workers.behind(ground.words, 3) == ([] if is_done else [0])
    assert workers.concerned(ground.words, 3)[0][-1] is is_done

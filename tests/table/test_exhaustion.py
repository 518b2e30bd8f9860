"""Proof by exhaustion, on the smallest ring: a reader stopped at each of its steps meets a poster
that has come to any of its own, and dies there, and another that posts over it.

What the reader hands over is what was published, in order; or it is told as lost.
"""

from __future__ import annotations

import json

import pytest
from inside_log import (
    FlatLock,
    Ground,
    Killed,
    is_append,
    is_read,
    texts_of,
    without_checksums,
    write,
)
from steps import at, sampled, with_steps

SIZE = 1024
SHORT, LONG = 40, 400


def record(number, length):
    return b'[1,"s","%b",%d],' % (b"e" * length, number)


def kill():
    raise Killed


# What was there before the reader begins, what the poster that dies posts, and what the next one
# does: how many events in each post, and how long they are.
CASES = {
    "one event": ([1], 1, [1], SHORT),
    "a run": ([1, 1, 1], 1, [1], SHORT),
    "a wrap of the slots": ([1, 1, 1], 2, [1, 1], SHORT),
    "a wrap of the ring": ([1, 1], 1, [1], LONG),
    "a post of many": ([2], 2, [2], LONG // 2),
    "lapped": ([1, 1], 1, [1, 1, 1, 1, 1], LONG),
}


class Play:
    """One bus, on which everything is counted that is published."""

    def __init__(self, folder, before, length):
        self.ground = Ground(folder, SIZE, lock=FlatLock())
        self.length = length
        self.poster = self.ground.table()
        self.published = []
        self.run = self.poster.run_at(0)
        for count in before:
            self.post(count)

    def texts(self, count, length=None):
        first = len(self.published) + 1
        return [record(number, length or self.length) for number in range(first, first + count)]

    def post(self, count, length=None):
        texts = self.texts(count, length)
        self.ground.table().append(texts)
        self.published += texts

    def die_at(self, step, count):
        """A post that is killed at this step; False if it ended before."""
        # Other texts than those that get its ids after it.
        texts = [record(9_000 + number, self.length) for number in range(count)]
        try:
            with_steps(lambda: write(self.poster, texts), at(step, kill), traced=is_append)
            killed = False
        except Killed:
            killed = True
        if self.poster.last == len(self.published) + count:
            self.published += texts
        return killed

    def check(self, found):
        """All that the reader found, and lost, is all that was published."""
        through = 0
        for one in found:
            if isinstance(one, tuple):
                assert one[0] == through + 1
                through = one[1]
            else:
                assert one == self.published[through], f"event {through + 1}"
                through += 1
        assert through == len(self.published)


def steps_of(play, count):
    """How many steps such a post has."""
    step = 1
    while play().die_at(step, count):
        step += 1
    return step


def read_interrupted(play, step, meanwhile):
    """All that is new, by a reader during whose step `meanwhile` is done; was there such a step?"""
    done = []

    def act():
        done.append(True)
        if not play.ground.lock.taken:  # else no poster gets on
            meanwhile()

    table, run = play.ground.table(), play.run
    found = []
    run = with_steps(lambda: table.read(run), at(step, act), traced=is_read)
    found += [(first, last) for first, last, _ in run.losses]
    if run.text:
        found += [
            b"%b," % json.dumps(one, separators=(",", ":")).encode() for one in json.loads(run.text)
        ]
    play.check(found + texts_of(table, run))
    return bool(done)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("checksums", [True, False])
def test_a_reader_overtaken_at_any_step_hands_over_what_was_published(
    watchdog, monkeypatch, tmp_path, case, checksums
):
    """G1, G2, G3: every pair of a step of the reader and a step of the poster.

    Where stores are seen in order, P2 and R4 are enough for that, without any checksum.
    """
    if not checksums:
        without_checksums(monkeypatch)
    before, dying, after, length = CASES[case]

    def play():
        return Play(tmp_path, before, length)

    posts = steps_of(play, dying)
    step, pairs = 0, 0
    going = True
    while going:
        step += sampled()
        going = False
        for death in range(1, posts + 1):
            one = play()

            def meanwhile(one=one, death=death):
                one.die_at(death, dying)
                for number, count in enumerate(after):
                    # Also shorter ones, which leave something of the dead one's behind them.
                    one.post(count, None if number % 2 else length // 4)

            going |= read_interrupted(one, step, meanwhile)
            pairs += 1
    assert step > 15 and posts > 15 and pairs * sampled() == step * posts

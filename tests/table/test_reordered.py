"""Processors that reorder: a reader that sees, of each word and byte, any value since its fence.

All combinations of such values are tried, on the history of a poster that died before P4 and of
another one that got its id. With the fences, before P4 and after R1, the reader hands over only
what was published. Without them it finds the event of the attempt that died: whole, in the chain,
and never published.
"""

from __future__ import annotations

import struct
import sys

import pytest
from inside_log import FlatLock, Ground, Killed, fence, is_append, layout, read, write
from steps import with_steps

WORD = layout.WORD


def record(text):
    return b'[1,"s","e","%b"],' % text


class Choices:
    """Every way through a program that asks for choices, one after the other."""

    def __init__(self):
        self.path = []
        self.sizes = []

    def choose(self, options):
        """One of them; another one in another try."""
        place = len(self.sizes)
        if place == len(self.path):
            self.path.append(0)
        self.sizes.append(len(options))
        return options[self.path[place]]

    def next_try(self):
        """Go on to the next combination; False after the last."""
        while self.path and self.path[-1] + 1 == self.sizes[len(self.path) - 1]:
            self.path.pop()
        if self.path:
            self.path[-1] += 1
        self.sizes.clear()
        return bool(self.path)


class Seen:
    """Memory as a reader sees it: of each place any value that it had since `floor`."""

    def __init__(self, history, parts, choices, known):
        self.history, self.parts, self.choices = history, parts, choices
        self.known = known
        self.floor = 0
        self.last = 0

    def values(self, start, stop):
        """What the bytes were, each value once, the newest first."""
        place = self.floor, start, stop
        if place not in self.known:
            newest_first = reversed(self.history[self.floor :])
            self.known[place] = list(dict.fromkeys(memory[start:stop] for memory in newest_first))
        return self.known[place]

    def __getitem__(self, index):
        value = self.choices.choose(self.values(WORD * index, WORD * (index + 1)))
        number = int.from_bytes(value, sys.byteorder)
        if index == layout.LAST:
            self.last = number
        return number

    def fields(self, offset):
        """Three words of an event slot, each of any age."""
        return tuple(self[(offset // WORD) + number] for number in range(3))

    def fence(self):
        """What was stored before the LAST that was read is visible from now on."""
        word = struct.pack("=Q", self.last)
        at_last = slice(WORD * layout.LAST, WORD * layout.LAST + WORD)
        first = next(time for time, memory in enumerate(self.history) if memory[at_last] == word)
        self.floor = max(self.floor, first)


class Ring:
    """The ring of such a memory, whose stretches are of one age each."""

    def __init__(self, seen):
        self.seen = seen

    def __getitem__(self, place):
        at_ring = self.seen.parts.ring_at
        start, stop, _ = place.indices(self.seen.parts.size)
        return self.seen.choices.choose(self.seen.values(at_ring + start, at_ring + stop))


PUBLISHED = b"other", b"third", b"four.", b"five.", b"six.."  # the last ones in slots again


def history_of(folder, length):
    """A bus at each of its steps: one event, an attempt that dies before P4, and others."""
    ground = Ground(folder, layout.SMALLEST, lock=FlatLock())
    history = []

    def look():
        memory = bytes(ground.memory)
        if not history or history[-1] != memory:
            history.append(memory)
        if dying and ground.words[layout.LAST] == 1 and is_stored(ground, 2):
            raise Killed

    def post(text):
        with_steps(lambda: write(ground.table(), (record(text),)), look, traced=is_append)
        look()

    dying = False
    post(b"first")
    before = ground.table().run_at(1)
    dying = True
    with pytest.raises(Killed):
        post(b"dead!" * length)
    dying = False
    for text in PUBLISHED:
        post(text * length)
    return ground, before, history


def is_stored(ground, event_id):
    return ground.words[ground.layout.slot_of(event_id)] == event_id


def texts_seen(ground, before, history):
    """All that a reader may be handed, which has taken the first event."""
    choices, known, found, tries, going = Choices(), {}, set(), 0, True
    while going:
        tries += 1
        seen = Seen(history, ground.layout, choices, known)
        reader = read.Reader("test", seen, Ring(seen), ground.layout)
        fence.fence = seen.fence
        run = reader.run(before.through, before.end, before.check)
        found.add(run and run.text)
        going = choices.next_try()
    assert tries > 20
    return found


@pytest.mark.parametrize("length", [1, 20])
@pytest.mark.parametrize("fences", [True, False])
def test_only_the_fences_keep_an_event_that_never_was_from_readers(
    monkeypatch, tmp_path, length, fences
):
    """G2: before P4, and after R1."""
    ground, before, history = history_of(tmp_path, length)
    monkeypatch.setattr(fence, "fence", None)
    monkeypatch.setattr(fence, "REORDERS", fences)
    monkeypatch.setattr(read, "slot_fields", lambda words, offset: words.fields(offset))
    found = texts_seen(ground, before, history)
    runs = {text_of_run(PUBLISHED[:count], length) for count in range(1, 6)}
    # None: it does not hold, and is looked at once more, under the lock.
    assert found - {text_of_run([b"dead!"], length)} <= runs | {None}
    assert text_of_run(PUBLISHED[:1], length) in found
    assert (text_of_run([b"dead!"], length) in found) == (not fences)


def text_of_run(texts, length):
    return b"[%b]" % b"".join([record(text * length) for text in texts])[:-1]

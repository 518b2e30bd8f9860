"""Ids of entries, and places between them."""

from __future__ import annotations

from typing import NamedTuple, Tuple

EntryId = Tuple[int, int]

LARGEST = (1 << 64) - 1  # the largest number in an id
LARGEST_ID = LARGEST, LARGEST
UNKNOWN = (1 << 40) - 1  # of a count: it is not known


class Position(NamedTuple):
    """A place in a stream: behind the entry `milliseconds`-`sequence`."""

    milliseconds: int
    sequence: int
    added: int = UNKNOWN  # how many entries there were up to here
    check: int = 0  # of that entry's text, by which it is known again; 0: it was not seen

    @property
    def entry(self) -> EntryId:
        """Positions are compared by this."""
        return self.milliseconds, self.sequence

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


def parse(entry: bytes) -> EntryId:
    """An entry's id as two numbers, which compare as ids do; or ValueError."""
    milliseconds, sequence = entry.split(b"-")
    return int(milliseconds), int(sequence)


def written(entry: EntryId) -> str:
    """The id as it is written."""
    return f"{entry[0]}-{entry[1]}"


def following(entry: EntryId) -> EntryId:
    """The least id that is greater."""
    milliseconds, sequence = entry
    return (milliseconds, sequence + 1) if sequence < LARGEST else (milliseconds + 1, 0)


def preceding(entry: EntryId) -> EntryId:
    """The greatest id that is less."""
    milliseconds, sequence = entry
    return (milliseconds, sequence - 1) if sequence else (milliseconds - 1, LARGEST)

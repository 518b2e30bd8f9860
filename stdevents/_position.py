"""A place in the stream of a relay, and a step from one to another."""

from __future__ import annotations

from typing import NamedTuple

LARGEST = (1 << 64) - 1


class Position(NamedTuple):
    """A place in a stream: behind the entry `milliseconds`-`sequence`."""

    milliseconds: int
    sequence: int
    added: int = LARGEST  # how many entries there were up to here; LARGEST: unknown

    @property
    def entry(self) -> tuple[int, int]:
        """What positions are compared by."""
        return self.milliseconds, self.sequence

    def __str__(self) -> str:
        return f"{self.milliseconds}-{self.sequence}"


class Move(NamedTuple):
    """A step of the cursor, as the reader of a term asks for it."""

    term: int
    before: Position | None
    after: Position
    pids: tuple[int, ...] = ()  # the posters of the events that come with it

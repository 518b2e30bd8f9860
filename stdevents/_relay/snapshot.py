"""A stream at one instant: some of its entries, and what is gone before them."""

from __future__ import annotations

from typing import NamedTuple
from zlib import crc32

from .ids import UNKNOWN, EntryId, Position, following, preceding

CHECK_BITS = 24


def check_of(text: bytes) -> int:
    """A number by which the text of an entry is known again; never 0."""
    return crc32(text) & (1 << CHECK_BITS) - 1 or 1


class Gap(NamedTuple):
    """Entries that are gone; None stands for what cannot be known."""

    first: EntryId | None
    last: EntryId | None
    number: int | None
    after: Position  # where to go on
    is_of_end: bool = False  # Redis has lost its newest ones, and may have given their ids again
    too_large: int = 0  # bytes of one that is there, and that the ring of this host cannot hold


class Snapshot(NamedTuple):
    """What `Stream.look` has found. Texts of entries are as `Stream.look` says."""

    last: EntryId  # the id that was given last
    first: EntryId  # of the first entry that is there, or of the next one if there is none
    length: int
    added: int  # how many entries there ever were; UNKNOWN before Redis 7.0
    deleted: EntryId  # the greatest id that was deleted, not trimmed; LARGEST_ID before Redis 7.0
    is_end: bool  # are there no more than these?
    at: bytes | None  # the text of the entry at the position; None: it is not there
    entries: list[bytes]  # of those after it

    def gap(self, position: Position, counted: EntryId) -> Gap | None:
        """What is gone between a position and the first entry after it, if anything is.

        Up to `counted` no entry was deleted that `position` counts.
        """
        if self.at is not None:
            is_known = position.check in (0, check_of(self.at))
            return None if is_known else self.gap_of_end(position)
        is_back = self.last < position.entry or self.added < position.added < UNKNOWN
        # Only the first entries are ever trimmed, so that the one at the position was deleted; or
        # it was lost, and others have come since.
        is_within = self.first < position.entry and self.deleted != position.entry
        if is_back or (position.check and is_within):
            return self.gap_of_end(position)
        if self.first <= following(position.entry):
            return None
        trimmed, number = self.trimmed(), None
        if UNKNOWN not in (trimmed, position.added) and self.deleted <= counted:
            number = trimmed - position.added
            if number < 0 and position.check:  # the one at the position would not be trimmed yet
                return self.gap_of_end(position)
            if number <= 0:
                return None  # the last one that was read was trimmed, and none after it
        after = preceding(self.first)
        return Gap(following(position.entry), after, number, Position(*after, trimmed))

    def gap_of_end(self, position: Position) -> Gap:
        """Redis has lost its newest entries; where to go on if nothing more is known."""
        # Its entries up to `last`, where that is less than what was read, may be old or new.
        if self.last < position.entry:
            return Gap(None, None, None, Position(*self.last, self.added), True)
        after = max(position.entry, preceding(self.first))
        known = after > position.entry
        after_it = Position(*after, self.trimmed() if known else UNKNOWN)
        return Gap(None, None, None, after_it, True)

    def trimmed(self) -> int:
        """How many entries there were before `first`; UNKNOWN."""
        return UNKNOWN if self.deleted >= self.first else self.added - self.length

    def added_up_to(self, number: int, before: Position) -> int:
        """How many entries there were up to that of this number in the look; UNKNOWN.

        `before` is the position before that entry.
        """
        if number == len(self.entries) and self.is_end:
            return self.added
        if before.added == UNKNOWN or self.deleted > before.entry:
            return UNKNOWN
        return before.added + 1

    def behind(self, after: Position) -> int | None:
        """How many entries there are after a position; None: unknown."""
        return None if UNKNOWN in (self.added, after.added) else max(0, self.added - after.added)

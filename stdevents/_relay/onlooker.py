"""What a relay leaves for onlookers: its stream's name in the bus's folder, and how far it is."""

from __future__ import annotations

import contextlib
import os
from typing import TYPE_CHECKING, NamedTuple

from .._errors import SegmentError
from .._table import workers
from .cursor import AWAY_SINCE, Cursor
from .ids import Position

if TYPE_CHECKING:
    from .._system.folder import Folder

FILE = "relay"
LONGEST = 1024  # bytes of a name


class Standing(NamedTuple):
    """How far a bus is in its stream."""

    position: Position | None
    behind: int | None  # how many entries came after that, at the last look; None: unknown
    reader: int  # pid; 0: nobody reads
    away_since: int  # seconds since the epoch; 0: Redis is not away


def standing_of(words: memoryview) -> Standing:
    """The standing of a bus; under its lock."""
    cursor = Cursor(words)
    # As short as that of a worker: a damaged one may be beyond what clocks can show.
    away_since = workers.since_of(words[AWAY_SINCE])
    return Standing(cursor.position(), cursor.behind, cursor.reader(), away_since)


def leave_name(folder: Folder, stream: str) -> None:
    """Write the stream's name into the bus's folder, if it is not there."""
    if not name_in(folder):
        with contextlib.suppress(OSError, SegmentError):  # onlookers see no name then
            number = folder.open_file(FILE, create=True)
            try:
                os.write(number, stream.encode())
            finally:
                os.close(number)


def name_in(folder: Folder) -> str:
    """The stream's name, as it was written; "" if it was not."""
    try:
        number = folder.open_file(FILE, create=False)
    except (OSError, SegmentError):
        return ""
    try:
        return os.read(number, LONGEST).decode(errors="replace")
    finally:
        os.close(number)

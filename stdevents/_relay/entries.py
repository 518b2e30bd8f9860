"""From entries of the stream to records of the bus."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec
from .._log import WARNING, report
from .contact import is_told
from .ids import EntryId, parse
from .records import encode_relayed
from .snapshot import check_of

if TYPE_CHECKING:
    from collections import Counter

    from .._bus.handlers import Handlers

LONGEST_NAME = 255  # bytes of UTF-8, of a stream or a host
LARGEST_PID = (1 << 31) - 1


class Entry(NamedTuple):
    """An entry as it was read; its record is empty if it has to be skipped."""

    id: EntryId
    check: int
    record: bytes = b""
    key: str | None = None  # of `unique`; "" if this host has no handler for the event


class Entries:
    """Makes records of texts, as `Stream` gives them, with the checks of any post."""

    def __init__(self, bus: str, stream: str, handlers: Handlers, counts: Counter[str]) -> None:
        self._bus = bus
        self._stream = stream
        self._handlers = handlers
        self._counts = counts

    def entry_of(self, text: bytes) -> Entry:
        """Anything may have written it."""
        written_id, *fields = text.split(b"\n", 3)
        entry = Entry(parse(written_id), check_of(text))
        try:
            pid, host = int(fields[0]), fields[1].decode()
            parts = json.loads(fields[2].decode())
            if not isinstance(parts, list) or not 3 <= len(parts) <= 4:
                raise ValueError
            if not 0 < pid <= LARGEST_PID or not 0 < len(fields[1]) <= LONGEST_NAME:
                raise ValueError
            source, event, data, unique = parts if len(parts) == 4 else (*parts, None)
            where = pid, host, written_id.decode()
            record = encode_relayed(source, event, data, unique, *where)
            key = None if unique is None else codec.key_of(unique)
            # The workers of a host are assumed to have the same handlers.
            if key and self._handlers.living(self._handlers.find(source, event)) is None:
                key = ""
        except (ValueError, LookupError, TypeError, RecursionError) as error:
            self._skip(written_id.decode(), error)
            return entry
        return entry._replace(record=record, key=key)

    def _skip(self, entry: str, error: Exception) -> None:
        self._counts["skipped"] += 1
        count = self._counts["skipped"]
        if is_told(count - 1, count):
            report(
                "bus %r: entry %s of stream %r is not an event of a relay of this version, and is "
                "skipped (%s); %d so far",
                self._bus, entry, self._stream, type(error).__name__, count,
                level=WARNING,
            )  # fmt: skip

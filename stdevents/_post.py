"""`post`: an event from outside, by a process that is no worker of the bus."""

from __future__ import annotations

import json
import sys
import time
from typing import TYPE_CHECKING, Any

from . import _codec
from ._errors import EncodeError, NoRoom
from ._outside import find
from ._settings import Settings
from ._table import Table

if TYPE_CHECKING:
    from ._table import Event


def main(name: str, source: str, event: str, data: str, unique: str | None) -> int:
    """Post one event, and print its id."""
    encoded = _codec.encode(source, event, _data(data), unique)
    segment = find(name)
    try:
        print(_append(Table(segment), encoded, segment.settings), flush=True)
    finally:
        segment.close()
    return 0


def _append(table: Table, event: Event, settings: Settings) -> int:
    """As a worker does it: with overflow="wait", until there is room."""
    for _ in range(settings.shm_retries):
        try:
            return table.append((event,))
        except NoRoom:
            time.sleep(settings.wait_interval)
    return table.append((event,))


def _data(text: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        where = "what standard input has" if text == "-" else f"{text[:60]!r}"
        raise EncodeError(f"{where} is not JSON: {error}; a string needs its quotes") from None

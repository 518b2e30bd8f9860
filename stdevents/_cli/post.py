"""`post`: an event from outside, by a process that is no worker of the bus."""

from __future__ import annotations

import json
import sys
from typing import Any

from .._bus import codec as _codec
from .._errors import EncodeError, NoRoom
from .._table.table import Table
from .outside import find


def main(name: str, source: str, event: str, data: str, unique: str | None) -> int:
    encoded = _codec.encode(source, event, _data(data), unique)
    segment = find(name)
    try:
        table = Table(segment)
        try:
            number = table.append((encoded,))
        except NoRoom as full:
            number = table.append_when_there_is_room((encoded,), full)
        print(number, flush=True)
    finally:
        segment.close()
    return 0


def _data(text: str) -> Any:
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        where = "what standard input has" if text == "-" else f"{text[:60]!r}"
        raise EncodeError(f"{where} is not JSON: {error}; a string needs its quotes") from None

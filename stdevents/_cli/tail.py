"""`tail`: the events of a bus as they come; in a pipe or file one JSON object a line."""

from __future__ import annotations

import json
import select
import sys
import time
from typing import Any, Iterator

from .._bus import codec as _codec
from .._bus.segment import Segment
from .._errors import LockTimeout
from .._table.layout import LAST
from .._table.table import Table
from .outside import current, find
from .terminal import Terminal, complain, harmless, json_of

STEP = 0.02  # seconds between two looks for news, each of which reads one word
RENEW = 0.5  # seconds between two looks whether it is the same bus still


def main(name: str, source: str | None, event: str | None, oldest: bool) -> int:
    """Write the events until Ctrl-C, or until the other end of the pipe is closed."""
    segment: Segment | None = find(name)
    terminal = Terminal(sys.stdout)
    try:
        assert segment is not None
        position = Table(segment).before_oldest() if oldest else segment.words[LAST]
        while True:
            if segment is not None:
                position = _write(terminal, segment, position, source, event)
            now = _wait(name, segment, position)
            if now is segment:
                continue
            if segment is not None:
                _write(terminal, segment, position, source, event)  # what came before its end
                segment.close()
            if now is None:
                complain(f"bus {name!r} has no live worker any more; waiting for one")
            else:
                complain(f"bus {name!r} was created again; its ids begin at 1")
            segment, position = now, 0
    except (KeyboardInterrupt, _NobodyReads):
        return 0
    finally:
        if segment is not None:
            segment.close()


class _NobodyReads(Exception):
    """Standard output is a pipe whose other end was closed."""


def _write(
    terminal: Terminal, segment: Segment, position: int, source: str | None, event: str | None
) -> int:
    table = Table(segment)
    while table.last != position:
        try:
            through, records = table.read(position)
        except LockTimeout:
            break  # to be tried again
        for line in _lines(position, through, records):
            if "lost" in line or (
                source in (None, line["source"]) and event in (None, line["event"])
            ):
                terminal.line(_in_colour(terminal, line) if terminal.is_live else json.dumps(line))
        position = through
    return position


def _in_colour(terminal: Terminal, line: dict[str, Any]) -> str:
    """For a person: `    12  cache drop {"key": 7}  by 4711`."""
    if "lost" in line:
        lost = line["lost"]
        text = f"events {lost['first']} to {lost['last']} ({lost['count']}) are lost here"
        return terminal.paint(text, "red")
    number = terminal.paint(f"{line['id']:>6}", "dim")
    source = terminal.paint(harmless(line["source"]), "cyan")
    event = terminal.paint(harmless(line["event"]), "bold")
    data = "" if line["data"] is None else f" {json_of(line['data'])}"
    unique = f"  unique {line['unique']!r}" if "unique" in line else ""
    host = f" of {harmless(line['host'])}" if "host" in line else ""
    more = terminal.paint(f"{unique}  by {line['pid']}{host}", "dim")
    return f"{number}  {source} {event}{data}{more}"


def _lines(position: int, through: int, records: list[Any]) -> Iterator[dict[str, Any]]:
    for number, pid, _, payload in records:
        try:
            source, event, data, *more = _codec.decode(payload)
        except (ValueError, RecursionError):
            continue  # the next one, or the end, shows the gap
        if number > position + 1:
            yield _lost(position + 1, number - 1)
        position = number
        line = {"id": number, "source": source, "event": event, "data": data, "pid": pid}
        further = zip(("unique", "host", "entry"), more)
        yield {**line, **{what: value for what, value in further if value is not None}}
    if through > position:
        yield _lost(position + 1, through)


def _lost(first: int, last: int) -> dict[str, Any]:
    return {"lost": {"first": first, "last": last, "count": last + 1 - first}}


def _wait(name: str, segment: Segment | None, position: int) -> Segment | None:
    """Wait for news of the bus; returns it as it is then, the same one or another or none."""
    until = time.monotonic() + RENEW
    while time.monotonic() < until:
        _sleep()
        if segment is not None and segment.words[LAST] != position:
            return segment
    return current(name, segment)


def _sleep() -> None:
    """Sleep one step; wake when the other end of the pipe is closed."""
    ends = select.poll()
    ends.register(sys.stdout, 0)
    for _, happened in ends.poll(STEP * 1000):
        if happened & (select.POLLERR | select.POLLHUP):
            raise _NobodyReads
        time.sleep(STEP)  # POLLNVAL: it cannot be asked of, as a terminal on macOS

"""`tail`: the events of a bus as they come; in a pipe or file one JSON object a line."""

from __future__ import annotations

import json
import select
import sys
import time

from .._errors import LockTimeout
from .outside import NOWHERE, current, find
from .terminal import Terminal, complain, harmless, json_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any, Iterator

    from .._table.read import Run
    from .outside import Event, OpenBus

HELP = "the events of a bus as they come; in a pipe, JSON lines"
MORE = """\
A {"lost": ...} line stands for events that were overwritten before they were
read here. Goes on when the bus is created again; ends with Ctrl-C."""
EXAMPLE = "tail my-app --source cache"

STEP = 0.02  # seconds between two looks for news, each of which reads one word
RENEW = 0.5  # seconds between two looks whether it is the same bus still


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", help="the bus, as its workers call it")
    add("--source", help="only the events of this source")
    add("--event", help="only the events of this name")
    add("--oldest", action="store_true", help="begin with what is there still")


def main(name: str, source: str | None, event: str | None, oldest: bool) -> int:
    """Write the events until Ctrl-C, or until the other end of the pipe is closed."""
    bus: OpenBus | None = find(name)
    terminal = Terminal(sys.stdout)
    try:
        assert bus is not None
        place = bus.oldest_place() if oldest else bus.place_at(bus.last)
        while True:
            if bus is not None:
                place = _write(terminal, bus, place, source, event)
            now = _wait(name, bus, place.through)
            if now is bus:
                continue
            if bus is not None:
                _write(terminal, bus, place, source, event)  # what came before its end
                bus.close()
            if now is None:
                complain(f"bus {name!r} has no live worker any more; waiting for one")
            else:
                complain(f"bus {name!r} was created again; its ids begin at 1")
            bus, place = now, NOWHERE
    except (KeyboardInterrupt, _NobodyReads):
        return 0
    finally:
        if bus is not None:
            bus.close()


class _NobodyReads(Exception):
    """Standard output is a pipe whose other end was closed."""


def _write(
    terminal: Terminal, bus: OpenBus, place: Run, source: str | None, event: str | None
) -> Run:
    while bus.last != place.through:
        try:
            run, events = bus.read(place)
        except LockTimeout:
            break  # to be tried again
        for line in _lines(place.through, run.through, events):
            if "lost" in line or (
                source in (None, line["source"]) and event in (None, line["event"])
            ):
                terminal.line(_in_colour(terminal, line) if terminal.is_live else json.dumps(line))
        place = run
    return place


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


def _lines(position: int, through: int, events: list[Event]) -> Iterator[dict[str, Any]]:
    for number, parts in events:
        if parts is None:
            continue  # the next one, or the end, shows the gap
        if number > position + 1:
            yield _lost(position + 1, number - 1)
        position = number
        pid, source, event, data, *more = parts
        line = {"id": number, "source": source, "event": event, "data": data, "pid": pid}
        further = zip(("unique", "host", "entry"), more)
        yield {**line, **{what: value for what, value in further if value is not None}}
    if through > position:
        yield _lost(position + 1, through)


def _lost(first: int, last: int) -> dict[str, Any]:
    return {"lost": {"first": first, "last": last, "count": last + 1 - first}}


def _wait(name: str, bus: OpenBus | None, position: int) -> OpenBus | None:
    """Wait for news of the bus; returns it as it is then, the same one or another or none."""
    until = time.monotonic() + RENEW
    while time.monotonic() < until:
        _sleep()
        if bus is not None and bus.last != position:
            return bus
    return current(name, bus)


def _sleep() -> None:
    """Sleep one step; wake when the other end of the pipe is closed."""
    ends = select.poll()
    ends.register(sys.stdout, 0)
    for _, happened in ends.poll(STEP * 1000):
        if happened & (select.POLLERR | select.POLLHUP):
            raise _NobodyReads
        time.sleep(STEP)  # POLLNVAL: it cannot be asked of, as a terminal on macOS

"""`tail`: the events of a bus as they come; in a pipe or file one JSON object a line."""

from __future__ import annotations

import json
import select
import sys
import time

from .._errors import LockTimeout
from .outside import NOWHERE, current, find_or_none, unknown
from .terminal import Terminal, complain, harmless, json_of
from .unhandled import Unhandled

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Any, Iterator

    from .outside import Event, OpenBus

HELP = "the events of a bus as they come; in a pipe, JSON lines"
MORE = """\
Waits for a bus that is not there yet; goes on when it is created again; ends
with Ctrl-C. The time is that at which an event was read here, some 20 ms after
it was posted. A {"lost": ...} line stands for events that were overwritten
before that. A terminal is told, too, which events no worker has a handler for."""
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
    tail = Tail(name, Terminal(sys.stdout), source, event)
    try:
        tail.begin(oldest)
        while True:
            tail.step()
    except (KeyboardInterrupt, _NobodyReads):
        return 0
    finally:
        tail.close()


class Tail:
    """Follows the bus of a name, whichever that is."""

    def __init__(
        self, name: str, terminal: Terminal, source: str | None, event: str | None
    ) -> None:
        self._name = name
        self._terminal = terminal
        self._source = source
        self._event = event
        self._bus: OpenBus | None = None
        self._place = NOWHERE
        self._old = 0  # id of the last event that was there before; when it came is not known
        self._unhandled: Unhandled | None = None

    def begin(self, oldest: bool) -> None:
        """Begin with what is new, or with the oldest event that is there still."""
        bus = find_or_none(self._name)
        if bus is None:
            complain(unknown(self._name, "waiting for one, Ctrl-C ends"))
            return
        self._old = bus.last
        self._place = bus.oldest_place() if oldest else bus.place_at(self._old)
        self._follow(bus)

    def step(self) -> None:
        """Write what is new, and wait for more."""
        bus = self._bus
        if bus is not None:
            self._write(bus)
        now = self._wait()
        if now is bus:
            return
        if bus is not None:
            self._write(bus)  # what came before its end
            self.close()
        if now is None:
            complain(f"bus {self._name!r} has no live worker any more; waiting for one")
        elif self._place is not NOWHERE:
            complain(f"bus {self._name!r} was created again; its ids begin at 1")
        if now is not None:
            self._place, self._old = NOWHERE, 0
            self._follow(now)

    def close(self) -> None:
        """Close the bus that it is on."""
        bus, self._bus = self._bus, None
        if bus is not None:
            bus.close()

    def _follow(self, bus: OpenBus) -> None:
        self._bus = bus
        if self._terminal.is_live:
            self._unhandled = Unhandled(bus)
            count = len(bus.slots())
            words = f"following {self._name}, {count} worker{'s' * (count != 1)}; Ctrl-C ends"
            self._terminal.line(self._terminal.paint(words, "dim"))

    def _write(self, bus: OpenBus) -> None:
        while bus.last != self._place.through:
            try:
                run, events = bus.read(self._place)
            except LockTimeout:
                break  # to be tried again
            now = time.time()
            for line in _lines(self._place.through, run.through, events):
                if self._is_wanted(line):
                    self._show(line, now)
            self._place = run
        self._tell_unhandled()

    def _is_wanted(self, line: dict[str, Any]) -> bool:
        return "lost" in line or (
            self._source in (None, line["source"]) and self._event in (None, line["event"])
        )

    def _show(self, line: dict[str, Any], now: float) -> None:
        is_new = line.get("id", self._place.through + 1) > self._old
        if self._terminal.is_live:
            self._terminal.line(_in_colour(self._terminal, line, now if is_new else None))
            if self._unhandled is not None and "id" in line:
                self._unhandled.note(line["id"], line["source"], line["event"])
        else:
            self._terminal.line(json.dumps({**line, "time": round(now, 3)} if is_new else line))

    def _tell_unhandled(self) -> None:
        for source, event in self._unhandled.told() if self._unhandled is not None else ():
            words = f"{'':18}no worker has a handler for {harmless(source)} {harmless(event)}"
            self._terminal.line(self._terminal.paint(words, "yellow"))

    def _wait(self) -> OpenBus | None:
        """Wait for news of the bus; returns it as it is then, the same one or another or none."""
        bus, until = self._bus, time.monotonic() + RENEW
        while time.monotonic() < until:
            _sleep()
            if bus is not None:
                if bus.last != self._place.through:
                    return bus
                self._tell_unhandled()
        return current(self._name, bus)


class _NobodyReads(Exception):
    """Standard output is a pipe whose other end was closed."""


def _in_colour(terminal: Terminal, line: dict[str, Any], now: float | None) -> str:
    """For a person: `12:34:56      12  cache drop {"key": 7}  by 4711`."""
    clock = time.strftime("%H:%M:%S", time.localtime(now)) if now is not None else f"{'':8}"
    if "lost" in line:
        lost = line["lost"]
        text = f"events {lost['first']} to {lost['last']} ({lost['count']}) are lost here"
        return f"{terminal.paint(clock, 'dim')}  {terminal.paint(text, 'red')}"
    number = terminal.paint(f"{clock} {line['id']:>7}", "dim")
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


def _sleep() -> None:
    """Sleep one step; wake when the other end of the pipe is closed."""
    ends = select.poll()
    ends.register(sys.stdout, 0)
    for _, happened in ends.poll(STEP * 1000):
        if happened & (select.POLLERR | select.POLLHUP):
            raise _NobodyReads
        time.sleep(STEP)  # POLLNVAL: it cannot be asked of, as a terminal on macOS

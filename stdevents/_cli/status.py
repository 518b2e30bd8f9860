"""`status`: how full a bus is, and which of its workers are behind; or which buses there are."""

from __future__ import annotations

import json
import sys
import time
from contextlib import closing
from typing import Any, NamedTuple

from .._errors import LockTimeout, StdeventsError
from .._system.folder import names
from .._types import WorkerInfo
from .outside import OpenBus, current, find
from .terminal import Terminal, harmless, words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "how full a bus is, and which workers are behind"
MORE = """\
BEHIND is the share of the ring that a worker has to read still; at 100 % it
loses some. Without NAME: which buses there are, and how many workers each has."""
EXAMPLE = "status my-app --watch"

EVERY = 1.0  # seconds from one look to the next
BAR = 20
DEAD = "no live worker; left behind by killed ones"
GONE = "no live worker has it open any more; waiting for one"
LOCKED = "its lock is held, most likely by a worker that was stopped; trying again"


class Status(NamedTuple):
    """A bus at one instant."""

    name: str
    epoch: int
    overflow: str
    size: int
    used: int  # bytes of the ring in events that can still be read
    event_slots: int
    events: int  # how many can still be read
    last_id: int
    workers: list[tuple[WorkerInfo, float]]  # each with the share of the ring it has to read

    def lost(self, worker: WorkerInfo) -> int:
        """How many events were overwritten before the worker came to them, and it does not know."""
        return max(0, self.last_id - self.events - worker.position)

    def as_json(self) -> str:
        fields: dict[str, Any] = self._asdict()
        # In hex, since many readers of JSON cannot hold 64 bits.
        fields["epoch"] = f"{self.epoch:016x}"
        fields["workers"] = [{**w._asdict(), "behind": round(b, 4)} for w, b in self.workers]
        return json.dumps(fields)


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("name", metavar="NAME", nargs="?", help="the bus (default: list all of yours)")
    add("--watch", action="store_true", help="look every second, until Ctrl-C")
    add("--json", dest="as_json", action="store_true", help="one JSON object a look")


def main(name: str | None, watch: bool, as_json: bool) -> int:
    """Show the bus once, or with `watch` until Ctrl-C; without a name, list those of this user."""
    terminal = Terminal(sys.stdout)
    if name is not None:
        return _follow(terminal, name, watch, as_json)
    if watch:
        raise ValueError("--watch needs the NAME of a bus; without --watch, status lists them")
    return _list(terminal, as_json)


def _list(terminal: Terminal, as_json: bool) -> int:
    buses = names()
    width = max(map(len, buses), default=0)
    failed = 0
    for name in buses:
        try:
            with closing(OpenBus(name)) as bus:
                state = look(bus)
        except FileNotFoundError:
            line, as_line = DEAD, _error(name, DEAD)
        except StdeventsError as error:
            failed = 1
            line, as_line = words_of(error), _error(name, words_of(error))
        else:
            count = len(state.workers)
            line, as_line = f"{count} worker{'s' * (count != 1)}", state.as_json()
        terminal.line(as_line if as_json else harmless(f"{name:{width}}  {line}"))
    if not (buses or as_json):
        terminal.line("no bus of this user")
    return failed


def _follow(terminal: Terminal, name: str, watch: bool, as_json: bool) -> int:
    bus: OpenBus | None = find(name)
    rate = Rate()
    try:
        while True:
            try:
                if bus is None:
                    _show_none(terminal, name, as_json, GONE)
                else:
                    state = look(bus)
                    _show(terminal, state, rate.of(state), watch, as_json)
            except LockTimeout:
                if not watch:
                    raise
                _show_none(terminal, name, as_json, LOCKED)
            if not watch:
                return 0
            time.sleep(EVERY)
            now = current(name, bus)
            if now is not bus and bus is not None:
                bus.close()
            bus = now
    except KeyboardInterrupt:
        if terminal.is_live:
            terminal.line()  # the shell goes on below
        return 0
    finally:
        if bus is not None:
            bus.close()


class Rate:
    def __init__(self) -> None:
        self._epoch = self._last_id = 0
        self._at = 0.0

    def of(self, state: Status) -> float | None:
        """Since the look before; None at the first one."""
        before, self._last_id = self._last_id, state.last_id
        since, self._at = self._at, time.monotonic()
        same, self._epoch = self._epoch == state.epoch, state.epoch
        return (state.last_id - before) / (self._at - since) if same else None


def look(bus: OpenBus) -> Status:
    """The state of the bus; taken under its lock, so that all of it is of one instant."""
    return bus.exclusively(_look, bus)


def _look(bus: OpenBus) -> Status:
    last, before = bus.last, bus.before_oldest()
    workers = [WorkerInfo(*worker) for worker in bus.workers()]
    return Status(
        name=bus.name,
        epoch=bus.epoch,
        overflow=bus.overflow,
        size=bus.size,
        used=bus.bytes_after(before),
        event_slots=bus.event_slots,
        events=last - before,
        last_id=last,
        workers=[(worker, _behind(bus, worker, before)) for worker in workers],
    )


def _behind(bus: OpenBus, worker: WorkerInfo, before: int) -> float:
    """The share of the ring that the worker has to read still: of its bytes, or of its slots."""
    if worker.position < before:
        return 1.0
    share = bus.bytes_after(worker.position) / bus.size
    return max(share, worker.lag / bus.event_slots)


# -- how it looks ----------------------------------------------------------------------------------


def _show(
    terminal: Terminal, state: Status, rate: float | None, watch: bool, as_json: bool
) -> None:
    head = _head(terminal, state, rate)
    if as_json:
        terminal.line(state.as_json())
    elif watch:
        foot = _foot(terminal)
        room = terminal.height() - len(head) - len(foot)
        terminal.draw([*head, *_workers_in(terminal, state, room), *foot])
    else:
        for line in [*head, *_workers_in(terminal, state, len(state.workers))]:
            terminal.line(line)


def _show_none(terminal: Terminal, name: str, as_json: bool, why: str) -> None:
    if as_json:
        terminal.line(_error(name, why))
    else:
        title = terminal.paint(f"bus {name}", "bold")
        terminal.draw([title, "", f"  {terminal.paint(why, 'yellow')}", *_foot(terminal)])


def _error(name: str, why: str) -> str:
    return json.dumps({"name": name, "error": why, "workers": []})


def _head(terminal: Terminal, state: Status, rate: float | None) -> list[str]:
    def gauge(what: str, share: float, words: str) -> str:
        return f"  {what:<8} {share:4.0%} {terminal.bar(share, BAR)}  {words}"

    count = len(state.workers)
    columns = f"{'pid':>10}  behind{'lag':>31}{'position':>14}{'since':>12}"
    return [
        f"{terminal.paint(f'bus {state.name}', 'bold')}  overflow {state.overflow}, "
        f"epoch {state.epoch:016x}",
        "",
        gauge("ring", state.used / state.size, f"{_bytes(state.used)} of {_bytes(state.size)}"),
        gauge(
            "events",
            state.events / state.event_slots,
            f"{state.events:,} of at most {state.event_slots - 1:,}",
        ),
        f"  last id  {state.last_id:,}" + ("" if rate is None else f", {rate:,.1f} events/s"),
        f"  workers  {count}",
        "",
        terminal.paint(columns, "dim"),
    ]


def _foot(terminal: Terminal) -> list[str]:
    words = f"{time.strftime('%H:%M:%S')}, every {EVERY:g} s; Ctrl-C ends"
    return ["", terminal.paint(words, "dim")]


def _workers_in(terminal: Terminal, state: Status, room: int) -> list[str]:
    """A line for each worker; where there is no room for all, for those furthest behind."""
    shown, more = state.workers, []
    if len(shown) > room:
        furthest = sorted(shown, key=lambda worker: -worker[1])[: max(0, room - 1)]
        more = [f"  and {len(shown) - len(furthest)} more, none further behind"]
        shown = [worker for worker in shown if worker in furthest]
    return [_worker_line(terminal, *worker, state.lost(worker[0])) for worker in shown] + more


def _worker_line(terminal: Terminal, worker: WorkerInfo, share: float, lost: int) -> str:
    """What matters most comes first: a narrow terminal cuts off the rest."""
    colour = "red" if share >= 0.8 else "yellow" if share >= 0.4 else "green"
    bar = f"loses {lost:,} events" if lost else terminal.bar(share, BAR)
    behind = terminal.paint(f"{share:4.0%} {bar:{BAR}}", colour)
    within_a_day = time.time() - worker.since < 86400
    shown = "%H:%M:%S" if within_a_day else "%Y-%m-%d"
    joined = time.strftime(shown, time.localtime(worker.since))
    return f"{worker.pid:>10}  {behind}  {worker.lag:>10,}  {worker.position:>12,}  {joined:>10}"


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"

"""`status`: how full a bus is, and which of its workers are behind."""

from __future__ import annotations

import json
import sys
import time
from typing import Any, NamedTuple

from . import _workers
from ._errors import LockTimeout
from ._layout import HEADER_EPOCH, HEADER_OVERFLOW
from ._outside import current, end_of, find, position_of
from ._segment import Segment
from ._settings import OVERFLOWS
from ._table import Table
from ._terminal import Terminal
from ._types import WorkerInfo

EVERY = 1.0  # seconds from one look to the next
BAR = 20
NOBODY = "no live worker has it open any more; waiting for one"
LOCKED = "its lock is held, by a worker that was stopped most likely; trying again"


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


def main(name: str, watch: bool, as_json: bool) -> int:
    """Show the bus once, or again and again until Ctrl-C, which is how that ends."""
    segment: Segment | None = find(name)
    terminal = Terminal(sys.stdout)
    rate = Rate()
    try:
        while True:
            try:
                if segment is None:
                    _show_none(terminal, name, as_json, NOBODY)
                else:
                    state = look(segment)
                    _show(terminal, state, rate.of(state), watch, as_json)
            except LockTimeout:
                if not watch:
                    raise
                _show_none(terminal, name, as_json, LOCKED)
            if not watch:
                return 0
            time.sleep(EVERY)
            now = current(name, segment)
            if now is not segment and segment is not None:
                segment.close()
            segment = now
    except KeyboardInterrupt:
        if terminal.is_live:
            terminal.line()  # the shell goes on below
        return 0
    finally:
        if segment is not None:
            segment.close()


class Rate:
    """How many events a second were posted between two looks at the same bus."""

    def __init__(self) -> None:
        self._epoch = self._last_id = 0
        self._at = 0.0

    def of(self, state: Status) -> float | None:
        """Since the look before; None at the first one."""
        before, self._last_id = self._last_id, state.last_id
        since, self._at = self._at, time.monotonic()
        same, self._epoch = self._epoch == state.epoch, state.epoch
        return (state.last_id - before) / (self._at - since) if same else None


def look(segment: Segment) -> Status:
    """The state of the bus; taken under its lock, so that all of it is of one instant."""
    words, layout = segment.words, segment.layout
    try:
        segment.lock.acquire()
        table = Table(segment)
        last, before = table.last, table.before_oldest()
        end = end_of(segment, last)
        used = end - position_of(segment, before + 1) if before < last else 0
        live = _workers.live_workers(segment.folder, words, last)
        workers = [WorkerInfo(*worker) for worker in live]
        shares = [
            0.0 if worker.position >= last
            else 1.0 if worker.position < before
            else max(
                (end - position_of(segment, worker.position + 1)) / layout.size,
                worker.lag / layout.events,
            )
            for worker in workers
        ]  # fmt: skip
        return Status(
            segment.name, words[HEADER_EPOCH], OVERFLOWS[words[HEADER_OVERFLOW]],
            layout.size, used, layout.events, last - before, last, list(zip(workers, shares)),
        )  # fmt: skip
    finally:
        segment.lock.release()


# -- how it looks ----------------------------------------------------------------------------------


def _show(
    terminal: Terminal, state: Status, rate: float | None, watch: bool, as_json: bool
) -> None:
    if as_json:
        terminal.line(state.as_json())
    elif watch:
        terminal.draw([*_lines(terminal, state, rate), "", _footer(terminal)])
    else:
        for line in _lines(terminal, state, rate):
            terminal.line(line)


def _show_none(terminal: Terminal, name: str, as_json: bool, why: str) -> None:
    if as_json:
        terminal.line(json.dumps({"name": name, "error": why, "workers": []}))
    else:
        terminal.draw([f"bus {name}: {terminal.paint(why, 'yellow')}", "", _footer(terminal)])


def _footer(terminal: Terminal) -> str:
    return terminal.paint(f"{time.strftime('%H:%M:%S')}, every {EVERY:g} s; Ctrl-C ends", "dim")


def _lines(terminal: Terminal, state: Status, rate: float | None) -> list[str]:
    full = max(state.used / state.size, state.events / state.event_slots)
    title = terminal.paint(f"bus {state.name}", "bold")
    lines = [
        f"{title}  epoch {state.epoch:016x}, overflow {state.overflow}",
        "",
        f"  ring     {full:.0%} full {terminal.bar(full, BAR)} "
        f"{_bytes(state.used)} of {_bytes(state.size)}, "
        f"{state.events:,} events of at most {state.event_slots:,}",
        f"  last id  {state.last_id:,}" + ("" if rate is None else f", {rate:,.1f} events/s"),
        "",
        terminal.paint("       pid  since                    position         lag  behind", "dim"),
    ]
    lines += [
        _worker_line(terminal, worker, share, state.lost(worker)) for worker, share in state.workers
    ]
    return lines


def _worker_line(terminal: Terminal, worker: WorkerInfo, share: float, lost: int) -> str:
    since = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(worker.since))
    start = f"  {worker.pid:>8}  {since}  {worker.position:>12,}  {worker.lag:>10,}  "
    colour = "red" if share >= 0.8 else "yellow" if share >= 0.4 else "green"
    bar = terminal.paint(terminal.bar(share, BAR), colour)
    note = terminal.paint(f" loses {lost:,} events", "red") if lost else ""
    return f"{start}{share:6.0%} {bar}{note}".rstrip()


def _bytes(count: int) -> str:
    for unit, size in (("GiB", 1 << 30), ("MiB", 1 << 20), ("KiB", 1 << 10)):
        if count >= size:
            return f"{count / size:.1f} {unit}"
    return f"{count} bytes"

"""`demo`: four workers, a SQLite file, and what a bus does for their caches; shown live."""

from __future__ import annotations

import os
import random
import signal
import sqlite3
import sys
import tempfile
import time
from contextlib import closing
from typing import Any
from zlib import crc32

from ._demo_stage import CHILD, FORKER, WORKERS, Stage
from ._demo_verdict import judge
from ._demo_worker import INTERVAL, TINY, Report
from ._terminal import Terminal, fit

ROWS = 400
UPDATES = 6
BURST = 40
TINY_EVENTS = 40
PAUSE = 0.25  # seconds, so that one can follow on a terminal
FOUR = list(range(1, WORKERS + 1))
COLOURS = ["", "cyan", "yellow", "green", "magenta", "blue"]


def main() -> int:
    """Play it; 0 if all that is promised held, and 1 if not."""
    terminal = Terminal(sys.stdout)
    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, _end)
    with tempfile.TemporaryDirectory(prefix="stdevents-demo-") as folder:
        database = os.path.join(folder, "rows.db")
        _make(database)
        stage = Stage(database, ROWS)
        try:
            return Play(terminal, stage).play()
        finally:
            stage.close()


def _end(number: int, frame: object) -> None:
    sys.exit(128 + number)  # by way of all `finally`


def _make(database: str) -> None:
    with closing(sqlite3.connect(database)) as connection:
        columns = "id INTEGER PRIMARY KEY, price REAL, version INTEGER"
        connection.execute(f"CREATE TABLE rows ({columns})")
        rows = [(row, random.randrange(100, 10000) / 100, 1) for row in range(ROWS)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, ?)", rows)
        connection.commit()


class Play:
    """The acts, one after the other."""

    def __init__(self, terminal: Terminal, stage: Stage) -> None:
        self.terminal = terminal
        self.stage = stage
        self.evidence = stage.evidence

    def play(self) -> int:
        began = time.monotonic()
        self.act_start()
        self.act_update()
        self.act_order()
        self.act_unique()
        self.act_local()
        self.act_fork()
        self.act_lost()
        return self.act_end(began)

    def title(self, number: int, text: str) -> None:
        self.pause()
        self.terminal.line()
        self.terminal.line(self.terminal.paint(f"{number}  {text}", "bold"))

    def say(self, text: str) -> None:
        self.terminal.line(f"   {text}")

    def pause(self) -> None:
        if self.terminal.is_live:
            time.sleep(PAUSE)

    # -- the acts ----------------------------------------------------------------------------------

    def act_start(self) -> None:
        stage = self.stage
        self.terminal.line(f"stdevents demo: {WORKERS} workers, and a SQLite file of {ROWS} rows")
        self.title(1, "Four processes join by the name of the bus; each has a cache of its own")
        stage.start()
        ready = stage.hear("ready", FOUR)
        self.evidence.since = dict.fromkeys(FOUR, 1)
        filled = stage.ask(FOUR, "filled", "fill")
        for worker in FOUR:
            cached = f"{filled[worker]['rows']} rows in its cache, reads all the time"
            self.say(f"{self.who(worker)}  pid {ready[worker]['pid']}, {cached}")
        self.say(f"bus {stage.bus}, polled every {INTERVAL * 1000:.0f} ms")

    def act_update(self) -> None:
        self.title(2, "A row is updated by one; an event tells all, who drop it from their caches")
        self.say("(drop: it was in the cache; -: it was not; and how long after the post)")
        self.lanes_head()
        for index in range(UPDATES):
            self.update(FOUR[index % WORKERS], index + 1)

    def act_order(self) -> None:
        stage = self.stage
        self.title(3, f"All post {BURST} events at the same time: whose came, as each one saw it")
        for worker in FOUR:
            stage.tell(worker, "burst", BURST, time.monotonic() + 0.05)
        burst = set(stage.await_everywhere("burst", "tick", BURST * WORKERS))
        for worker in FOUR:
            order = [name for name in self.evidence.seen[worker] if name in burst]
            posters = [stage.posted[name]["by"] for name in order]
            shown = "".join(self.terminal.paint(str(by), COLOURS[by]) for by in posters[:58])
            whole = crc32("".join(order).encode())
            self.say(f"{self.who(worker)}  {shown}...  {len(order)}, checksum {whole:08x}")

    def act_unique(self) -> None:
        stage = self.stage
        self.title(4, "All notice that totals expired, and post it with a unique key: one runs it")
        self.lanes_head()
        for worker in FOUR:
            stage.tell(worker, "expire")
        ready = stage.await_everywhere("totals", "ready")
        stage.ask(FOUR, "stats", "stats")  # by then it is decided for all four
        expired = [name for name, by in stage.posted.items() if by["event"] == "expired"]
        for name in sorted([*expired, *ready], key=lambda name: stage.posted[name]["id"]):
            self.lanes(name)

    def act_local(self) -> None:
        self.title(5, "A local event stays in its process, and takes any object along")
        self.evidence.local_of = FOUR[1]
        self.stage.tell(FOUR[1], "local")
        self.stage.listen(lambda: bool(self.evidence.local), "local")
        self.stage.ask(FOUR, "stats", "stats")
        for worker, same in self.evidence.local:
            self.say(f"{self.who(worker)}  handled it, {'the same' if same else 'another'} object")

    def act_fork(self) -> None:
        stage = self.stage
        self.title(
            6, f"Worker {FORKER} forks: its child is a worker at once, cache and handlers kept"
        )
        stage.ask([FORKER], "forked", "fork", CHILD)
        ready = stage.hear("ready", [CHILD])
        self.evidence.child = CHILD
        self.say(f"{self.who(CHILD)}  pid {ready[CHILD]['pid']}, child of worker {FORKER}")
        stage.tell(CHILD, "hello")
        (hello,) = stage.await_everywhere("demo", "hello")
        self.evidence.since[CHILD] = stage.posted[hello]["id"]
        stage.await_everywhere("demo", "hello")
        self.lanes_head()
        self.lanes(hello)
        self.update(CHILD, UPDATES + 1)
        self.update(FOUR[0], UPDATES + 2)

    def act_lost(self) -> None:
        stage, evidence = self.stage, self.evidence
        poster, slow = FOUR[0], FOUR[-1]
        self.title(7, f"A bus of {TINY} is too small for a slow worker, which is told what it lost")
        for worker in (poster, slow):
            stage.ask([worker], "tiny_open", "open_tiny", stage.tiny)
        posted = stage.ask([poster], "tiny_posted", "post_tiny", TINY_EVENTS)
        evidence.tiny_posted = posted[poster]["ids"]
        ids = evidence.tiny_posted
        self.say(f"{self.who(poster)}  posts {len(ids)} events, {ids[0]} to {ids[-1]}")
        seen = stage.ask([slow], "tiny_seen", "poll_tiny")[slow]
        evidence.tiny_seen, evidence.tiny_lost = seen["seen"], seen["lost"]
        for event, data in evidence.tiny_seen:
            if event == "lost":
                told = f"{data['first']} to {data['last']} are lost ({data['count']} events)"
                self.say(f"{self.who(slow)}  polls late: {self.terminal.paint(told, 'red')}")
        got = [ids[data] for event, data in evidence.tiny_seen if event != "lost"]
        self.say(f"{self.who(slow)}  goes on with {', '.join(map(str, got))}")

    def act_end(self, began: float) -> int:
        stage = self.stage
        stats = stage.ask([*FOUR, CHILD], "stats", "stats")
        self.evidence.counts = stats
        stage.end()
        findings = judge(self.evidence)
        self.terminal.line()
        for what, found, held in findings:
            word, colour = ("ok", "green") if held else ("FAILED", "red")
            self.terminal.line(f"  {what:<28} {found:<61} {self.terminal.paint(word, colour)}")
        held = all(finding.held for finding in findings)
        self.terminal.line()
        took = f"{time.monotonic() - began:.1f} s"
        verdict = f"all held, in {took}" if held else f"something did not hold, in {took}"
        self.terminal.line(self.terminal.paint(verdict, "green" if held else "red"))
        return 0 if held else 1

    # -- how it looks ------------------------------------------------------------------------------

    def update(self, worker: int, count: int) -> None:
        """Have a row updated, and show where the event arrives."""
        row, price = random.randrange(ROWS), random.randrange(100, 10000) / 100
        self.stage.tell(worker, "update", row, price)
        changed = self.stage.await_everywhere("row", "changed", count)
        self.lanes(changed[-1])
        self.pause()

    def who(self, worker: int) -> str:
        return self.terminal.paint(f"worker {worker}", COLOURS[worker])

    def lanes_head(self) -> None:
        workers = "".join(f"worker {worker}   " for worker in self.evidence.since)
        self.say(self.terminal.paint(f"  id  by  {'event':<28}{workers}", "dim"))

    def lanes(self, name: str) -> None:
        """One event: who posted it, and after how long it was handled where."""
        posted = self.stage.posted[name]
        handled = self.stage.handled.get(name, {})
        by = self.terminal.paint(f"{posted['by']:>2}", COLOURS[posted["by"]])
        cells = [self.cell(posted, handled.get(worker)) for worker in self.evidence.since]
        self.say(f"{posted['id']:>4}  {by}  {fit(_words(posted), 26)}  {' '.join(cells)}")

    def cell(self, posted: Report, handled: Report | None) -> str:
        if handled is None:
            return self.terminal.paint("not run   ", "dim")
        after = f"{(handled['at'] - posted['began']) * 1000:.0f} ms"
        what = "run" if posted["unique"] else handled["effect"]
        return f"{what:<4}{after:>6}"


def _words(posted: Report) -> str:
    data: Any = posted["data"]
    name = f"{posted['source']} {posted['event']}"
    if name == "row changed":
        return f"{name} {data['row']}: {data['price']:.2f}"
    if name == "totals ready":
        return f"{name}: {data['total']:,.2f}"
    return name

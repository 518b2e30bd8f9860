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
from zlib import crc32

from ..terminal import Terminal
from .stage import CHILD, FORKER, WORKERS, Stage
from .verdict import judge
from .worker import INTERVAL, TINY, Report

ROWS = 400
UPDATES = 6
BURST = 40
TINY_EVENTS = 40
SHOWN = 40  # events of the burst
PAUSE = 0.25  # seconds, so that one can follow on a terminal
FOUR = list(range(1, WORKERS + 1))
COLOURS = ["", "cyan", "yellow", "green", "magenta", "blue"]


def main() -> int:
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
        rows = [(row, 100 + row / 100) for row in range(ROWS)]
        connection.executemany("INSERT INTO rows VALUES (?, ?, 1)", rows)
        connection.commit()


class Play:
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

    # -- the acts ----------------------------------------------------------------------------------

    def act_start(self) -> None:
        stage = self.stage
        self.terminal.line(f"stdevents demo: {WORKERS} processes cache the rows of one SQLite file")
        self.title(1, "Four workers open one bus, by its name; each has a cache of its own")
        stage.start()
        ready = stage.hear("ready", FOUR)
        self.evidence.since = dict.fromkeys(FOUR, 1)
        filled = stage.ask(FOUR, "fill")
        for worker in FOUR:
            rows = f"{filled[worker]['rows']} of {ROWS} rows in its cache, reads all the time"
            self.say(worker, f"pid {ready[worker]['pid']}, {rows}")
        self.note(f"the bus is {stage.bus}; each worker polls it every {INTERVAL * 1000:.0f} ms")

    def act_update(self) -> None:
        self.title(2, "A worker changes a row and posts an event; all drop that row from the cache")
        self.note("drop: it was in the cache; -: it was not; the number: ms after the post")
        self.lanes_head()
        for index in range(UPDATES):
            self.update(FOUR[index % WORKERS], index + 1)

    def act_order(self) -> None:
        stage = self.stage
        self.title(3, f"All post {BURST} events at the same time; all handle them in one order")
        self.note("one digit an event: the worker that posted it; then the count, a checksum")
        for worker in FOUR:
            stage.tell(worker, "burst", BURST, time.monotonic() + 0.05)
        burst = set(stage.await_everywhere("burst", "tick", BURST * WORKERS))
        for worker in FOUR:
            order = [name for name in self.evidence.seen[worker] if name in burst]
            posters = [stage.posted[name]["by"] for name in order]
            shown = "".join(self.terminal.paint(str(by), COLOURS[by]) for by in posters[:SHOWN])
            self.say(worker, f"{shown}...  {len(order)}, {crc32(''.join(order).encode()):08x}")

    def act_unique(self) -> None:
        stage = self.stage
        self.title(4, "All notice that totals expired, and post it with a unique key; one runs it")
        self.note("run: it adds the totals up and posts them; ignored: another worker ran it")
        self.lanes_head()
        for worker in FOUR:
            stage.tell(worker, "expire")
        ready = stage.await_everywhere("totals", "ready")
        stage.ask(FOUR, "stats")  # by then it is decided for all four
        expired = [name for name, by in stage.posted.items() if by["event"] == "expired"]
        for name in sorted([*expired, *ready], key=lambda name: stage.posted[name]["id"]):
            self.lanes(name)

    def act_local(self) -> None:
        self.title(5, "A local event stays in its process; what comes with it may be any object")
        self.evidence.local_of = FOUR[1]
        self.stage.tell(FOUR[1], "local")
        self.stage.listen(lambda: bool(self.evidence.local), "local")
        self.stage.ask(FOUR, "stats")
        for worker, same in self.evidence.local:
            which = "that function" if same else "another one"
            self.say(worker, f"posts a function along with it; its handler gets {which}")

    def act_fork(self) -> None:
        stage = self.stage
        self.title(6, f"Worker {FORKER} forks; its child is a worker too, cache and handlers kept")
        stage.ask([FORKER], "fork", CHILD)
        ready = stage.hear("ready", [CHILD])
        self.evidence.child = CHILD
        self.say(CHILD, f"pid {ready[CHILD]['pid']}, child of worker {FORKER}")
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
            stage.ask([worker], "open_tiny", stage.tiny)
        posted = stage.ask([poster], "post_tiny", TINY_EVENTS)
        ids = evidence.tiny_posted = posted[poster]["ids"]
        self.say(poster, f"posts {len(ids)} events, {ids[0]} to {ids[-1]}")
        seen = stage.ask([slow], "poll_tiny")[slow]
        evidence.tiny_seen, evidence.tiny_lost = seen["seen"], seen["lost"]
        for event, data in evidence.tiny_seen:
            if event == "lost":
                told = f"{data['count']} are lost, {data['first']} to {data['last']}"
                self.say(slow, f"polls late: {self.terminal.paint(told, 'red')}")
        got = [ids[data] for event, data in evidence.tiny_seen if event != "lost"]
        self.say(slow, f"handles the other {len(got)}, {got[0]} to {got[-1]}")

    def act_end(self, began: float) -> int:
        stage, line, paint = self.stage, self.terminal.line, self.terminal.paint
        self.evidence.counts = stage.ask([*FOUR, CHILD], "stats")
        stage.end()
        findings = judge(self.evidence)
        line()
        for what, found, held in findings:
            word = paint("ok    ", "green") if held else paint("FAILED", "red")
            line(f"{word} {what:<25} {found}")
        line()
        held = all(finding.held for finding in findings)
        verdict = "all held" if held else "something did not hold"
        line(paint(f"{verdict}, in {time.monotonic() - began:.1f} s", "green" if held else "red"))
        return 0 if held else 1

    # -- how it looks ------------------------------------------------------------------------------

    def title(self, number: int, text: str) -> None:
        self.pause()
        self.terminal.line()
        self.terminal.line(self.terminal.paint(f"{number}  {text}", "bold"))

    def note(self, text: str) -> None:
        self.terminal.line(self.terminal.paint(f"   {text}", "dim"))

    def say(self, worker: int, text: str) -> None:
        who = self.terminal.paint(f"worker {worker}", COLOURS[worker])
        self.terminal.line(f"   {who}  {text}")

    def pause(self) -> None:
        if self.terminal.is_live:
            time.sleep(PAUSE)

    def update(self, worker: int, count: int) -> None:
        """Have a row updated, and show where the event arrives."""
        self.stage.tell(worker, "update", random.randrange(ROWS))
        changed = self.stage.await_everywhere("row", "changed", count)
        self.lanes(changed[-1])
        self.pause()

    def lanes_head(self) -> None:
        workers = "".join(f" worker {worker}" for worker in self.evidence.since)
        self.note(f"  id by {'event':22}{workers}")

    def lanes(self, name: str) -> None:
        """One event: which worker posted it, and how long after that it was handled where."""
        posted = self.stage.posted[name]
        handled = self.stage.handled.get(name, {})
        by, data = posted["by"], posted["data"]
        what = f"{posted['source']} {posted['event']} {data.get('row', data.get('total', ''))}"
        cells = " ".join(self.cell(posted, handled.get(worker)) for worker in self.evidence.since)
        self.terminal.line(
            f"   {posted['id']:>4} {self.terminal.paint(f'{by:>2}', COLOURS[by])} {what:22} {cells}"
        )

    def cell(self, posted: Report, handled: Report | None) -> str:
        if handled is None:
            return self.terminal.paint(" ignored", "dim")
        what = "run" if posted["unique"] else handled["effect"]
        return f"{what:<4}{(handled['at'] - posted['began']) * 1000:4.0f}"

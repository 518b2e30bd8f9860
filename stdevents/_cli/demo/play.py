"""The demo, act by act: four workers, a SQLite file, and what a bus does for their caches."""

from __future__ import annotations

import json
import os
import random
import signal
import sys
import tempfile
import time
from typing import Any
from zlib import crc32

from ..terminal import Terminal
from .stage import CHILD, FORKER, FOUR, Stage
from .verdict import judge
from .worker import INTERVAL, ROWS, TINY, sql

UPDATES = 6
BURST = 40  # events of one worker; of those of all as many are shown
PAUSE = 0.25  # seconds, so that one can follow on a terminal
COLOURS = ["", "cyan", "yellow", "green", "magenta", "blue"]


def main() -> int:
    for number in (signal.SIGTERM, signal.SIGHUP):
        # By way of all `finally`.
        signal.signal(number, lambda number, frame: sys.exit(128 + number))
    with tempfile.TemporaryDirectory(prefix="stdevents-demo-") as folder:
        database = os.path.join(folder, "rows.db")
        sql(database, "CREATE TABLE rows (id INTEGER PRIMARY KEY, price REAL, version INTEGER)")
        numbers = f"VALUES (0) UNION ALL SELECT id + 1 FROM numbers WHERE id < {ROWS - 1}"
        fill = "INSERT INTO rows SELECT id, 100 + id / 100.0, 1 FROM numbers"
        sql(database, f"WITH RECURSIVE numbers (id) AS ({numbers}) {fill}")
        stage = Stage(database)
        try:
            return Play(Terminal(sys.stdout), stage).play()
        finally:
            stage.end()


class Play:
    def __init__(self, terminal: Terminal, stage: Stage) -> None:
        self.terminal = terminal
        self.stage = stage
        self.evidence = stage.evidence

    def play(self) -> int:
        began = time.monotonic()
        self.start()
        self.change_rows()
        self.keep_order()
        self.run_once()
        self.stay_local()
        self.fork()
        self.lose()
        return self.judge(began)

    def start(self) -> None:
        stage = self.stage
        self.terminal.line("stdevents demo: 4 processes cache the rows of one SQLite file")
        self.title(1, "Four workers open one bus, by its name; each has a cache of its own")
        stage.start()
        self.evidence.since = dict.fromkeys(FOUR, 1)
        for worker, (pid, rows) in stage.ask(FOUR, "fill").items():
            self.say(worker, f"pid {pid}, {rows} of {ROWS} rows in its cache, reads all the time")
        often = f"at least every {INTERVAL * 1000:.0f} ms"
        self.note(f"the bus is {stage.bus}; each worker polls it {often}")

    def change_rows(self) -> None:
        self.title(2, "A worker changes a row and posts an event; all drop that row from the cache")
        self.note("drop: it was in the cache; -: it was not; the number: ms after the post")
        self.lanes_head()
        for index in range(UPDATES):
            self.lanes(FOUR[index % len(FOUR)], "update", random.randrange(ROWS))

    def keep_order(self) -> None:
        stage, posted = self.stage, self.evidence.posted
        self.title(3, f"All post {BURST} events at the same time; all handle them in one order")
        self.note("one digit an event: the worker that posted it; then the count, a checksum")
        stage.ask(FOUR, "burst", BURST, time.monotonic() + 0.05)
        stage.gather()
        posters = {one.key: one.by for one in posted.values() if one.key.startswith('["burst"')}
        for worker in FOUR:
            order = [key for key in self.evidence.seen[worker] if key in posters]
            by = [posters[key] for key in order[:BURST]]
            digits = "".join(self.terminal.paint(str(one), COLOURS[one]) for one in by)
            self.say(worker, f"{digits}...  {len(order)}, {crc32(''.join(order).encode()):08x}")

    def run_once(self) -> None:
        self.title(4, "All notice that totals expired, and post it with a unique key; one runs it")
        self.note("run: it adds the totals up and posts them; ignored: another worker ran it")
        self.lanes_head()
        before = max(self.evidence.posted)
        self.stage.ask(FOUR, "post", "totals", "expired", {}, "totals")
        self.stage.gather()
        for number in sorted(number for number in self.evidence.posted if number > before):
            self.lane(number)

    def stay_local(self) -> None:
        self.title(5, "A local event stays in its process; what comes with it may be any object")
        self.evidence.local_of = FOUR[1]
        self.stage.ask([FOUR[1]], "post_local")
        self.stage.gather()
        for worker, same in self.evidence.local:
            which = "that function" if same else "another one"
            self.say(worker, f"posts a function along with it; its handler gets {which}")

    def fork(self) -> None:
        stage, evidence = self.stage, self.evidence
        self.title(6, f"Worker {FORKER} forks; its child is a worker too, cache and handlers kept")
        stage.ask([FORKER], "fork", CHILD)
        ((pid, _),) = stage.ask([CHILD], "fill").values()
        evidence.child = CHILD
        evidence.since[CHILD] = max(evidence.posted) + 1
        self.say(CHILD, f"pid {pid}, child of worker {FORKER}")
        self.lanes_head()
        self.lanes(CHILD, "post", "demo", "hello", {})
        self.lanes(CHILD, "update", random.randrange(ROWS))
        self.lanes(FOUR[0], "update", random.randrange(ROWS))

    def lose(self) -> None:
        stage, evidence = self.stage, self.evidence
        poster, slow = FOUR[0], FOUR[-1]
        self.title(7, f"A bus of {TINY} is too small for a slow worker, which is told what it lost")
        stage.ask([poster], "open_tiny", stage.tiny)
        stage.ask([slow], "open_tiny", stage.tiny)
        ids = evidence.tiny_posted = stage.ask([poster], "post_tiny", 2 * BURST)[poster]
        self.say(poster, f"posts {len(ids)} events, {ids[0]} to {ids[-1]}")
        evidence.tiny_seen, evidence.tiny_lost = stage.ask([slow], "poll_tiny")[slow]
        for event, data in evidence.tiny_seen:
            if event == "lost":
                told = f"{data['count']} are lost, {data['first']} to {data['last']}"
                self.say(slow, f"polls late: {self.terminal.paint(told, 'red')}")
        got = [ids[data] for event, data in evidence.tiny_seen if event != "lost"]
        self.say(slow, f"handles the other {len(got)}, {got[0]} to {got[-1]}")

    def judge(self, began: float) -> int:
        line, paint = self.terminal.line, self.terminal.paint
        self.stage.gather()
        self.stage.end()
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

    def lanes_head(self) -> None:
        workers = "".join(f" worker {worker}" for worker in self.evidence.since)
        self.note(f"  id by {'event':22}{workers}")

    def lanes(self, worker: int, command: str, *arguments: Any) -> None:
        """Have a worker post an event, and show where it arrives."""
        number = self.stage.ask([worker], command, *arguments)[worker]
        self.stage.gather()
        self.lane(number)
        self.pause()

    def lane(self, number: int) -> None:
        """One event: which worker posted it, and how long after that it was handled where."""
        posted = self.evidence.posted[number]
        handled = self.stage.handled.get(posted.key, {})
        source, event, data = json.loads(posted.key)
        what = f"{source} {event} {data.get('row', data.get('total', ''))}"
        cells = []
        for worker in self.evidence.since:
            if worker in handled:
                at, effect = handled[worker]
                effect = "run" if posted.unique else effect
                cells.append(f"{effect:<4}{(at - posted.began) * 1000:4.0f}")
            else:
                cells.append(self.terminal.paint(" ignored", "dim"))
        by = self.terminal.paint(str(posted.by), COLOURS[posted.by])
        self.terminal.line(f"   {number:>4}  {by} {what:22} {' '.join(cells)}")

"""A worker of the demo: rows of a database in a cache of its own, and events that keep it true.

It does what the demo tells it by a pipe, and tells by the same pipe what it has done and seen.
In between it reads rows, all the time, and counts those that are older than an event has said.
"""

from __future__ import annotations

import json
import os
import random
import signal
import sqlite3
import threading
import time
from contextlib import closing
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Dict, NamedTuple, Tuple

from ..._bus.bus import Bus

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    Pipe = Connection[Any, Any]

INTERVAL = 0.02  # seconds between two polls
TIMEOUT = 30.0  # seconds; far more than the four take to post theirs
READS = 20  # rows at a time
REST = 0.002  # seconds between two times
BURST_OVER = 0.15  # seconds
TINY = "4k"

Report = Dict[str, Any]
Row = Tuple[float, int]  # price, version


class Plan(NamedTuple):
    number: int
    bus: str
    database: str
    rows: int


def work(plan: Plan, pipe: Pipe, pipe_of_child: Pipe | None) -> None:
    # Held by the demo while it started us; Ctrl-C stays so.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGHUP])
    worker = Worker(plan, pipe, pipe_of_child)
    worker.bus.configure(plan.bus, interval=INTERVAL, timeout=TIMEOUT)
    worker.serve()


class Worker:
    """Its methods `do_...` are what the demo can tell it to do; they return what it is told."""

    def __init__(self, plan: Plan, pipe: Pipe, pipe_of_child: Pipe | None) -> None:
        self.plan = plan
        self.process = os.getpid()
        self.pipe = pipe
        self.pipe_of_child = pipe_of_child
        self.sending = threading.Lock()
        # Held while a row goes from database to cache: else an event could drop the row in
        # between, and what was read before the event be kept after it.
        self.caching = threading.Lock()
        self.cache: dict[int, Row] = {}
        self.told: dict[int, int] = {}  # the version of a row that an event has told of
        self.reads = self.stale = 0
        self.passed_on: object = None
        self.bus = Bus()
        self.bus.register(self.show)
        self.bus.register(self.drop, "row", "changed")
        self.bus.register(self.refresh, "totals", "expired")
        self.tiny = Bus()
        self.tiny_seen: list[Any] = []

    # -- the pipe ------------------------------------------------------------------------------

    def report(self, kind: str, **fields: Any) -> None:
        # Handlers run in the loop's thread. In a forked child they may run before it has got as
        # far as knowing that it is one.
        pipe = self.pipe if os.getpid() == self.process else self.pipe_of_child
        assert pipe is not None
        with self.sending:
            pipe.send({"kind": kind, "at": time.monotonic(), **fields})

    def serve(self) -> None:
        """Do what is told until it is enough, or until the demo is gone."""
        try:
            self.report("ready", pid=os.getpid())
            while True:
                while not self.pipe.poll(REST):
                    self.read_rows()
                command, *arguments = self.pipe.recv()
                if command == "end":
                    break
                answer = getattr(self, f"do_{command}")(*arguments)
                if answer is not None:
                    self.report(command, **answer)
        except (EOFError, OSError):
            pass
        finally:
            self.bus.close()
            self.tiny.close()

    # -- handlers ------------------------------------------------------------------------------

    def show(self, data: Any, event: str, source: str, pid: int | None) -> None:
        if source == "stdevents":
            return
        about: dict[str, Any] = {"source": source, "event": event, "pid": pid, "effect": ""}
        if pid is None:  # a local event, whose data is not for the pipe
            self.report("handled", **about, same=data is self.passed_on)
            return
        if source == "row":
            about["effect"] = "drop" if data["row"] in self.cache else "-"
        self.report("handled", **about, data=data)

    def drop(self, data: Any, event: str, source: str, pid: int | None) -> None:
        with self.caching:
            self.cache.pop(data["row"], None)
            self.told[data["row"]] = data["version"]

    def refresh(self, data: Any, event: str, source: str, pid: int | None) -> None:
        """What is costly, and need be done by one only."""
        with closing(sqlite3.connect(self.plan.database)) as database:
            (total,) = database.execute("SELECT round(sum(price), 2) FROM rows").fetchone()
        self.post("totals", "ready", {"total": total})

    # -- rows ----------------------------------------------------------------------------------

    def read_rows(self) -> None:
        changed = list(self.told)  # where a stale one would be; half of the reads are of these
        for index in range(READS):
            some = index % 2 and changed
            row = random.choice(changed) if some else random.randrange(self.plan.rows)
            at_least = self.told.get(row, 0)
            self.stale += self.row(row)[1] < at_least
            self.reads += 1

    def row(self, row: int) -> Row:
        """A row, from the cache if it is there. This is what the events keep true."""
        found = self.cache.get(row)
        if found is None:
            with self.caching, closing(sqlite3.connect(self.plan.database)) as database:
                query = "SELECT price, version FROM rows WHERE id = ?"
                found = self.cache[row] = database.execute(query, (row,)).fetchone()
        return found

    # -- what it can be told -------------------------------------------------------------------

    def post(self, source: str, event: str, data: Any, unique: str | None = None) -> None:
        about = {"source": source, "event": event, "data": data, "unique": unique is not None}
        began = time.monotonic()
        number = self.bus.post(source, event, data, unique=unique)
        self.report("posted", **about, id=number, began=began)

    def do_fill(self) -> Report:
        while len(self.cache) < self.plan.rows // 2:
            self.row(random.randrange(self.plan.rows))
        return {"rows": len(self.cache)}

    def do_update(self, row: int) -> None:
        with closing(sqlite3.connect(self.plan.database)) as database:
            change = "UPDATE rows SET price = price + 1, version = version + 1 WHERE id = ?"
            database.execute(change, (row,))
            query = "SELECT version FROM rows WHERE id = ?"
            (version,) = database.execute(query, (row,)).fetchone()
            database.commit()
        self.post("row", "changed", {"row": row, "version": version})

    def do_burst(self, count: int, begin: float) -> None:
        time.sleep(max(0.0, begin - time.monotonic()))
        for index in range(count):
            self.post("burst", "tick", {"by": self.plan.number, "n": index})
            time.sleep(random.random() * 2 * BURST_OVER / count)

    def do_expire(self) -> None:
        self.post("totals", "expired", {"noticed_by": self.plan.number}, unique="totals")

    def do_local(self) -> None:
        self.passed_on = lambda: "no JSON has this"
        self.bus.post_local("demo", "local", self.passed_on)

    def do_hello(self) -> None:
        self.post("demo", "hello", {"from": self.plan.number})

    def do_fork(self, number: int) -> Report:
        assert self.pipe_of_child is not None
        child = os.fork()
        if child:
            self.pipe_of_child.close()
            return {"child": child}
        status = 1
        try:
            self.plan = self.plan._replace(number=number)
            self.pipe, self.process = self.pipe_of_child, os.getpid()
            self.reads = self.stale = 0
            self.serve()
            status = 0
        finally:
            os._exit(status)

    def do_await_child(self, child: int) -> Report:
        return {"status": os.waitpid(child, 0)[1]}

    def do_stats(self) -> Report:
        """The counts, when all that is published now has been handled."""
        self.bus.poll()
        return {"reads": self.reads, "stale": self.stale, **asdict(self.bus.stats())}

    # -- the tiny bus, on which one worker is too slow ------------------------------------------

    def do_open_tiny(self, name: str) -> Report:
        self.tiny.configure(name, size=TINY, interval=0)
        self.tiny.poll()
        self.tiny.register(self.see_tiny)
        return {}

    def see_tiny(self, data: Any, event: str, source: str, pid: int | None) -> None:
        self.tiny_seen.append([event, data])

    def do_post_tiny(self, count: int) -> Report:
        return {"ids": [self.tiny.post("tiny", "tick", index) for index in range(count)]}

    def do_poll_tiny(self) -> Report:
        self.tiny.poll()
        return {"seen": self.tiny_seen, "lost": self.tiny.stats().lost}


def key(source: str, event: str, data: Any) -> str:
    """What tells one event of the demo from all others: no two have the same data."""
    return json.dumps([source, event, data], sort_keys=True)

"""A worker of the demo: rows of a database in a cache of its own, and events that keep it true.

It does what the demo tells it by a pipe, and tells when asked what it has posted and handled.
In between it reads rows, all the time, and counts those that are older than an event has said.
"""

from __future__ import annotations

import json
import logging
import os
import random
import signal
import sqlite3
import sys
import threading
import time
from collections import deque
from contextlib import closing
from multiprocessing import get_context
from typing import TYPE_CHECKING, Any

from ..._bus.bus import Bus
from ..._names import PACKAGE
from .verdict import Posted

if TYPE_CHECKING:
    from multiprocessing.connection import Connection
    from multiprocessing.process import BaseProcess

    Pipe = Connection[Any, Any]

ROWS = 400
INTERVAL = 0.02  # seconds between two polls
TIMEOUT = 30.0  # seconds; far more than the four take to post theirs
READS = 10  # rows at a time, of those that were changed and of all
REST = 0.002  # seconds between two times
BURST_OVER = 0.15  # seconds
TINY = "1k"


def work(number: int, bus: str, database: str, pipe: Pipe, pipe_of_child: Pipe) -> None:
    # Held by the demo while it started us; Ctrl-C stays so.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM, signal.SIGHUP])
    worker = Worker(number, database, pipe, pipe_of_child)
    worker.bus.configure(bus, interval=INTERVAL, timeout=TIMEOUT)
    worker.serve()
    if worker.child is not None:
        worker.child.join()
        sys.exit(worker.child.exitcode)


def key(source: str, event: str, data: Any) -> str:
    """What tells one event of the demo from all others: no two have the same data."""
    return json.dumps([source, event, data], sort_keys=True)


def sql(database: str, statement: str, *values: object) -> Any:
    """Run it, and return the first row of its result; None if it has none."""
    with closing(sqlite3.connect(database)) as connection, connection:
        return connection.execute(statement, values).fetchone()


class Worker:
    """Its methods `do_...` are what the demo can tell it to do; what they return is its answer."""

    def __init__(self, number: int, database: str, pipe: Pipe, pipe_of_child: Pipe) -> None:
        self.number = number
        self.database = database
        self.pipe = pipe
        self.pipe_of_child = pipe_of_child
        self.child: BaseProcess | None = None
        self.reports: deque[tuple[Any, ...]] = deque()  # for the demo, when it asks
        # Held while a row goes from database to cache: else an event could drop the row in
        # between, and what was read before the event be kept after it.
        self.caching = threading.Lock()
        self.cache: dict[int, tuple[float, int]] = {}  # price, version
        self.told: dict[int, int] = {}  # the version of a row that an event has told of
        self.reads = self.stale = 0
        self.passed_on: object = None
        self.bus = Bus()
        self.bus.register(self.show)
        self.bus.register(self.drop, "row", "changed")
        self.bus.register(self.refresh, "totals", "expired")
        self.tiny = Bus()
        self.tiny_seen: list[Any] = []

    def serve(self) -> None:
        """Do what is told, until the other end of the pipe is closed."""
        try:
            while True:
                while not self.pipe.poll(REST):
                    self.read_rows()
                command, *arguments = self.pipe.recv()
                self.pipe.send(getattr(self, f"do_{command}")(*arguments))
        except (EOFError, OSError):
            pass
        finally:
            self.bus.close()
            self.tiny.close()

    def show(self, data: Any, event: str, source: str, pid: int | None) -> None:
        if source == "demo" and pid is None:  # a local event, whose data is not for the pipe
            self.reports.append(("local", data is self.passed_on))
        elif source != "stdevents":
            effect = "" if source != "row" else "drop" if data["row"] in self.cache else "-"
            what = key(source, event, data)
            self.reports.append(("handled", what, time.monotonic(), effect))

    def drop(self, data: Any, event: str, source: str, pid: int | None) -> None:
        with self.caching:
            self.cache.pop(data["row"], None)
            self.told[data["row"]] = data["version"]

    def refresh(self, data: Any, event: str, source: str, pid: int | None) -> None:
        """What is costly, and need be done by one only."""
        (total,) = sql(self.database, "SELECT round(sum(price), 2) FROM rows")
        self.do_post("totals", "ready", {"total": total})

    def read_rows(self) -> None:
        changed = list(self.told) or [0]  # where a stale one would be
        for row in random.choices(changed, k=READS) + random.choices(range(ROWS), k=READS):
            at_least = self.told.get(row, 0)
            self.stale += self.row(row)[1] < at_least
            self.reads += 1

    def row(self, row: int) -> tuple[float, int]:
        """A row, from the cache if it is there. This is what the events keep true."""
        found = self.cache.get(row)
        if found is None:
            with self.caching:
                query = "SELECT price, version FROM rows WHERE id = ?"
                found = self.cache[row] = sql(self.database, query, row)
        return found

    def do_fill(self) -> tuple[int, int]:
        while len(self.cache) < ROWS // 2:
            self.row(random.randrange(ROWS))
        return os.getpid(), len(self.cache)

    def do_post(self, source: str, event: str, data: Any, unique: str | None = None) -> int:
        data, began = {"by": self.number, **data}, time.monotonic()
        number = self.bus.post(source, event, data, unique=unique)
        posted = Posted(key(source, event, data), unique is not None, self.number, began)
        self.reports.append(("posted", number, posted))
        return number

    def do_update(self, row: int) -> int:
        change = "UPDATE rows SET price = price + 1, version = version + 1 WHERE id = ?"
        sql(self.database, change, row)
        (version,) = sql(self.database, "SELECT version FROM rows WHERE id = ?", row)
        return self.do_post("row", "changed", {"row": row, "version": version})

    def do_burst(self, count: int, begin: float) -> None:
        time.sleep(max(0.0, begin - time.monotonic()))
        for index in range(count):
            self.do_post("burst", "tick", {"n": index})
            time.sleep(random.random() * 2 * BURST_OVER / count)

    def do_post_local(self) -> None:
        self.passed_on = lambda: "no JSON has this"
        self.bus.post_local("demo", "local", self.passed_on)

    def do_fork(self, number: int) -> None:
        self.child = get_context("fork").Process(target=self.serve_as, args=(number,))
        self.child.start()
        self.pipe_of_child.close()

    def serve_as(self, number: int) -> None:
        self.number, self.pipe = number, self.pipe_of_child
        self.reads = self.stale = 0
        self.serve()

    def do_report(self) -> tuple[dict[str, int], list[tuple[Any, ...]]]:
        """The counts, and what is new, when all that is published now has been handled."""
        while self.bus.stats().lag:
            self.read_rows()
        self.bus.poll()
        counts = {"reads": self.reads, "stale": self.stale, **self.bus.stats()._asdict()}
        return counts, [self.reports.popleft() for _ in range(len(self.reports))]

    def do_open_tiny(self, name: str) -> None:
        # The demo tells by itself of what is lost.
        logging.getLogger(PACKAGE).addHandler(logging.NullHandler())
        self.tiny.configure(name, size=TINY, interval=0)
        self.tiny.poll()
        self.tiny.register(lambda data, event, source, pid: self.tiny_seen.append([event, data]))

    def do_post_tiny(self, count: int) -> list[int]:
        return [self.tiny.post("tiny", "tick", index) for index in range(count)]

    def do_poll_tiny(self) -> tuple[list[Any], int]:
        self.tiny.poll()
        return self.tiny_seen, self.tiny.stats().lost

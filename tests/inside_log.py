"""The log by itself: a table on real memory and a real lock file, with workers of no process.

As `inside`, it says what is private in the package as a test of the log wants it.
"""

from __future__ import annotations

import json
import mmap
import os

from stdevents import _log
from stdevents._bus import callbacks, codec, handlers, notjson
from stdevents._bus.delivery import Delivery
from stdevents._bus.progress import Progress
from stdevents._system import fence
from stdevents._system.filelock import FileLock
from stdevents._system.files import OpenFile
from stdevents._system.process import Mark
from stdevents._table import append, claim, header, layout, read, room, workers
from stdevents._table.layout import LAST, Layout
from stdevents._table.table import Table

__all__ = (
    "Delivery",
    "Ground",
    "Killed",
    "Progress",
    "append",
    "callbacks",
    "claim",
    "codec",
    "fence",
    "handlers",
    "header",
    "layout",
    "notjson",
    "read",
    "room",
    "workers",
)

PID = os.getpid()
report, debugging = _log.report, _log.debugging


class Bounds:
    """For how long the lock is waited for."""

    wait_max = 0.5
    wait_interval = 0.01


class Ground:
    """One bus: its memory, from which any number of tables can be made."""

    def __init__(self, folder, size=4096, overflow="drop"):
        self.path = os.path.join(folder, "lock")
        self.layout = Layout(size)
        self.overflow = overflow
        self.pages = mmap.mmap(-1, self.layout.total)
        self.memory = memoryview(self.pages)
        self.words = self.memory[: self.layout.ring_at].cast("Q")
        self.rung = 0
        self.alive = set()
        self.bounds = Bounds()
        header.create(self.words, self.layout, 4711, overflow, 1)

    def table(self):
        """As another process would have it: a file of its own, and nothing remembered."""
        file = OpenFile(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
        lock = FileLock("test", file, Mark(), self.bounds)
        return Table(
            "test",
            self.memory,
            self.layout,
            lock,
            self.ring,
            self.alive.__contains__,
            self.overflow == "wait",
        )

    def ring(self):
        self.rung += 1

    def join(self, slot, pid=PID, role=0):
        """A live worker in a slot; its serial."""
        serial = workers.next_serial(self.words)
        workers.begin(self.words, slot, pid, serial, 1, role, self.words[LAST])
        self.alive.add(slot)
        return serial


class Killed(BaseException):
    """Whoever gets it does nothing more, as after SIGKILL."""


def write(table, records, companion=None):
    """Append under the lock, and without ringing."""
    return table.lock.hold(table._write, records, companion)


def before_release(table, action):
    """Do something after P4 of each append, before the lock is released."""
    own = table._write

    def write_and_act(*arguments):
        own(*arguments)
        action()

    table._write = write_and_act


def cannot_ring(table, action):
    """Have it fail to take the lock again for ringing."""
    table._ring_for_sleepers = action


def is_append(code):
    """Is it code of P1 to P4?"""
    return code.co_filename == append.__file__


def is_read(code):
    """Is it code of R1 to R5?"""
    return code.co_filename == read.__file__


def texts_of(table, run=None):
    """The records after a run, as they were posted; what is lost between them as (first, last)."""
    run = run or table.run_at(0)
    found = []
    while run.through != table.last:
        run = table.read(run)
        found += [(first, last) for first, last, _ in run.losses]
        if run.text:
            records = json.loads(run.text)
            assert len(records) == run.through - run.before
            found += [b"%b," % json.dumps(one, separators=(",", ":")).encode() for one in records]
    return found

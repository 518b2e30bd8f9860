"""The log by itself: a table on real memory and a real lock file, with workers of no process.

As `inside`, it says what is private in the package as a test of the log wants it.
"""

from __future__ import annotations

import json
import mmap
import os
from collections import deque

from stdevents import LockTimeout, _log
from stdevents._bus import callbacks, codec, handlers, notjson
from stdevents._bus.delivery import Delivery
from stdevents._bus.progress import Progress
from stdevents._system import fence, process
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
    "process",
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


class FlatLock:
    """A lock between tables of one thread, for tests that take it 100,000 times: no file."""

    taken = False

    def __init__(self):
        self.deferred = deque()

    def hold(self, work, *arguments):
        if self.taken:
            raise LockTimeout("taken")
        self.taken = True
        try:
            return work(*arguments)
        finally:
            self.taken = False


class Ground:
    """One bus: its memory, from which any number of tables can be made."""

    def __init__(self, folder, size=4096, overflow="drop", lock=None):
        self.path = os.path.join(folder, "lock")
        self.lock = lock
        self.files = []
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
        lock = self.lock
        if lock is None:
            file = OpenFile(os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600))
            self.files.append(file)
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

    def __del__(self):
        for file in self.files:
            file.close()

    def ring(self):
        self.rung += 1

    def first_place(self, key):
        """The first of the places in which a key may stand, as a bus without any claims has it."""
        ground = Ground(os.path.dirname(self.path), self.layout.size)
        ground.words[layout.HEADER_EPOCH] = self.words[layout.HEADER_EPOCH]
        table = ground.table()
        event = table.append((b"[1],",))
        table.claim(event, key, 1000, 1)
        at = self.layout.claims_at
        return next(
            place
            for place in range(self.layout.claims)
            if ground.words[at + place * layout.CLAIM_WORDS + layout.CLAIM_EVENT]
        )

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


def prefixes_kept():
    """For how many pairs of names the text before the data is kept."""
    return len(codec._prefixes)


def look_through(delivery, words):
    """Have a delivery read its words through these."""
    delivery._words = words


def before_release(table, action):
    """Do something after P4 of each append, before the lock is released."""
    own = table._write

    def write_and_act(*arguments):
        own(*arguments)
        action()

    table._write = write_and_act


def after_ringing(table, action):
    """Do something right after the release of the lock under which it has rung."""
    hold = table.lock.hold

    def hold_and_act(work, *arguments):
        result = hold(work, *arguments)
        if work == table._ring_for_sleepers:
            action()
        return result

    table.lock.hold = hold_and_act


def cannot_ring(table, action):
    """Have it fail to take the lock again for ringing."""
    table._ring_for_sleepers = action


def without_checksums(monkeypatch):
    """Have all texts seem to be right."""
    for module in append, read:
        monkeypatch.setattr(module, "crc32", lambda text, begun=0: 0)


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

"""A table on real shared memory and a real lock file, with workers that need no process."""

from __future__ import annotations

import contextlib
import mmap
import os

from stdevents._system.filelock import FileLock
from stdevents._system.files import OpenFile
from stdevents._system.process import Mark
from stdevents._table import header, workers
from stdevents._table.layout import LAST, Layout
from stdevents._table.table import Table

PID = os.getpid()


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


@contextlib.contextmanager
def unlocked_by_the_kernel():
    """As a death frees the lock; what else it would have done is not done."""
    with contextlib.suppress(Killed):
        yield

"""The file lock of a bus: `flock`, and before it a lock between the threads of this process.

What it withstands, and how:

- another process, and a second copy of this package in one process: `flock` belongs to the
  open file, so each of them has its own. (`lockf` would be dropped by closing any other
  descriptor of the file, and does not exclude the second copy.)
- another thread of this process: a `Turn` stands before the file.
- the same thread once more, in a signal handler or finaliser that interrupted it: `mine()`.
- a fork: the child's copy of the descriptor is the same open file, and with it the same lock.
  The child closes it, never unlocks it, and makes a `Lock` of its own.
- death of its holder: the kernel closes the file, which frees it.
- its file closed under it, and the number given to another file: that one is never locked. The
  lock is stranded; its bus opens the files again.

Not: a network file system, a thread that is killed while its process lives on.
"""

from __future__ import annotations

import contextlib
import errno
import os
import threading
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from os import SEEK_CUR, lseek

from .._errors import LockTimeout, SegmentError
from .threadlock import Turn

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .._bus.settings import Settings
    from .files import Descriptor

YIELDS = 8
EXCLUSIVE_NOW = LOCK_EX | LOCK_NB


class Stranded(SegmentError):
    """The files of this process were closed or replaced, or the bus was made again."""


class Lock(Turn):
    """Exclusive between processes and threads; waits at most `settings.wait_max` seconds."""

    def __init__(self, name: str, file: Descriptor, settings: Settings) -> None:
        super().__init__()
        self._name = name
        self._descriptor = file.number
        self._mark = file.mark
        self._settings = settings
        self.held = False
        self.stranded = False
        self._waiting_here: set[int] = set()  # threads of this process

    def acquire(self) -> None:
        """Take the lock, or raise LockTimeout. Call it inside the `try` of a `release`."""
        me = threading.get_ident()
        # As `try_take`.
        if self.owner.setdefault("thread", me) != me or not self._lock_file():
            try:
                self._waiting_here.add(me)
                self._wait()
            finally:
                self._waiting_here.discard(me)

    def release(self) -> None:
        """Release what the calling thread holds of the lock; nothing if it holds nothing.

        The file goes first: another thread of this process that came in between would lock the
        same open file, and lose it to the unlocking.
        """
        # As `mine` and `give`.
        if self.owner.get("thread") == threading.get_ident():
            self.held = False
            try:
                flock(self._descriptor, LOCK_UN)
            except OSError:  # most likely it was closed, which has unlocked it
                if not self._unlocks_at_last():
                    self.strand()
                    return
            self.owner.pop("thread", None)  # another thread that closes may have forgotten it
            if self._waiting_here:
                # Else they starve: `flock` releases the interpreter's lock, and a thread that only
                # posts does so only while it holds this one.
                time.sleep(0)

    def _unlocks_at_last(self) -> bool:
        # No error: it would say that what was done under the lock was not done.
        try:
            flock(self._descriptor, LOCK_UN)
        except OSError:
            return False
        return True

    def release_for_good(self) -> None:
        """Release it before its file is closed: threads that still want it get a ValueError.

        As long as the calling thread owns it, no other one is in a call with its number.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if self.mine() and descriptor >= 0:
            with contextlib.suppress(OSError):  # closed under us
                flock(descriptor, LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Never touch the file again: it is being closed, and its number will be another file's."""
        self.held = False
        self.owner = {}
        self._descriptor = -1

    def is_forgotten(self) -> bool:
        """Will this process not touch the file any more?"""
        return self._descriptor < 0

    def strand(self) -> None:
        """Every thread that wants it, now or later, gets Stranded; not while one has it."""
        self.stranded = True
        self.forget()

    def _lock_file(self) -> bool:
        try:
            if lseek(self._descriptor, 0, SEEK_CUR) != self._mark:
                raise OSError(errno.EBADF, "its number is another file's")
            flock(self._descriptor, EXCLUSIVE_NOW)
        except BlockingIOError:
            return False
        except (OSError, ValueError) as error:
            raise self._failure(error) from error
        self.held = True
        return True

    def _failure(self, error: OSError | ValueError) -> Exception:
        """The error to raise; the next thread that waits gets it, too."""
        if self._descriptor < 0:
            self.give()
        elif isinstance(error, OSError) and error.errno in (errno.EBADF, errno.ESPIPE):
            self.strand()
        else:
            return SegmentError(
                getattr(error, "errno", None), f"bus {self._name!r}: cannot lock: {error}"
            )
        if not self.stranded:
            return ValueError(f"bus {self._name!r}: its lock was released for good")
        return Stranded(
            errno.EBADF,
            f"bus {self._name!r}: its files were closed by another part of this program; "
            "open the bus after that, or leave its files open",
        )

    def _wait(self) -> None:
        """Try again, first after mere yields, then in growing pauses.

        The pauses stay far below `wait_interval`: a lock that is always busy is free for only some
        microseconds at a time, and a thread that tries only a few times would starve.
        """
        wait_max, longest = self._settings.wait_max, self._settings.wait_interval / 10
        deadline = time.monotonic() + wait_max
        pause = longest / 32
        for _ in range(YIELDS):
            time.sleep(0)
            if self.try_take() and self._lock_file():
                return
        while time.monotonic() < deadline:
            time.sleep(pause)
            if self.try_take() and self._lock_file():
                return
            pause = min(2 * pause, longest)
        raise LockTimeout(
            f"bus {self._name!r}: its lock could not be taken within wait_max={wait_max} s; "
            f"{_holder(self._descriptor)}, or raise wait_max"
        )


def _holder(descriptor: int) -> str:
    """Which process holds the lock, as Linux tells, and what to do about it."""
    process = "a worker"
    try:
        status = os.fstat(descriptor)
        device = f"{os.major(status.st_dev):02x}:{os.minor(status.st_dev):02x}"
        with open("/proc/locks") as locks:
            for line in locks:
                _, kind, _, _, number, file = line.split()[:6]
                if kind == "FLOCK" and file == f"{device}:{status.st_ino}":
                    process = f"process {number}"
    except (OSError, ValueError):
        pass
    if process == f"process {os.getpid()}":
        return "another thread of this process holds it: let it end its call"
    return (
        f"{process} holds it, and was most likely stopped (SIGSTOP, a debugger): let it continue "
        "or kill it"
    )

"""The file lock of a bus: `flock`, and before it a lock between the threads of this process.

What it withstands, and how:

- another process, and a second copy of this package in one process: `flock` belongs to the
  open file, so each of them has its own. (`lockf` would be dropped by closing any other
  descriptor of the file, and does not exclude the second copy.)
- another thread of this process, and the same one once more: a `ThreadLock` stands before the file.
- exceptions from outside, at any instant, several at once: `hold` unlocks in five nested handlers.
- a fork: the child's copy of the descriptor is the same open file, and with it the same lock. The
  mark says that this is another process, which takes nothing.
- death of its holder: the kernel closes the file, which frees it.
- its file closed under it, and the number given to another file: that one is never locked.

Not: a network file system, a thread that is killed while its process lives on.
"""

from __future__ import annotations

import errno
import os
import sys
import threading
import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from os import SEEK_CUR, lseek

from .._errors import LockTimeout, SegmentError
from .clock import monotonic
from .files import FilesClosed, OpenFile
from .threadlock import ENDED_EVERY, Inside, ThreadLock, is_running

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import Any, Callable, Protocol, TypeVar

    from .process import Mark

    T = TypeVar("T")

    class Bounds(Protocol):
        """How long to wait, in seconds; they may change while the lock is in use."""

        wait_max: float
        wait_interval: float


YIELDS = 8
LONGEST_PAUSE = 0.001  # seconds
EXCLUSIVE_NOW = LOCK_EX | LOCK_NB


class FileLock:
    """Exclusive between processes and threads, during `hold`; waits `bounds.wait_max` at most."""

    def __init__(self, name: str, file: OpenFile, mark: Mark, bounds: Bounds) -> None:
        self._name = name
        self._file = file
        self._mark = mark
        self._bounds = bounds
        self._threads = ThreadLock()
        self._waiting: set[int] = set()  # threads of this process, by ident
        self.owner = self._threads.owner
        #: what is to be done after the release, each by taking the lock anew
        self.deferred = self._threads.deferred

    def hold(self, work: Callable[..., T], *arguments: Any) -> T:
        """Call `work(*arguments)` under the lock, and after the release what was deferred.

        LockTimeout; Inside if the calling thread is under this lock already; LostGround if the
        file, or the process, is not the one that it was.
        """
        owner, file, me = self.owner, self._file, threading.get_ident()
        number, done = file.number, False
        if owner and self.is_inside(sys._getframe(1)):
            raise Inside(f"bus {self._name!r}: this call interrupted another one of its thread")
        if not self._mark.word[0]:
            self._mark.check()  # not below: it unlocks, and that would be the parent's lock
        # Nested, not a loop: an exception from outside that comes during a handler meets the next
        # one, while a loop has a gap between its rounds. Only C functions are called in them:
        # where the stack ends, a Python function could not be.
        try:
            try:
                try:
                    try:
                        try:
                            if owner.setdefault("thread", me) != me:
                                self._wait_for_thread(me)
                                number = file.number
                            try:
                                if lseek(number, 0, SEEK_CUR) != file.mark:
                                    raise OSError(errno.EBADF, "its number is another file's")
                                flock(number, EXCLUSIVE_NOW)
                            except BlockingIOError:
                                self._wait_for_file()
                            except (OSError, ValueError) as error:
                                number = -1
                                raise self._failure(error) from error
                            result = work(*arguments)
                            done = True
                            flock(number, LOCK_UN)
                            owner.clear()
                        except BaseException as error:
                            if owner.get("thread") == me:
                                try:
                                    flock(number, LOCK_UN)
                                except (OSError, ValueError):  # it was closed, which unlocks it
                                    pass
                                owner.clear()
                            # Of the unlocking: what was done is done; no caller may do it again.
                            if not (done and type(error) is OSError):
                                raise
                    except BaseException:
                        if owner.get("thread") == me:
                            flock(number, LOCK_UN)
                            owner.clear()
                        raise
                except BaseException:
                    if owner.get("thread") == me:
                        flock(number, LOCK_UN)
                        owner.clear()
                    raise
            except BaseException:
                if owner.get("thread") == me:
                    flock(number, LOCK_UN)
                    owner.clear()
                raise
        finally:
            if self._waiting or self.deferred:
                self._let_others(me)
        return result

    def is_inside(self, frame: FrameType | None = None) -> bool:
        """Is the calling thread in a `hold` or `hold_threads`, at or below `frame`?

        By default: anywhere. What is left over is released.
        """
        if not self.owner or self.owner.get("thread") != threading.get_ident():
            return False
        frame = frame or sys._getframe()
        if is_running(FileLock.hold.__code__, self, frame) or self._threads.is_held_by(frame):
            return True
        if self._mark.word[0] and self._file.is_ours():
            flock(self._file.number, LOCK_UN)
        self.owner.clear()
        return False

    def hold_threads(self, work: Callable[[], None]) -> None:
        """Call `work()` while no other thread of this process is in `hold`, or here.

        What closes files, and what uses one without the lock, does so in here: a number that
        another thread closes in between may be another file's right after. Busy if another thread
        has it for `wait_max` seconds.
        """
        if self.is_inside():
            work()
        else:
            self._threads.hold(monotonic() + self._bounds.wait_max, work)

    def abandon(self) -> None:
        """Forget its owner in a forked child, where a thread of the parent may own it for ever.

        A call that was forked in its middle finds that it owns nothing, and unlocks nothing.
        """
        self.owner.clear()
        self.deferred.clear()

    def _let_others(self, me: int) -> None:
        # Here: an exception may end the wait during a clean-up of its own.
        self._waiting.discard(me)
        if self._waiting:
            # Else they starve: `flock` releases the interpreter's lock, and a thread that only
            # posts does so only while it holds this one.
            time.sleep(0)
        self._threads.run_deferred()

    def _failure(self, error: OSError | ValueError) -> Exception:
        if isinstance(error, ValueError) or error.errno in (errno.EBADF, errno.ESPIPE):
            return FilesClosed(
                errno.EBADF,
                f"bus {self._name!r}: its files were closed by another part of this program; "
                "open the bus after that, or leave its files open",
            )
        return SegmentError(error.errno, f"bus {self._name!r}: cannot lock: {error}")

    def _wait_for_thread(self, me: int) -> None:
        deadline = monotonic() + self._bounds.wait_max
        pause, look = 0.0, min(deadline, monotonic() + ENDED_EVERY)
        while self.owner.setdefault("thread", me) != me:
            self._waiting.add(me)
            if monotonic() >= look:
                look = monotonic() + ENDED_EVERY
                if self._threads.free_from_ended_thread():
                    continue
            time.sleep(min(pause, self._left(deadline)))
            pause = min(2 * pause or LONGEST_PAUSE / 32, self._longest())

    def _wait_for_file(self) -> None:
        """Try again, first after mere yields, then in growing pauses.

        The pauses stay far below `wait_interval`: a lock that is always busy is free for only some
        microseconds at a time, and a thread that tries only a few times would starve.
        """
        deadline = monotonic() + self._bounds.wait_max
        file, tries, pause = self._file, 0, 0.0
        while True:
            left = self._left(deadline)
            if pause:
                time.sleep(min(pause, left))
            else:
                os.sched_yield()  # time.sleep(0) does sleep, from CPython 3.11 on
            try:
                if lseek(file.number, 0, SEEK_CUR) != file.mark:
                    raise OSError(errno.EBADF, "its number is another file's")
                return flock(file.number, EXCLUSIVE_NOW)
            except BlockingIOError:
                tries += 1
                if tries >= YIELDS:
                    pause = min(2 * pause or LONGEST_PAUSE / 32, self._longest())
            except (OSError, ValueError) as error:  # closed by other code, or by another thread
                self.owner.clear()  # else `hold` would unlock what has the number now
                raise self._failure(error) from error

    def _longest(self) -> float:
        return min(self._bounds.wait_interval / 10, LONGEST_PAUSE)

    def _left(self, deadline: float) -> float:
        """Seconds until the deadline; LockTimeout when it has come."""
        left = deadline - monotonic()
        if left <= 0:
            raise LockTimeout(
                f"bus {self._name!r}: its lock could not be taken within "
                f"wait_max={self._bounds.wait_max} s; {_holder(self._file.number)}, "
                "or raise wait_max"
            )
        return left


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

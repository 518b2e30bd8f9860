"""The file lock of a bus: `flock`, and before it a lock between the threads of this process.

What it has to stand, and how:

- another process, and a second copy of this package in one process: `flock` belongs to the
  open file, so each of them has its own. (`lockf` would be dropped by closing any other
  descriptor of the file, and does not exclude the second copy.)
- another thread of this process: a `Turn` stands before the file.
- the same thread once more, in a signal handler or finaliser that interrupted it: `mine()`.
- a fork: the child's copy of the descriptor is the same open file, and with it the same lock.
  The child closes it, never unlocks it, and makes a `Lock` of its own.
- death of its holder: the kernel closes the file, which frees it at once.

Not: a network file system, a thread that is killed while its process lives on.
"""

from __future__ import annotations

import time
from fcntl import LOCK_EX, LOCK_NB, LOCK_UN, flock
from threading import get_ident

from ._errors import LockTimeout, SegmentError
from ._settings import Settings
from ._turn import Turn

YIELDS = 8
EXCLUSIVE_NOW = LOCK_EX | LOCK_NB


class Lock(Turn):
    """Exclusive between processes and threads; waits at most `settings.wait_max` seconds."""

    def __init__(self, name: str, descriptor: int, settings: Settings) -> None:
        super().__init__()
        self._name = name
        self._descriptor = descriptor
        self._settings = settings
        self.held = False
        self._waiting_here: set[int] = set()  # threads of this process

    def acquire(self) -> None:
        """Take the lock, or raise LockTimeout. To be called inside the `try` of a `release`."""
        if not (self.try_take() and self._lock_file()):
            try:
                self._waiting_here.add(get_ident())
                self._wait()
            finally:
                self._waiting_here.discard(get_ident())

    def release(self) -> None:
        """Let go of what the calling thread holds of the lock; nothing if it holds nothing.

        The file goes first: an owner of the same process that came in between would lock the
        same open file, and lose it to the unlocking.
        """
        # As `mine` and `give`.
        if self._owner.get("thread") == get_ident():
            self.held = False
            flock(self._descriptor, LOCK_UN)
            self._owner.pop("thread", None)  # another thread that closes may have forgotten it
            if self._waiting_here:
                # Else they starve: the interpreter's lock is let go of by `flock`, and so only
                # ever while this one is taken, by a thread that does nothing but post.
                time.sleep(0)

    def release_for_good(self) -> None:
        """Release it before its file is closed: whoever still wants it gets a ValueError.

        As long as the calling thread owns it, no other one is amid a call with its number.
        """
        descriptor, self._descriptor = self._descriptor, -1
        if self.mine() and descriptor >= 0:
            flock(descriptor, LOCK_UN)
        self.forget()

    def forget(self) -> None:
        """Never touch the file again: it is being closed, and its number will be another file's."""
        self.held = False
        self._owner = {}
        self._descriptor = -1

    def _lock_file(self) -> bool:
        try:
            flock(self._descriptor, EXCLUSIVE_NOW)
        except BlockingIOError:
            return False
        except OSError as error:
            raise SegmentError(error.errno, f"bus {self._name!r}: cannot lock: {error}") from error
        except ValueError:  # released for good: the next one waiting is to find that out, too
            self.give()
            raise
        self.held = True
        return True

    def _wait(self) -> None:
        """Try again, at first at once, then in growing pauses.

        The pauses stay far below `wait_interval`: a lock that is always busy is free for some
        microseconds at a time, and who looks only a few times would starve.
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
            f"bus {self._name!r}: its lock was not to be had within wait_max={wait_max} s; "
            "most likely a worker was stopped (SIGSTOP, a debugger) while it held it: "
            "let that one go on or kill it, or raise wait_max"
        )

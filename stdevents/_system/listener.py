"""What a worker waits with: for the bell, or for a call from its own process.

Where there is no epoll (macOS, gevent's monkey patching), a `Sleeper` sleeps its whole time, and is
woken by its own process alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time

from .bell import FULL
from .clock import monotonic
from .files import NONE, OpenFile, above_standard_streams, inode, never_close
from .threadlock import Busy, Inside, ThreadLock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .bell import Bell

LONGEST_USE = 0.5  # seconds; a close that waits longer goes on
LONGEST_DEAF = 0.5  # seconds; by then who waits looks whether its files are open
LONGEST_WAIT = 1e6  # seconds: epoll takes an int of milliseconds


class Listener:
    """Hears the bell, and calls from its own process; OSError where there is no epoll."""

    _epoll: Any = None  # until there is one
    _inode = 0, 0

    def __init__(self, bell: Bell) -> None:
        # Not when imported: monkey patching takes it away later.
        if not hasattr(select, "epoll"):
            raise OSError("there is no epoll here")
        epoll: Any = select
        # Else one thread could close the files while another uses them, and their numbers be
        # other files'.
        self._using = ThreadLock()
        self._called = self._call = NONE
        with above_standard_streams():
            try:
                self._called, self._call = map(OpenFile, os.pipe())
                for end in (self._called, self._call):
                    os.set_blocking(end.number, False)
                self._epoll = epoll.epoll()
                self._inode = inode(os.fstat(self._epoll.fileno()))
                self._epoll.register(self._called.number, epoll.EPOLLIN)
                self.listen_to(bell)
            except BaseException:
                self.abandon()
                raise

    def listen_to(self, bell: Bell) -> None:
        """Listen to this bell; the one before is closed by now. OSError where this one is, too."""
        epoll: Any = select
        self._bell, number = bell, bell.file.number
        if number < 0:
            raise OSError(errno.EBADF, "the bell was closed by another thread")
        self._epoll.register(number, epoll.EPOLLIN | epoll.EPOLLET)

    def is_intact(self) -> bool:
        """Are the bell and its own files open, and still its own?"""
        return self._bell.file.is_ours() and self.has_its_files()

    def has_its_files(self) -> bool:
        """Are the files that it made itself open, and its own?"""
        return self._call.is_ours() and self._called.is_ours() and self._has_epoll()

    def _has_epoll(self) -> bool:
        # As far as that can be told: all epolls have one inode, which no other kind of file has.
        try:
            return inode(os.fstat(self._epoll.fileno())) == self._inode
        except (OSError, ValueError):
            return False

    def fileno(self) -> int:
        """A descriptor that is readable after a ring or a wake."""
        descriptor: int = self._epoll.fileno()
        return descriptor

    def wake(self) -> None:
        """End its wait, this one or the next."""
        self._use(self._wake)

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # woken already, or its other end was closed
            if self._call.is_ours():
                os.write(self._call.number, b"!")

    def wait(self, timeout: float) -> bool:
        """Wait for a ring or a wake, at most `timeout` seconds; did one come?"""
        try:
            heard = self._epoll.poll(min(timeout, LONGEST_WAIT), 2)  # of its two files
        except OSError:  # its file was closed, which who waits finds out by `is_intact`
            time.sleep(min(timeout, LONGEST_DEAF))
            return False
        except ValueError:  # it was closed here, by another thread, and hears nothing any more
            return False
        for number, _ in heard:
            if number == self._called.number:
                self._use(self._hear_call)
        return bool(heard)

    def _hear_call(self) -> None:
        with contextlib.suppress(OSError):
            if self._called.is_ours():
                os.read(self._called.number, FULL)

    def close(self) -> None:
        """Close its files, after another thread's use of them, if that ends soon."""
        try:
            self._using.hold(monotonic() + LONGEST_USE, self.abandon)
        except (Busy, Inside):
            self.abandon()

    def abandon(self) -> None:
        """Close its files in a forked child, where a thread of the parent may use them for ever."""
        if self._epoll is not None and self._call.number >= 0:  # else it was done before
            if self.has_its_files():
                self._epoll.close()
            else:
                never_close(self._epoll)  # its number may be another one's
        self._called.close()
        self._call.close()

    def _use(self, work: Callable[[], None]) -> None:
        # Inside: a signal handler interrupted a wake, which does it, or a close.
        with contextlib.suppress(Busy, Inside):
            self._using.hold(monotonic() + LONGEST_USE, work)


class Sleeper:
    """A listener that only its own process wakes."""

    def __init__(self) -> None:
        # Released by `wake`. Not a threading.Event: a signal handler that calls `wake` while its
        # own thread does would wait for itself.
        self._silence = threading.Lock()
        self._silence.acquire()

    def wake(self) -> None:
        """End its wait, this one or the next."""
        with contextlib.suppress(RuntimeError):  # woken already
            self._silence.release()

    def wait(self, timeout: float) -> bool:
        """Wait for a wake, at most `timeout` seconds; did one come?"""
        return self._silence.acquire(timeout=timeout)

    def close(self) -> None:
        """Nothing to close."""

    def is_intact(self) -> bool:
        """False where epoll exists: a Listener could not be made, and is tried again."""
        return not hasattr(select, "epoll")

    abandon = close

"""The bell: how a post wakes all sleeping workers.

It is a FIFO that all workers have open and none ever drains to empty. Each listener waits for it
with an edge-triggered epoll of its own, so that one byte wakes them all, and each of them once.
WAITING says that there are listeners:

    listener                        poster
    W1 WAITING := 1                 P4 LAST := last + 1
    W2 LAST is still my position?   W4 WAITING is 1? WAITING := 0, write one byte
    W3 wait

A wake-up that is lost costs an `interval`, never an event. Where there is no epoll (macOS,
gevent's monkey patching), a loop sleeps its `interval` and is woken by its own process alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time

from .files import NONE, Descriptor, leak

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Iterator

FULL = 1 << 16  # bytes, the usual capacity of a FIFO
LONGEST_USE = 0.5  # seconds; a close that waits longer goes on


@contextlib.contextmanager
def _held_if_possible(lock: threading.RLock) -> Iterator[None]:
    """Hold the lock of a file that is being closed; not for ever, or there is a deadlock.

    A signal handler may have interrupted its owner, and wait for the thread that closes.
    """
    taken = lock.acquire(timeout=LONGEST_USE)
    try:
        yield
    finally:
        if taken:
            lock.release()


class Bell:
    """One process's open file of the FIFO."""

    def __init__(self, file: Descriptor = NONE) -> None:
        self.file = file
        # Else another thread could close it during a ring, and its number be another file's.
        self._closing = threading.RLock()

    def ring(self) -> None:
        """Wake all listeners, in all processes."""
        with self._closing:
            try:
                if self.file.is_ours():
                    os.write(self.file.number, b"!")
            except BlockingIOError:
                self._ring_full()
            except OSError:  # a lost wake-up costs no event
                pass

    def _ring_full(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self.file.number, FULL - 1)
            os.write(self.file.number, b"!")

    def close(self) -> None:
        with _held_if_possible(self._closing):
            self.abandon()

    def abandon(self) -> None:
        """The same in a forked child, where a lock of the parent's threads is never released."""
        self.file.close()
        self._closing = threading.RLock()


class Listener:
    """Hears the bell, and calls from its own process; OSError where there is no epoll."""

    def __init__(self, bell: Bell) -> None:
        # Not when imported: monkey patching takes it away later.
        if not hasattr(select, "epoll"):
            raise OSError("there is no epoll here")
        epoll: Any = select
        self._closing = threading.RLock()
        self._is_sound = True
        self._epoll = epoll.epoll()
        self._called = self._call = NONE
        try:
            self._called, self._call = map(Descriptor, os.pipe())
            for end in (self._called, self._call):
                os.set_blocking(end.number, False)
            self._epoll.register(self._called.number, epoll.EPOLLIN)
            self.listen_to(bell)
        except BaseException:
            self.close()
            raise

    def listen_to(self, bell: Bell) -> None:
        """Listen to this bell; the one before is closed by now."""
        epoll: Any = select
        self._bell = bell
        number = bell.file.number
        if number < 0:  # another thread is just joining the bus again
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._epoll.register(number, epoll.EPOLLIN | epoll.EPOLLET)

    def is_intact(self) -> bool:
        """Are the bell and its own files still open, as far as it has noticed?"""
        return self._is_sound and self._bell.file.number >= 0

    def fileno(self) -> int:
        """A descriptor that is readable after a ring or a wake."""
        descriptor: int = self._epoll.fileno()
        return descriptor

    def wake(self) -> None:
        """End its wait, this one or the next."""
        with self._closing:
            try:
                if self._call.is_ours():
                    os.write(self._call.number, b"!")
                    return
            except BlockingIOError:  # woken already
                return
            except OSError:  # its other end was closed
                pass
            self._is_sound = False

    def wait(self, timeout: float) -> None:
        """Wait for a ring or a wake, at most `timeout` seconds."""
        try:
            # epoll takes an int of milliseconds, hence the bound; 2 is the number of its files.
            heard = self._epoll.poll(min(timeout, 1e6), 2)
        except OSError:  # its file was closed: as where there is no epoll
            time.sleep(timeout)
            return
        for descriptor, _ in heard:
            if descriptor == self._called.number:
                self._hear_call()

    def _hear_call(self) -> None:
        with self._closing, contextlib.suppress(OSError):
            if self._called.is_ours():
                os.read(self._called.number, FULL)
                return
            self._is_sound = False

    def close(self) -> None:
        with _held_if_possible(self._closing):
            self.abandon()

    def abandon(self) -> None:
        """The same in a forked child, where a lock of the parent's threads is never released."""
        if self._call.number >= 0 and not self._call.is_ours():
            leak(self._epoll)  # whether an epoll's number is still its own cannot be checked
        else:
            self._epoll.close()
        self._called.close()
        self._call.close()
        self._closing = threading.RLock()


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

    def wait(self, timeout: float) -> None:
        """Wait for a wake, at most `timeout` seconds."""
        self._silence.acquire(timeout=timeout)

    def close(self) -> None:
        """Nothing to close."""

    def is_intact(self) -> bool:
        """False where epoll exists: a Listener could not be made, and is tried again."""
        return not hasattr(select, "epoll")

    abandon = close

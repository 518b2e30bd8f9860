"""The bell: how a post cuts the sleep of all workers short.

It is a FIFO that everybody has open and nobody ever drains to empty. Each listener waits for it
with an edge-triggered epoll of its own, so that one byte wakes them all, and each of them once.
WAITING says that somebody listens:

    listener                        poster
    W1 WAITING := 1                 P4 LAST := last + 1
    W2 LAST is still my position?   W4 WAITING is 1? WAITING := 0, write one byte
    W3 wait

A wake-up that is lost all the same costs an `interval`, never an event. Where there is no epoll
(macOS, gevent's monkey patching), a loop sleeps its `interval` and hears its own process alone.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import threading
import time

from ._descriptor import NONE, Descriptor, forsake

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

FULL = 1 << 16  # bytes; what a FIFO holds, unless somebody has enlarged it


class Bell:
    """One process's open file of the FIFO."""

    def __init__(self, file: Descriptor = NONE) -> None:
        self.file = file
        # Another thread may close it amid the ringing, and its number be another file's.
        self._closing = threading.RLock()

    def ring(self) -> None:
        """Wake all that listen, in all processes."""
        with self._closing:
            try:
                if self.file.is_ours():
                    os.write(self.file.number, b"!")
            except BlockingIOError:
                self._ring_full()
            except OSError:  # of no use, and a lost wake-up costs no event
                pass

    def _ring_full(self) -> None:
        with contextlib.suppress(OSError):
            os.read(self.file.number, FULL - 1)
            os.write(self.file.number, b"!")

    def close(self) -> None:
        """Close the file of this process."""
        with self._closing:
            self.abandon()

    def abandon(self) -> None:
        """The same in a forked child, where no other thread is; one of the parent's may have
        been ringing."""
        self.file.close()
        self._closing = threading.RLock()  # of the old one that thread is the owner for ever


class Listener:
    """Hears the bell, and calls from its own process; OSError where there is no epoll."""

    def __init__(self, bell: Bell) -> None:
        # Asked for now, not when imported: monkey patching takes it away.
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
            self.attend(bell)
        except BaseException:
            self.close()
            raise

    def attend(self, bell: Bell) -> None:
        """Hear this bell; one that was heard before is closed by now."""
        epoll: Any = select
        self._bell = bell
        number = bell.file.number
        if number < 0:  # its bus is just being joined anew, by another thread
            raise OSError(errno.EBADF, os.strerror(errno.EBADF))
        self._epoll.register(number, epoll.EPOLLIN | epoll.EPOLLET)

    def is_intact(self) -> bool:
        """Was its bell not closed, and none of its own files found to be somebody else's?"""
        return self._is_sound and self._bell.file.number >= 0

    def fileno(self) -> int:
        """A descriptor that is readable while there is something to hear."""
        descriptor: int = self._epoll.fileno()
        return descriptor

    def wake(self) -> None:
        """Be heard by this listener, now or when it next waits."""
        with self._closing:
            try:
                if self._call.is_ours():
                    os.write(self._call.number, b"!")
                    return
            except BlockingIOError:  # called already
                return
            except OSError:  # its other end was closed
                pass
            self._is_sound = False

    def wait(self, timeout: float) -> None:
        """Wait until there is something to hear, at most `timeout` seconds; hears all there is."""
        try:
            # epoll takes an int of milliseconds; and room for as many answers as it has files.
            heard = self._epoll.poll(min(timeout, 1e6), 2)
        except OSError:  # somebody has closed its file: as where there is no epoll
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
        """Close its files; twice is fine."""
        with self._closing:
            self.abandon()

    def abandon(self) -> None:
        """The same in a forked child; one of the parent's threads may have been waking it."""
        if self._call.number >= 0 and not self._call.is_ours():
            forsake(self._epoll)  # of an epoll's own number nobody can tell
        else:
            self._epoll.close()
        self._called.close()
        self._call.close()
        self._closing = threading.RLock()  # of the old one that thread is the owner for ever


class Sleeper:
    """A listener that hears its own process alone."""

    def __init__(self) -> None:
        # Free while it is called. No threading.Event: a signal handler that calls it while its
        # own thread does would wait for itself.
        self._silence = threading.Lock()
        self._silence.acquire()

    def wake(self) -> None:
        """Be heard by this one, now or when it next waits."""
        with contextlib.suppress(RuntimeError):  # called already
            self._silence.release()

    def wait(self, timeout: float) -> None:
        """Wait until it is called, at most `timeout` seconds."""
        self._silence.acquire(timeout=timeout)

    def close(self) -> None:
        """Nothing to close."""

    def is_intact(self) -> bool:
        """Not where a listener should be, which could not be had: it is to be tried again."""
        return not hasattr(select, "epoll")

    abandon = close

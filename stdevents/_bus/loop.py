"""The sleep loop of a bus in a process: which thread polls, from one fork to the next.

The process forks without that thread: before a fork it is asked to end, and afterwards parent and
child each start one of their own. So no thread is copied in the middle of something, unless it is
in a handler that takes long, and Python does not warn about a fork with threads because of us.
"""

from __future__ import annotations

import contextlib

from .._errors import StdeventsError
from .loopthread import LoopThread

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from .loopthread import Poller

PAUSE_AFTER_FORK = 0.1  # seconds: by then a child that only execs has done so, and all hooks ran


@contextlib.contextmanager
def refusing(interval: float) -> Iterator[None]:
    """StdeventsError for what `threading` raises where no thread can be."""
    try:
        yield
    except RecursionError:  # a RuntimeError, too, but no fault of the place
        raise
    except RuntimeError as error:
        what = f"interval={interval}: no loop can run here ({error})"
        raise StdeventsError(f"{what}; configure(interval=0), and poll by hand") from error


class Loop:
    """The loop of a bus: a thread while there is an interval, and no fork going on."""

    def __init__(self, poller: Poller) -> None:
        self.name = ""  # of the bus
        self.interval = 0.0  # seconds
        self._poller = poller
        self._forks: list[None] = []  # one for each that is going on
        #: the thread that polls
        self.current: LoopThread | None = None
        #: the current one; those told to end, perhaps still in a handler; one about to be current
        self._threads: set[LoopThread] = set()

    def runs(self) -> bool:
        """Is there a thread that polls?"""
        current = self.current  # once: another thread may end it between two looks
        return current is not None and current.goes_on()

    def start(self, pause: float = 0.0) -> None:
        """Start the thread if there is to be one; it first waits `pause` seconds.

        One that runs looks around: something may be another one now, as the bell is. RuntimeError
        where no thread can be started; it may be tried again.
        """
        current = self.current
        if current is not None:
            current.look_around()
        if not self.interval or self._forks or self.runs():
            return
        listener = self._poller.listen()
        if listener is None:  # the bus is being closed, or opened
            return
        started = LoopThread(self, self._poller, listener, pause)
        # Another thread, or a signal handler, may do the same meanwhile, or end it: of all that
        # are started the current one goes on, and whoever comes last finds all the others.
        self._threads.add(started)
        self.current = started
        try:
            started.start()
        except BaseException:
            if self.current is started:
                self.current = None
            started.cancel()
            self.has_ended(started)
            raise
        if not self.interval or self._forks:
            self.stop(0)
        for thread in self._threads.copy():
            if thread is not self.current:
                thread.end(0)

    def stop(self, wait: float) -> None:
        """End the thread, waiting at most so many seconds for the handler that it is in."""
        current, self.current = self.current, None
        # A copy is one step, unlike a tuple of it: threads leave by themselves.
        for thread in self._threads.copy():
            thread.end(wait if thread is current else 0)

    def end(self, wait: float) -> None:
        """End the thread, and start none until there is an interval again."""
        self.interval = 0.0
        self.stop(wait)

    def park(self, wait: float) -> None:
        """End the thread for the time of a fork; not if one of its own handlers forks."""
        self._forks.append(None)
        current = self.current
        if current is not None and not current.is_this_thread():
            self.stop(wait)

    def unpark(self) -> None:
        """Start again after a fork, unless another fork is going on."""
        with contextlib.suppress(IndexError):  # the hook before the fork was interrupted
            self._forks.pop()
        self.start()

    def forked(self) -> None:
        """Forget the threads in a forked child, where they do not exist."""
        self.current = None
        for thread in self._threads:
            thread.forget()
        self._threads = set()
        self._forks = []

    def has_ended(self, thread: LoopThread) -> None:
        """For a thread, at its end."""
        if not thread.ended:  # by exceptions from outside: nobody told it to
            self._poller.start_again()
        self._threads.discard(thread)

    def wake(self) -> None:
        """Have it poll now, or once more if it polls just now."""
        current = self.current
        if current is not None:
            current.listener.wake()

    def wake_if_asleep(self) -> None:
        """Have it poll now if it sleeps; else it finds what is new by itself."""
        current = self.current
        if current is not None and current.asleep:
            current.listener.wake()

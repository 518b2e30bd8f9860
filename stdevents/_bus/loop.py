"""The sleep loop of a bus in a process.

A loop is a thread that polls, sleeps `interval` seconds, and polls again. The process forks
without it: before a fork its thread ends, and afterwards parent and child each start one of their
own. So no thread is copied in the middle of something, and Python does not warn about a fork with
threads because of us.
"""

from __future__ import annotations

import os
import threading
import time

from .._errors import StdeventsError
from .._log import logger
from .._system.bell import Listener, Sleeper

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

# Seconds between two wake-ups at least: waking costs many times the handling of one event of a
# burst.
AT_MOST_EVERY = 0.0005


class Loop:
    def __init__(
        self,
        poll: Callable[[], object],
        listen: Callable[[], Listener | Sleeper | None],
        may_sleep: Callable[[], bool],
    ) -> None:
        self.poll = poll
        self.listen = listen
        self.may_sleep = may_sleep
        self.name = ""  # of the bus
        self.interval = 0.0  # seconds
        self._round: _Round | None = None
        self.ending: set[_Round] = set()  # told to end, perhaps still in a handler
        self.forked()

    def forked(self) -> None:
        """Start again in a forked child, where the thread does not exist."""
        # Not a plain lock: a signal handler may fork, or close the bus, during any of this.
        self._changing = threading.RLock()
        self._parked = 0
        if self._round is not None:
            self.ending.add(self._round)
        for copied in self.ending:
            copied.over = True  # for a child that was forked by its handler
            copied.listener.abandon()
        self.ending = set()
        self._round = None

    def start(self) -> None:
        """Start the thread, if there is an interval to sleep and no fork going on."""
        with self._changing:
            if self.interval and not self._parked and self._round is None:
                listener = self.listen()
                if listener is None:  # the bus is being closed, or opened
                    return
                # Only kept once it runs: where no thread can be started, this may be tried again.
                started = _Round(self, listener)
                try:
                    started.thread.start()
                except BaseException:
                    started.over = True
                    listener.close()
                    raise
                nested, self._round = self._round, started
                if nested is not None:  # a signal handler has closed and opened the bus
                    self.ending.add(nested)
                    nested.end(0)
                if not self.interval:  # a signal handler has closed the bus
                    self.stop(0)

    def stop(self, wait: float) -> None:
        """End the thread, waiting at most so many seconds for the handler that it is in."""
        with self._changing:
            ending, self._round = self._round, None
            if ending is not None:
                self.ending.add(ending)
        if ending is not None:
            ending.end(wait)

    def park(self, wait: float) -> None:
        """End the thread for the time of a fork; not if one of its own handlers forks."""
        with self._changing:
            self._parked += 1
            mine = self._round is not None and self._round.thread is threading.current_thread()
        if not mine:
            self.stop(wait)

    def resume(self) -> None:
        """Start again after a fork, unless another fork is going on."""
        with self._changing:
            self._parked = max(0, self._parked - 1)
        self.start()

    def wake(self) -> None:
        current = self._round
        if current is not None:
            current.listener.wake()

    def wake_if_asleep(self) -> None:
        """The same if it is asleep; else it will find what is new by itself."""
        current = self._round
        if current is not None and current.asleep:
            current.listener.wake()


class _Round:
    """One life of the loop's thread."""

    def __init__(self, loop: Loop, listener: Listener | Sleeper) -> None:
        self.loop = loop
        self.over = False
        self.asleep = False
        self.listener = listener
        self.thread = threading.Thread(target=self._run, name=f"stdevents {loop.name}", daemon=True)

    def end(self, wait: float) -> None:
        """End it, and wait for that `wait` seconds at most; not in its own thread."""
        self.over = True
        self.listener.wake()
        if self.thread is threading.current_thread():
            return
        self.thread.join(wait)
        if not self.thread.is_alive():
            _await_end_of_task(self.thread, wait)

    def _run(self) -> None:
        """Poll and sleep until it is over; no failure ends it."""
        try:
            while not self.over:
                may_sleep = self._poll_once()
                if not self.listener.is_intact():
                    self._listen_again()
                if may_sleep and not self.over:
                    self._sleep()
                self.asleep = False
        finally:
            self.listener.close()
            self.loop.ending.discard(self)

    def _sleep(self) -> None:
        fell_asleep = time.monotonic()
        self.listener.wait(self.loop.interval)
        too_soon = fell_asleep + AT_MOST_EVERY - time.monotonic()
        if too_soon > 0:
            time.sleep(too_soon)

    def _listen_again(self) -> None:
        """The bell is another one now, or our files were closed."""
        old = self.listener
        self.listener = self.loop.listen() or Sleeper()
        old.close()

    def _poll_once(self) -> bool:
        """Poll once; may it sleep now?"""
        try:
            self.loop.poll()
            self.asleep = True  # before the last look, so that a wake from now on is not missed
            return self.loop.may_sleep()
        except StdeventsError as error:
            if not self.over:  # else the bus was closed while this waited for it
                what = "bus %r: %s; next try in %s s"
                logger().error(what, self.loop.name, error, self.loop.interval)
        except BaseException as error:
            logger().exception("bus %r: the loop goes on after", self.loop.name)
            # A handler's CancelledError, say, has ended the poll: the events after it are due.
            return isinstance(error, Exception)
        return True


def _await_end_of_task(thread: threading.Thread, wait: float) -> None:
    """Wait until the kernel has removed the thread: before 3.13, join returns a little earlier.

    A fork in between would count the thread, and warn.
    """
    if thread.native_id == threading.get_native_id():
        return  # a greenlet
    task = f"/proc/self/task/{thread.native_id}"
    deadline = time.monotonic() + wait
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0)

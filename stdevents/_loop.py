"""The sleep loop of a process, and what happens to it at a fork and at the exit.

A loop is a thread that polls, sleeps `interval` seconds, and polls again. The process forks
without it: before a fork its thread is ended, and afterwards parent and child each start one of
their own. So no thread is copied in the middle of something, and nobody is warned of threads in
a process that forks on our account.
"""

from __future__ import annotations

import atexit
import contextlib
import logging
import os
import threading
import time
from multiprocessing import util
from typing import Callable, Protocol

from ._errors import StdeventsError

logger = logging.getLogger(__package__)

LAST_TO_EXIT = -100  # of the exit handlers of a multiprocessing child


class Loop:
    """The sleep loop of one bus in this process."""

    def __init__(self, poll: Callable[[], object]) -> None:
        self._poll = poll
        self.name = ""  # of the bus
        self.interval = 0.0  # seconds
        self.forked()

    def forked(self) -> None:
        """Start anew in a forked child, where the thread does not exist."""
        self._changing = threading.Lock()
        self._parked = 0
        self._round: _Round | None = None

    def start(self) -> None:
        """Start the thread, if there is an interval to sleep and no fork going on."""
        with self._changing:
            if self.interval and not self._parked and self._round is None:
                # Only kept once it runs: where no thread can be started, this may be tried again.
                started = _Round(self)
                started.thread.start()
                self._round = started

    def stop(self, wait: float) -> None:
        """End the thread, waiting at most so many seconds for the handler that it is in."""
        with self._changing:
            ending, self._round = self._round, None
        if ending is not None:
            ending.end(wait)

    def park(self, wait: float) -> None:
        """End the thread for the time of a fork; a fork by one of its own handlers lets it be."""
        with self._changing:
            self._parked += 1
            mine = self._round is not None and self._round.thread is threading.current_thread()
        if not mine:
            self.stop(wait)

    def resume(self) -> None:
        """Start again after a fork, when no other fork is going on."""
        with self._changing:
            self._parked = max(0, self._parked - 1)
        self.start()

    def wake(self) -> None:
        """Cut the sleep short."""
        current = self._round
        if current is not None:
            current.news.set()

    def run(self, this: _Round) -> None:
        """Poll and sleep until `this` is over; no failure ends it."""
        while not this.over:
            this.news.clear()
            try:
                self._poll()
            except StdeventsError as error:
                logger.error("bus %r: %s; next try in %s s", self.name, error, self.interval)
            except (Exception, SystemExit):
                logger.exception("bus %r: the loop goes on after", self.name)
            if not this.over:
                this.news.wait(self.interval)


class _Round:
    """One life of the loop's thread."""

    def __init__(self, loop: Loop) -> None:
        self.over = False
        self.news = threading.Event()
        self.thread = threading.Thread(
            target=loop.run, args=(self,), name=f"stdevents {loop.name}", daemon=True
        )

    def end(self, wait: float) -> None:
        self.over = True
        self.news.set()
        if self.thread is threading.current_thread():
            return
        self.thread.join(wait)
        if not self.thread.is_alive():
            _await_end_of_task(self.thread, wait)


def _await_end_of_task(thread: threading.Thread, wait: float) -> None:
    """Wait until the kernel has forgotten the thread: before 3.13, join returns a little earlier.

    A fork in between would count it, and warn.
    """
    if thread.native_id == threading.get_native_id():
        return  # a greenlet
    task = f"/proc/self/task/{thread.native_id}"
    deadline = time.monotonic() + wait
    while os.path.exists(task) and time.monotonic() < deadline:
        time.sleep(0)


# -- fork and exit ---------------------------------------------------------------------------------


class Participant(Protocol):
    """What has to know of forks and of the exit."""

    def before_fork(self) -> None: ...

    def after_fork_in_parent(self) -> None: ...

    def after_fork_in_child(self) -> None: ...

    def close(self) -> None: ...


_participants: list[Participant] = []
_exit_is_watched = False


def enter(participant: Participant) -> None:
    """Tell `participant` of forks and of the exit from now on."""
    _participants.append(participant)
    _watch_exit()


def withdraw(participant: Participant) -> None:
    """Tell it no more."""
    with contextlib.suppress(ValueError):
        _participants.remove(participant)


def _watch_exit() -> None:
    global _exit_is_watched
    if _exit_is_watched:
        return
    _exit_is_watched = True
    atexit.register(_close_all)
    # A child of multiprocessing ends without atexit before 3.13, and begins by forgetting the
    # finalizers that it inherited.
    util.register_after_fork(_close_all, _finalize)
    _finalize(_close_all)


def _finalize(_: object) -> None:
    util.Finalize(None, _close_all, exitpriority=LAST_TO_EXIT)


def _close_all() -> None:
    for participant in list(_participants):
        try:
            participant.close()
        except Exception:
            logger.exception("closing a bus at the exit failed")


def _before_fork() -> None:
    for participant in list(_participants):
        participant.before_fork()


def _after_fork_in_parent() -> None:
    for participant in list(_participants):
        participant.after_fork_in_parent()


def _after_fork_in_child() -> None:
    for participant in list(_participants):
        participant.after_fork_in_child()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)

"""One thread of a loop: it polls, sleeps until there is something new, and polls again."""

from __future__ import annotations

import os
import threading
import time

from .._errors import NotConfigured, StdeventsError
from .._log import report
from .._system import living
from .._system.clock import monotonic
from .._system.listener import Sleeper
from .._system.signals import Signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Protocol

    from .._system.listener import Listener
    from .loop import Loop

    class Poller(Protocol):
        """What a loop does, and for how long it is waited for."""

        burst_pause: float  # seconds between two polls of a burst; 0: there is no such thing

        def poll_in_loop(self, signals: Signals | None) -> bool:
            """Handle what is new; was there anything?"""

        def look_in_loop(self) -> None:
            """Look, now and then, whether what is polled is still there."""

        def listen(self) -> Listener | Sleeper | None: ...

        def may_sleep(self) -> bool: ...

        def is_busy(self) -> bool: ...

        def start_again(self) -> None: ...

        def leave(self) -> None: ...


# Seconds. News sooner than that after falling asleep are a burst, which is handled by the clock, in
# long runs: to be woken, and to wake, costs many times the handling of an event.
AT_MOST_EVERY = 0.0005
LOOK_EVERY = 0.5  # seconds after a look before which no turn of a loop, and no call, looks again
LONGEST_END = 0.5  # seconds for which a thread is waited for that is in no handler


class LoopThread:
    """One life of the loop's thread."""

    def __init__(
        self, loop: Loop, poller: Poller, listener: Listener | Sleeper, pause: float
    ) -> None:
        self.listener = listener
        self.asleep = False
        self._loop = loop
        self._poller = poller
        self._pause = pause
        self._next_look = 0.0  # on the clock; 0: in this turn
        #: was it told to end?
        self.ended = False
        self._has_left = False
        self._in_burst = False
        self._signals: Signals | None = None
        self._joining = threading.RLock()  # a signal handler may end it during that
        self._thread = threading.Thread(
            target=self._run, name=f"stdevents {loop.name}", daemon=True
        )
        living.of_loops.add(self._thread)

    def start(self) -> None:
        """Start it with all signals blocked, from its first instant on."""
        signals = Signals()  # kept: the thread, where it is a greenlet, lets go of them in here
        self._starter, self._signals = threading.get_native_id(), signals
        try:
            signals.block()
            self._thread.start()
        finally:
            signals.unblock()

    def look_around(self) -> None:
        """Have it look now whether all is still as it was, or once more if it does so just now."""
        self._next_look = 0.0
        self.listener.wake()

    def goes_on(self) -> bool:
        """Has it been started, and does it poll still?"""
        return self._thread.is_alive() and not self._has_left

    def is_this_thread(self) -> bool:
        """Is it the calling one?"""
        return self._thread is threading.current_thread()

    def end(self, wait: float) -> None:
        """End it, and wait for that; `wait` seconds at most if it is busy, as in a handler."""
        self.ended = True
        self.listener.wake()
        if self.is_this_thread():
            return
        # Before 3.13, two threads that join one at once disturb each other.
        if self._joining.acquire(timeout=wait):
            try:
                self._join(wait)
            finally:
                self._joining.release()

    def _join(self, wait: float) -> None:
        begun = monotonic()
        while self._thread.is_alive():
            waited = monotonic() - begun
            if waited >= (wait if self._poller.is_busy() else max(wait, LONGEST_END)):
                return
            self._thread.join(min(0.001 + waited, max(wait - waited, 0.001)))
        self._await_end_of_task(max(wait, LONGEST_END))

    def cancel(self) -> None:
        """Undo a start that failed, or was interrupted."""
        if self._thread.is_alive():
            self.end(0)
        else:
            self.forget()

    def forget(self) -> None:
        """Close the files of a copy in a forked child, or of one that could not be started."""
        self.ended = True  # for a child that was forked by its handler
        self.listener.abandon()

    def _run(self) -> None:
        """Poll and sleep until it is told to end; no failure ends it."""
        try:
            self._poll_until_told()
            self.ended = True
        except BaseException as error:  # it came between two polls: another thread goes on
            self._tell(error)
        finally:
            # Twice: another exception from outside may come during that.
            try:
                self._leave()
            finally:
                self._leave()

    def _poll_until_told(self) -> None:
        if threading.get_native_id() == self._starter:  # a greenlet: the signals are its thread's
            self._signals = None
        if self._pause:
            self.listener.wait(self._pause)
        while not self.ended and self._loop.current is self:
            try:
                self._turn()
            except BaseException as error:
                self._next_look = 0.0  # it may have cut off a look
                self._tell(error)
            self.asleep = False

    def _tell(self, error: BaseException) -> None:
        report("bus %r: the loop goes on after", self._loop.name, failure=error)

    def _leave(self) -> None:
        self._has_left = True
        try:
            self.listener.close()
        finally:
            self._loop.has_ended(self)

    def _turn(self) -> None:
        """Poll, and sleep until there is something new. What is rarely needed is in `_look`."""
        try:
            found = self._poller.poll_in_loop(self._signals)
        except StdeventsError as error:
            found = False
            self._tell_refusal(error)
            if not self.ended:
                self.listener.wait(self._loop.interval)
        self._in_burst = self._in_burst and found
        now = monotonic()
        # Who has not looked sleeps no longer than until it is to look.
        longest = self._next_look - now
        if longest <= 0 and not self.ended:
            longest = self._look(now)
        if self._in_burst:
            time.sleep(self._poller.burst_pause)  # meanwhile no post has to ring for it
        elif not self.ended:
            self._sleep(longest)

    def _sleep(self, longest: float) -> None:
        self.asleep = True  # before the last look, so that a wake from now on is not missed
        fell_asleep = monotonic()
        # A wake of `look_around` may have gone to the listener before this one.
        if self._next_look and self._poller.may_sleep():
            self.listener.wait(longest)  # W3
        too_soon = fell_asleep + self._poller.burst_pause - monotonic()
        if too_soon > 0:
            self._in_burst = True
            time.sleep(too_soon)

    def _look(self, now: float) -> float:
        """Look whether all is still as it was; for how many seconds it may sleep then."""
        # Half an interval: a sleep may end a little early. Before all else: what changes from here
        # on is looked at again.
        self._next_look = now + min(LOOK_EVERY, self._loop.interval / 2)
        if self._signals is not None and living.is_over():
            self._poller.leave()
            return 0.0
        try:
            self._poller.look_in_loop()
        except StdeventsError as error:
            self._tell_refusal(error)
        if not self.listener.is_intact():
            self._listen_again()
        return living.until_next_look(self._loop.interval)

    def _listen_again(self) -> None:
        """The bell is another one now, or our files were closed."""
        old = self.listener
        self.listener = self._poller.listen() or Sleeper()
        old.close()

    def _tell_refusal(self, error: StdeventsError) -> None:
        if not (self.ended or isinstance(error, NotConfigured)):  # else the bus is being closed
            what = "bus %r: %s; next try in %s s"
            report(what, self._loop.name, error, self._loop.interval)

    def _await_end_of_task(self, wait: float) -> None:
        """Wait until the kernel has removed it: before 3.13, join returns a little earlier.

        A fork in between would count the thread, and warn.
        """
        if self._thread.native_id == threading.get_native_id():
            return  # a greenlet
        task = f"/proc/self/task/{self._thread.native_id}"
        deadline = monotonic() + wait
        while os.path.exists(task) and monotonic() < deadline:
            time.sleep(0)

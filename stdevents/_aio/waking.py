"""When the event loop of an `AsyncBus` polls: on news, by the clock in a burst, at intervals."""

from __future__ import annotations

import asyncio
import contextvars

from .._bus.loopthread import AT_MOST_EVERY
from .._errors import NotConfigured, StdeventsError
from .._log import report
from .._system.clock import monotonic

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .._bus.bus import Bus


ONE_CLOCK = 60.0  # seconds that the event loop's clock may differ from ours


class Waking:
    """The polls of a bus on one event loop, for each that is attached to it from `begin` to `end`.

    One for all of them: an event loop calls one function for a descriptor, and a second one would
    replace it, and take it away at its end.

    A single event is handled at once. News sooner than AT_MOST_EVERY after the last poll are a
    burst: the descriptor is left alone, and a timer polls for as long as there is something each
    time. So a burst is handled in long runs, and wakes the event loop about a thousand times a
    second: most event loops have timers of one millisecond.
    """

    def __init__(
        self,
        bus: Bus,
        loop: asyncio.AbstractEventLoop,
        has_news: Callable[[], bool],
    ) -> None:
        self.loop = loop
        #: what the event loop watches, but for the time of a burst; -1: it only looks at intervals
        self.descriptor = -1
        self._bus = bus
        self._has_news = has_news
        self._context = contextvars.copy_context()
        #: how each is detached when the bus was closed, and how often it has this look
        self._attached: dict[Callable[[], None], float] = {}
        self._interval = 0.0  # the shortest of these
        self._polled = 0.0  # when the last poll ended
        self._next_look: asyncio.TimerHandle | None = None
        self._next_poll: asyncio.TimerHandle | None = None  # of a burst

    def begin(self, interval: float, detach: Callable[[], None]) -> None:
        """Poll for one more, at once and at this interval; `detach` it when the bus is closed."""
        self._attached[detach] = interval
        self._interval = min(self._attached.values())
        if self._next_look is not None:
            self._next_look.cancel()
        # Which timers and the descriptor copy. What handlers set in it is not set for the caller.
        self._context.copy().run(self.look)

    def end(self, detach: Callable[[], None]) -> bool:
        """Poll for it no more; was it the last one?"""
        self._attached.pop(detach, None)
        if self._attached:
            self._interval = min(self._attached.values())
            return False
        self.stop()
        return True

    def look(self) -> None:
        """Poll, whether there is news or not, and again after the interval."""
        # First: what a plain handler raises, as a CancelledError, ends only this poll.
        self._next_look = self.loop.call_later(self._interval, self.look)
        self._listen()
        self.poll()

    def stop(self) -> None:
        """Poll no more, and watch nothing."""
        self._stop_watching()
        if self._next_look is not None:
            self._next_look.cancel()
        self._next_look = None

    async def polled(self) -> None:
        """Poll for a task that waits: on its event loop, yet not in its place.

        So nothing of its context gets to the handlers, or the other way round; nor is a
        CancelledError that a plain handler raises its own.
        """
        loop = asyncio.get_running_loop()
        self._context.copy().run(loop.call_soon, self.poll)
        await asyncio.sleep(0)

    def poll(self) -> None:
        """Poll now."""
        try:
            self._bus.poll()
        except NotConfigured:
            self._gone()
        except StdeventsError as error:
            report("%r: %s; next try in %s s", self._bus, error, self._interval)
            if self._next_look is not None:  # else a handler has detached it
                # The descriptor is still readable: retrying without a pause would block all else.
                self.stop()
                self._next_look = self.loop.call_later(self._interval, self.look)
        finally:
            self._polled = monotonic()

    def _gone(self) -> None:
        """The bus was closed."""
        for detach in tuple(self._attached):
            detach()

    # -- the descriptor ----------------------------------------------------------------------------

    def _listen(self) -> None:
        """Watch the descriptor that the bus has now; other code may have closed the one before."""
        try:
            number = self._bus.fileno()
            if number != self.descriptor:
                self._stop_watching()
                self._watch(number)
        except NotConfigured:
            self._gone()
        except (StdeventsError, NotImplementedError):
            self._stop_watching()

    def _watch(self, number: int) -> None:
        self.descriptor = -1  # where this raises, since it was closed, the next look watches anew
        self.loop.add_reader(number, self._hear)
        self.descriptor = number

    def _stop_watching(self) -> None:
        if self._next_poll is not None:
            self._next_poll.cancel()
        elif self.descriptor >= 0:
            self.loop.remove_reader(self.descriptor)
        self._next_poll, self.descriptor = None, -1

    # -- news --------------------------------------------------------------------------------------

    def _hear(self) -> None:
        """There is news: poll at once, or in a burst by the clock."""
        now = monotonic()
        too_soon = self._polled + AT_MOST_EVERY - now
        # Test tools stop the clock of the event loop: its timers would never fire.
        if too_soon > 0 and abs(self.loop.time() - now) < ONE_CLOCK:
            self.loop.remove_reader(self.descriptor)
            self._next_poll = self.loop.call_later(too_soon, self._poll_by_the_clock)
        else:
            self.poll()

    def _poll_by_the_clock(self) -> None:
        """Poll, and again soon; or, where there is nothing, wait for news."""
        if self._has_news():
            # First: what a plain handler raises ends only this poll; and it may detach the bus.
            self._next_poll = self.loop.call_later(AT_MOST_EVERY, self._poll_by_the_clock)
            self.poll()
        else:
            self._next_poll = None
            self._watch(self.descriptor)

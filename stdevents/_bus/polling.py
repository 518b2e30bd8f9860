"""How a process comes to handle what is new: by calls, by its loop, by who waits for `fileno`."""

from __future__ import annotations

import contextlib
import errno
import threading
from _thread import get_ident
from itertools import repeat

from .._errors import NoRoom
from .._log import WARNING, report
from .._system.clock import monotonic
from .._system.listener import Listener, Sleeper
from .._system.threadlock import FOREVER, Busy, ThreadLock
from . import joining
from .loop import PAUSE_AFTER_FORK, Loop, refusing
from .loopthread import AT_MOST_EVERY, LOOK_EVERY
from .seat import BusRemoved
from .settings import WAIT_INTERVAL
from .states import Away, Closing
from .watch import Watch

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from .._system.signals import Signals
    from .life import Life
    from .seat import Seat
    from .waiting import Ear


QUIET_POLLS = 16  # that find nothing, between two looks at the clock


class Polling:
    """The polls of one bus in this process, one at a time, and what wakes who waits for news."""

    burst_pause = AT_MOST_EVERY

    def __init__(self, life: Life) -> None:
        self._life = life
        #: of who handles events
        self.turn = ThreadLock()
        self.loop = Loop(self)
        self.watch = Watch(life, self.may_sleep)
        #: what calls sleep with, in any thread, while they have files
        self.ears: set[Ear] = set()
        self._poller = 0  # the thread that polled last

    def forked(self) -> None:
        """Let go of what is the parent's, in a forked child."""
        self.turn = ThreadLock()
        self.loop.forked()
        self.watch.forked()
        for ear in self.ears:
            ear.abandon()
        self.ears = set()
        self._poller = 0

    # -- polls -------------------------------------------------------------------------------------

    def poll(self, wait: float | None = None) -> str:
        """Handle what is new, as `Bus.poll`."""
        life = self._life
        if self.turn.is_inside() or life.is_nested():
            return "recursive"
        deadline = FOREVER if wait is None else monotonic() + wait
        try:
            life.use(self._poll_and_look, deadline)
        except Busy:
            return "busy"
        return "done"

    def _poll_and_look(self, seat: Seat, deadline: float) -> None:
        seat.progress_of_worker()
        self._take_turn(seat, deadline)
        # After it: what a removed bus still has is handled first.
        if self._life.state.seat is seat:
            self.look(seat)

    def poll_in_loop(self, signals: Signals | None) -> bool:
        """Handle what is new; was there anything?"""
        return self._life.use(self._take_turn, FOREVER, signals)

    def look_in_loop(self) -> None:
        """Look, for all calls of this process, whether the bus is there still."""
        self._life.use(self._look_in_loop)

    def _look_in_loop(self, seat: Seat) -> None:
        # Not where a thread looks that was told to end, and is the last one.
        if seat.next_look and self.loop.runs():
            seat.next_look = 0.0
        seat.check()

    def _take_turn(self, seat: Seat, deadline: float, signals: Signals | None = None) -> bool:
        return self.turn.hold(deadline, self._handle, seat, signals)

    def _handle(self, seat: Seat, signals: Signals | None) -> bool:
        """Handle what is new; was there anything?"""
        delivery, watch = seat.delivery, self.watch.listener
        assert delivery is not None
        self._poller = get_ident()
        if watch is None:
            return delivery.handle_rounds(signals)
        heard, found = False, True
        try:
            heard = watch.wait(0)
            found = delivery.handle_rounds(signals)
        finally:
            # Also when it was interrupted: what was heard is not heard again.
            if not self.may_sleep():
                watch.wake()
        if heard and not found and self._life.state.seat is seat:
            seat.check()  # a worker that finds the bus removed rings, so that others look
        return found

    def stays_quiet(self, seat: Seat) -> bool:
        """May a poll for which LAST has nothing new do nothing? Some that follow need not ask."""
        if self.watch.listener is not None:
            return False
        if not seat.next_look:  # its loop looks
            seat.quiet_polls = repeat(None)
            if seat.next_look or self.watch.listener is not None:  # since now, by another thread
                seat.quiet_polls = ()
            return True
        now = monotonic()
        if now >= seat.next_look:
            return False
        # Where polls follow each other so fast that a few more do not matter.
        if now < seat.quiet_since + LOOK_EVERY:
            seat.quiet_polls = iter(range(QUIET_POLLS))
        seat.quiet_since = now
        return True

    def look(self, seat: Seat) -> None:
        """LostGround if the bus is not there any more; looks now and then, where no loop does."""
        now = monotonic()
        if not seat.next_look or now < seat.next_look:
            return
        seat.next_look = now + LOOK_EVERY
        seat.check()
        if seat.slot is None:
            if not joining.has_live_worker(seat):
                what = f"bus {seat.name!r}: its workers have all left"
                raise BusRemoved(errno.ENOENT, what)
        else:  # it could not be started, or not again after a fork
            with contextlib.suppress(RuntimeError):
                # No more than that: another thread may be changing the settings.
                self.loop.start()

    def append(self, seat: Seat, records: tuple[bytes, ...]) -> int:
        """Post on this seat, waiting for room where that is to be had."""
        self.look(seat)
        settings = seat.settings
        try:
            return seat.table.append(records)
        except NoRoom as full:
            busy = seat.slot if self.waits_for_itself() else None
            return seat.table.append_when_there_is_room(
                records, full, busy, settings.shm_retries, settings.wait_interval
            )

    def poll_for_call(self) -> bool:
        """Handle what is new where nobody else in this process does: for a call that waits.

        Was that so, and may it sleep until there is something new?
        """
        life = self._life
        if life.use(lambda seat: seat.slot is None) or self.loop.interval:
            life.use(self.look)
        elif not self.watch.watchers or self._poller in (0, get_ident()):  # else an event loop does
            return self.poll(0) == "done"
        return False

    def waits_for_itself(self) -> bool:
        """Can this process take no event before the calling thread goes on?

        It is in a handler; or nobody else polls.
        """
        if self.turn.is_inside():
            return True
        return not self.loop.runs() and self._poller in (0, get_ident())

    def wait_for_handlers(self, seat: Seat, wait: float | None) -> None:
        """Wait until no other thread is in a handler, so many seconds at most, or `wait_max`."""
        if wait is None:
            wait = seat.settings.wait_max
        deadline = monotonic() + wait
        self.loop.end(wait)
        if self.turn.is_inside():
            return
        try:
            self.turn.hold(deadline, int)
        except Busy:
            source, event, event_id = seat.handling()
            report(
                "bus %r: closed while a handler still runs, after %s s; source=%s, event=%s, "
                "event id %s",
                seat.name, wait, source, event, event_id,
                level=WARNING,
            )  # fmt: skip

    # -- the loop ----------------------------------------------------------------------------------

    def check_loop(self, interval: float) -> None:
        """StdeventsError where no loop can run: a subinterpreter has no daemon threads."""
        with refusing(interval):
            if interval:
                threading.Thread(daemon=True)

    def begin_loop(self, seat: Seat) -> None:
        """As `run_loop`; StdeventsError where no thread can be started."""
        with refusing(seat.settings.interval):
            self.run_loop(seat)

    def change(self, seat: Seat, given: dict[str, Any]) -> None:
        """Use the settings that were given; none of them where that fails."""
        settings, before = seat.settings, vars(seat.settings).copy()
        try:
            settings.change(given, seat.name, seat.table.layout.size)
            self.begin_loop(seat)
        except BaseException:
            vars(settings).update(before)
            with contextlib.suppress(RuntimeError):
                self.run_loop(seat)
            raise
        self.loop.wake()

    def run_loop(self, seat: Seat) -> None:
        """Have a loop, or none, as the settings say; where none runs, calls look by themselves."""
        settings = seat.settings
        self.loop.name = seat.name
        self.loop.interval = 0.0 if seat.slot is None else settings.interval
        if not self.loop.interval:
            self.loop.stop(settings.wait_max)
        # Until a loop does: its thread may be ended by an exception from outside before it polls.
        seat.next_look = monotonic() + LOOK_EVERY
        seat.quiet_polls = ()
        self.loop.start()

    def before_fork(self) -> None:
        """End the loop's thread, so that it is not copied."""
        seat = self._life.state.seat
        self.loop.park(seat.settings.wait_interval if seat else float(WAIT_INTERVAL))

    def after_fork_in_parent(self) -> None:
        """Let the loop go on; if that fails, the next call tries again."""
        try:
            self.loop.unpark()
        finally:
            self._look_until_loop_does()

    def start_again(self) -> None:
        """In a forked child, or where exceptions from outside have ended the loop's thread.

        Later: by then a child that only execs has done so, and all hooks have run; and what ends
        each thread at once would take the whole processor. If no thread starts, as above.
        """
        self._look_until_loop_does()
        with contextlib.suppress(RuntimeError):
            self.loop.start(PAUSE_AFTER_FORK)

    def leave(self) -> None:
        """Close the bus: this process is over, and only its loop would keep it."""
        self._life.close()

    def _look_until_loop_does(self) -> None:
        seat = self._life.state.seat
        if seat is not None and self.loop.interval:
            seat.next_look = monotonic()
            seat.quiet_polls = ()

    def has_news(self) -> bool:
        """Is there anything that a poll would handle?"""
        seat = self._life.state.seat
        return seat is None or seat.delivery is None or seat.delivery.has_news()

    def may_sleep(self) -> bool:
        """Ask the next post to wake this process; False if there is something new already."""
        seat = self._life.state.seat
        return seat is None or seat.delivery is None or seat.delivery.may_sleep()

    def listen(self) -> Listener | Sleeper | None:
        """What the loop waits with; None if the bus is not open."""
        state = self._life.state
        if state.seat is None:  # no worker: a forked child that is to try again, or none at all
            return Sleeper() if isinstance(state, Away) else None
        try:
            return Listener(state.seat.bell)
        except OSError:
            return Sleeper()

    def is_busy(self) -> bool:
        """Does a handler run in this process, which the loop's end has to wait for?"""
        state = self._life.state
        seat = state.leaving if isinstance(state, Closing) else state.seat
        return seat is not None and seat.is_in_handler()

    # -- what else there is to hear ----------------------------------------------------------------

    def queue(self, seat: Seat, local: tuple[str, str, Any]) -> None:
        """Queue an event for this process."""
        seat.mark.check()
        seat.progress_of_worker().local.append(local)
        self.loop.wake_if_asleep()
        self.watch.wake()

    def watch_number(self, seat: Seat) -> int:
        """The descriptor behind `fileno`."""
        seat.progress_of_worker()
        listener = self.watch.listener
        # Asked for before each wait: whether the bus was removed, polls look now and then.
        if not (listener is not None and seat.mark.word[0] and listener.is_intact()):
            seat.check()
        return self.watch.number(seat)

    # -- the rest ----------------------------------------------------------------------------------

    def origin(self) -> tuple[str, str] | None:
        """Of the event whose handlers run in this thread: host and entry, if a relay brought it."""
        seat = self._life.state.seat
        if seat is None or seat.delivery is None or not self.turn.is_inside():
            return None
        return seat.delivery.origin

"""The life of a bus in one process: whether it is open, and how it comes to be and ceases to be so.

               open                     close
    closed ──▶ opening ──▶ open ──▶ closing ──▶ closed
                           ▲  │
                   arrive  │  │  lose, a fork
                           │  ▼
                           away ──▶ closing

One attribute, `state`, says where it is. Only `use` meets lost ground: what somebody has removed,
closed under us, or left behind by a fork.
"""

from __future__ import annotations

import contextlib
import functools
import os
from _thread import get_ident

from .._errors import NoRoom, NotConfigured, StdeventsError
from .._log import WARNING, report
from .._system.clock import monotonic
from .._system.files import NONE, LostGround
from .._system.folder import Folder
from .._system.listener import Listener, Sleeper
from .._system.process import Forked, Mark
from .._system.threadlock import FOREVER, Busy, Inside, ThreadLock
from . import codec, hooks, joining
from .delivery import events
from .loop import PAUSE_AFTER_FORK, Loop
from .seat import BusRemoved, Seat
from .settings import WAIT_INTERVAL, Settings, check_name

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._system.files import OpenFile
    from .._types import Stats
    from .handlers import Handlers
    from .joining import Opened
    from .loop import Signals
    from .seat import Resume

    T = TypeVar("T")

LOOK_EVERY = 0.5  # seconds between two looks whether the bus is still there


class State:
    """Where a life is; `seat` is there only while the bus is open."""

    seat: Seat | None = None


class Closed(State):
    """The bus is not open here."""


class Opening(State):
    """A thread is opening it."""

    def __init__(self) -> None:
        self.opened: Opened = []


class Open(State):
    """This process is on the bus."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat


class Away(State):
    """This process was on the bus, and goes on from there at its next call, or by its loop.

    It has lost its ground; or is a forked child that has done nothing yet, perhaps since it is to
    exec another program. Such a child has `taken` its seat already.
    """

    def __init__(self, folder: Folder, settings: Settings, resume: Resume | None) -> None:
        self.folder = folder
        self.settings = settings
        self.resume = resume  # None: a poster, which comes from nowhere
        self.opened: Opened = []
        self.taken: Seat | None = None
        #: a copy of the parent's, which keeps the bus until a seat is taken
        self.held: OpenFile = NONE


class Closing(State):
    """A thread is closing it, or was interrupted in that: another `close` goes on."""

    def __init__(self, leaving: Seat | None) -> None:
        self.leaving = leaving


CLOSED = Closed()

_open_here: dict[str, Life] = {}


class Life:
    """The life of one bus in this process."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.name = ""
        self.state: State = CLOSED
        self.loop = Loop(self)
        self._next_look = 0.0  # of the loop
        self._poller = 0  # the thread that polled last
        #: behind `fileno`
        self.watch: Listener | None = None
        #: event loops that watch it: each stops that, and then calls its argument
        self.watchers: set[Callable[[Callable[[], object]], object]] = set()
        self._begin_here()
        hooks.enter(self)

    def _begin_here(self) -> None:
        """What belongs to one process, and not to its forked children."""
        self._mark = Mark()
        self._moving = ThreadLock()  # of who changes the state
        self.turn = ThreadLock()  # of who handles events

    # -- use ---------------------------------------------------------------------------------------

    def use(self, work: Callable[..., T], *arguments: Any) -> T:
        """`work(seat, *arguments)`, on another seat and once more where this one is lost.

        NotConfigured if the bus is not open here.
        """
        while True:
            seat = self.state.seat or self._arrive()
            try:
                return work(seat, *arguments)
            except LostGround as lost:
                self._lose(seat, lost)

    def is_configured(self) -> bool:
        """Is the bus open in this process, or does it become so with the next call?"""
        return isinstance(self.state, (Open, Away))

    def is_nested(self) -> bool:
        """Has this call interrupted another one of its thread, which holds what it needs?"""
        seat = self.state.seat
        return self._moving.is_inside() or (seat is not None and seat.lock.is_inside())

    def look(self, seat: Seat) -> None:
        """LostGround if the bus is not there any more; looks now and then."""
        now = monotonic()
        if not seat.next_look or now < seat.next_look:
            return
        seat.next_look = now + LOOK_EVERY
        seat.check()
        if seat.slot is None:
            if not joining.has_live_worker(seat):
                raise BusRemoved(None, f"bus {self.name!r}: its workers have all left")
        elif not self.loop.runs():  # it could not be started, or not again after a fork
            with contextlib.suppress(RuntimeError):
                self._run_loop(seat)

    # -- open --------------------------------------------------------------------------------------

    def open(self, shm: str | None, options: dict[str, Any]) -> None:
        """Open the bus, or change the settings of the open one; as `Bus.configure`."""
        if isinstance(self.state, Closing):
            self.close()  # it was interrupted
        try:
            self._moving.hold(FOREVER, self._open_or_change, shm, options)
        except Inside as inside:
            raise StdeventsError(
                f"configure: {inside}; a signal handler or finaliser must not call it"
            ) from None

    def _open_or_change(self, shm: str | None, options: dict[str, Any]) -> None:
        if self.is_configured():
            self._change(shm, options)
        else:
            self._open(shm, options)

    def _open(self, shm: str | None, options: dict[str, Any]) -> None:
        if shm is None:
            raise ValueError("shm: no bus is open here yet; give the name of the one to open")
        name, settings = check_name(shm), Settings(options)
        hooks.check_server()
        if _open_here.setdefault(name, self) is not self:
            raise StdeventsError(
                f"bus {name!r}: this process has it open already; use that one, or close it first"
            )
        self.state, self.name, self.loop.name = opening, name, name = Opening(), name, name
        seat = None
        try:
            if not os.geteuid():  # who is root may give up the right to read the package's files
                from .. import _types  # noqa: F401
            hooks.watch_exit()
            codec.forget()
            self.handlers.failed = 0
            folder = Folder(name)
            seat = joining.join(folder, settings, self._mark, self.handlers, opening.opened)
            if seat.delivery is not None:
                self._announce(seat, events.started, tolerated=(NoRoom,))
                if settings.start == "oldest":  # of those that `started` has not overwritten
                    seat.delivery.go_to_oldest()
            self.state = Open(seat)
            self._run_loop(seat)
        except BaseException:
            self._finish(seat)
            raise
        settings.compare_size(name, seat.table.layout.size)

    def _change(self, shm: str | None, options: dict[str, Any]) -> None:
        state = self.state
        seat = state.seat or self._arrive_now()
        if shm is not None and check_name(shm) != self.name:
            raise StdeventsError(
                f"bus {self.name!r} is open here, and {shm!r} cannot be opened beside it; "
                "close it first, or make a stdevents.Bus of its own for the other"
            )
        seat.settings.change(options, self.name, seat.table.layout.size)
        self._run_loop(seat)
        self.loop.wake()

    def _run_loop(self, seat: Seat, pause: float = 0.0) -> None:
        """Have a loop, or none, as the settings say; where none runs, calls look by themselves."""
        settings = seat.settings
        self.loop.interval = 0.0 if seat.slot is None else settings.interval
        seat.next_look = monotonic() + LOOK_EVERY
        if self.loop.interval:
            self.loop.start(pause)
            seat.next_look = 0.0
        else:
            self.loop.stop(settings.wait_max)

    def _announce(
        self,
        seat: Seat,
        event: str,
        tolerated: tuple[type[Exception], ...] = (StdeventsError, OSError),
    ) -> None:
        """Post it without waiting for room: neither exit nor fork may wait for slow readers."""
        try:
            seat.table.append((codec.encode(events._source, event, None),))
        except tolerated as error:
            report("bus %r: %s could not be posted: %s", self.name, event, error, level=WARNING)

    # -- away and back -----------------------------------------------------------------------------

    def _arrive(self) -> Seat:
        """The seat, after taking another one where the ground was lost."""
        if not self._mark.word[0]:
            self.after_fork_in_child()
        return self._moving.hold(FOREVER, self._arrive_now)

    def _arrive_now(self) -> Seat:
        state = self.state
        if state.seat is not None:  # another thread was faster
            return state.seat
        if not isinstance(state, Away):
            raise NotConfigured(
                f"the bus is not open in process {os.getpid()}; call configure(name) first: "
                "each worker does so itself, as in post_fork or in the initializer of a pool"
            )
        seat = state.taken or self._take_seat(state)
        self._listen_to(seat)
        self.state = Open(seat)
        if seat.slot is not None:
            self._announce(seat, events.started)
        try:
            self._run_loop(seat)
        except RuntimeError as error:
            report("bus %r: no loop: %s; tried again later", self.name, error)
        return seat

    def _take_seat(self, state: Away) -> Seat:
        """As the user that it was on the bus; the bus may be another one now."""
        state.settings.take_any()
        seat = joining.join(
            state.folder, state.settings, self._mark, self.handlers, state.opened, state.resume
        )
        state.held.close()
        return seat

    def _listen_to(self, seat: Seat) -> None:
        """Have `fileno` hear the bell of this seat."""
        watch = self.watch
        if watch is None or watch.is_intact():
            return
        self.watch = None
        try:
            if watch.has_its_files():  # so that the descriptor stays the same
                watch.listen_to(seat.bell)
                self.watch = watch
            else:
                watch.close()
                self.watch = Listener(seat.bell)
        except OSError as error:
            report("bus %r: fileno() has to be asked for again: %s", self.name, error)
        if self.watch is not None:
            self.watch.wake()

    def _lose(self, seat: Seat, lost: LostGround) -> None:
        """Be away, from a seat that is lost."""
        if isinstance(lost, Forked) or not self._mark.word[0]:
            self.after_fork_in_child()
            return
        if self._moving.hold(FOREVER, self._lose_now, seat) and isinstance(lost, BusRemoved):
            what = "%s; joining it again, events that were posted since are lost to this worker"
            report(what, lost, level=WARNING)

    def _lose_now(self, seat: Seat) -> bool:
        if self.state.seat is not seat:  # another thread was faster, or has closed the bus
            return False
        self.state = Away(seat.folder, seat.settings, seat.resume())
        seat.bell.ring()  # who waits for it notices as well
        seat.close()
        return True

    # -- close -------------------------------------------------------------------------------------

    def close(self, wait: float | None = None) -> None:
        """Close the bus, as `Bus.close`."""
        if self._moving.is_inside():
            if not isinstance(self.state, Closing):
                self._moving.deferred.append(self.close)
            return
        seat = self.state.seat
        if seat is not None and seat.lock.is_inside():
            seat.lock.deferred.append(self.close)
            return
        if isinstance(self.state, Closing) and self.turn.is_inside():
            return  # who closes waits for this very handler
        self._moving.hold(FOREVER, self._close, wait)

    def _close(self, wait: float | None) -> None:
        state = self.state
        if state is CLOSED:
            return
        if isinstance(state, Open):
            seat: Seat | None = self._seat_to_leave(state.seat)
        elif isinstance(state, Closing):
            seat = state.leaving
        else:
            assert isinstance(state, Away)
            seat = state.taken
            state.held.close()
        try:
            if isinstance(self.state, Open) and seat is not None and seat.slot is not None:
                self._announce(seat, events.stopping)
            self.state = Closing(seat)
            if seat is not None:
                seat.end()  # a poll ends with the handler that it is in
                self._wait_for_handlers(seat, seat.settings.wait_max if wait is None else wait)
        finally:  # an exception from outside must not leave a worker that nobody can get rid of
            self._finish(seat)

    def _seat_to_leave(self, seat: Seat | None) -> Seat | None:
        """The seat, or another one if this one is lost: else the last one out removes nothing."""
        try:
            if seat is not None:
                seat.check()
            return seat
        except LostGround:
            with contextlib.suppress(StdeventsError, OSError):
                assert seat is not None
                self._lose_now(seat)
                return self._arrive_now()
        return None

    def _wait_for_handlers(self, seat: Seat, wait: float) -> None:
        deadline = monotonic() + wait
        self.loop.interval = 0.0
        self.loop.stop(wait)
        if self.turn.is_inside():
            return
        try:
            self.turn.hold(deadline, int)
        except Busy:
            source, event, event_id = seat.handling()
            report(
                "bus %r: closed while a handler still runs, after %s s; source=%s, event=%s, "
                "event id %s",
                self.name, wait, source, event, event_id,
                level=WARNING,
            )  # fmt: skip

    def _finish(self, seat: Seat | None) -> None:
        """Leave the bus, and be closed. What is interrupted in it is done by the next `close`."""
        self.state = Closing(seat)
        self.loop.interval = 0.0
        self.loop.stop(0)
        if seat is not None:
            seat.end()
            self._close_watch()
            try:
                joining.leave(seat)
            except (StdeventsError, OSError) as error:
                what = "bus %r: not left in good order: %s"
                report(what, self.name, error, level=WARNING)
        self.state = CLOSED
        if _open_here.get(self.name) is self:
            _open_here.pop(self.name, None)

    def _close_watch(self) -> None:
        """Close what is behind `fileno`, as soon as no event loop watches it any more."""
        watch, self.watch = self.watch, None
        close: Callable[[], object] = watch.close if watch else lambda: None
        for let_go_before in tuple(self.watchers):
            close = functools.partial(let_go_before, close)
        close()

    # -- fork --------------------------------------------------------------------------------------

    def before_fork(self) -> None:
        """Before a fork: the loop's thread is not copied."""
        seat = self.state.seat
        self.loop.park(seat.settings.wait_interval if seat else float(WAIT_INTERVAL))

    def after_fork_in_parent(self) -> None:
        """After a fork: the loop goes on."""
        try:
            self.loop.unpark()
        finally:
            seat = self.state.seat
            if seat is not None and self.loop.interval and not self.loop.runs():
                seat.next_look = monotonic()  # the next call tries again

    def after_fork_in_child(self) -> None:
        """After a fork: let go of what is the parent's, and take a seat; begin later.

        May be called again when it was interrupted. It does not rely on the other hooks: some
        servers call only this one, and C code none.
        """
        if self._mark.word[0]:  # an earlier hook of another module has posted
            return
        state = self.state
        in_own_handler = self.turn.is_inside()
        for copy in state.opened if isinstance(state, (Opening, Away)) else ():
            copy.close()
        if isinstance(state, (Opening, Closing)):  # by a thread that does not exist here
            self._forget_parents(state.leaving if isinstance(state, Closing) else None)
            self.state = CLOSED
            if _open_here.get(self.name) is self:
                _open_here.pop(self.name, None)
        elif state is not CLOSED:
            self.state = away = self._away_in_child(state, in_own_handler)
            self._forget_parents(state.seat or (state.taken if isinstance(state, Away) else None))
            self._begin_here()
            # If it fails, the next call tries again, and raises what is in the way. So does the
            # loop, which logs it: a child that only listens makes no call.
            with contextlib.suppress(StdeventsError, OSError):
                away.taken = self._take_seat(away)
            with contextlib.suppress(RuntimeError):
                self.loop.start(PAUSE_AFTER_FORK)
            return
        self.loop.forked()  # else it waits for the end of the fork, when the bus is opened
        self._begin_here()

    def _away_in_child(self, state: State, in_own_handler: bool) -> Away:
        seat = state.seat
        if seat is not None:
            away = Away(seat.folder, seat.settings, seat.resume())
            if seat.worker_file is not None:
                away.held, seat.worker_file = seat.worker_file, None
        else:
            assert isinstance(state, Away)
            away = Away(state.folder, state.settings, state.resume)
            away.held = state.held
            if state.taken is not None and state.taken.worker_file is not None:
                away.held, state.taken.worker_file = state.taken.worker_file, None
        away.settings.forked()
        if away.resume is not None:
            away.resume = away.resume.forked(in_own_handler)
        return away

    def _forget_parents(self, seat: Seat | None) -> None:
        if seat is not None:
            seat.abandon()
        self.loop.forked()
        watch, self.watch = self.watch, None
        if watch is not None:
            watch.abandon()
        self.watchers = set()
        self.handlers.forked()
        codec.forget()

    # -- poll --------------------------------------------------------------------------------------

    def poll(self, wait: float | None = None) -> str:
        """Handle what is new, as `Bus.poll`."""
        if self.turn.is_inside() or self.is_nested():
            return "recursive"
        deadline = FOREVER if wait is None else monotonic() + wait
        try:
            self.use(self._take_turn, deadline, None)
        except Busy:
            return "busy"
        return "done"

    def poll_in_loop(self, signals: Signals | None) -> None:
        """Handle what is new, and look whether the bus is there still."""
        self.use(self._take_turn_and_look, signals)

    def _take_turn_and_look(self, seat: Seat, signals: Signals | None) -> None:
        self._take_turn(seat, FOREVER, signals)
        now = monotonic()
        if now >= self._next_look:
            # Half an interval: a sleep may end a little early.
            self._next_look = now + min(LOOK_EVERY, self.loop.interval / 2)
            seat.check()

    def _take_turn(self, seat: Seat, deadline: float, signals: Signals | None) -> None:
        seat.progress_of_worker()
        self.turn.hold(deadline, self._handle, seat, signals)
        self.look(seat)  # after: what a removed bus still has is handled first

    def _handle(self, seat: Seat, signals: Signals | None) -> None:
        assert seat.delivery is not None
        self._poller = get_ident()
        watch = self.watch
        seat.delivery.signals = signals
        if watch is None:
            seat.delivery.handle_rounds()
            return
        heard = False
        try:
            heard = watch.wait(0)
            news = seat.delivery.has_news()
            seat.delivery.handle_rounds()
        finally:
            # Also when it was interrupted: what was heard is not heard again.
            if not self.may_sleep():
                watch.wake()
        if heard and not news:
            seat.check()  # who leaves removed ground rings its bell

    # -- what else a seat is used for --------------------------------------------------------------

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

    def defer(self, call: Callable[[], object]) -> None:
        """Have this done when the call ends that changes the state, and was interrupted."""
        self._moving.deferred.append(call)

    def queue(self, seat: Seat, local: tuple[str, str, Any]) -> None:
        """Queue an event for this process."""
        seat.progress_of_worker().local.append(local)
        self.loop.wake_if_asleep()
        watch = self.watch
        if watch is not None:
            watch.wake()

    def stats(self, seat: Seat) -> Stats:
        """The counts of this process."""
        from .._types import Stats

        progress = seat.progress
        if progress is None:  # a poster
            return Stats(seat.posted(), 0, 0, 0, self.handlers.failed, seat.table.last, 0)
        position = progress.position  # first, since both only grow: the lag is 0 or more
        last_id = seat.table.last
        return Stats(
            posted=seat.posted(),
            handled=progress.handled,
            lost=progress.lost,
            ignored=progress.ignored,
            handler_errors=self.handlers.failed,
            last_id=last_id,
            lag=last_id - position,
        )

    def watch_number(self, seat: Seat) -> int:
        """The descriptor behind `fileno`."""
        seat.progress_of_worker()
        seat.check()
        watch = self.watch
        if watch is None:
            try:
                watch = Listener(seat.bell)
            except OSError as error:
                raise StdeventsError(
                    f"bus {self.name!r}: cannot be waited for: {error}; let it poll at an interval"
                ) from error
            self.watch = watch
            if not self.may_sleep():
                watch.wake()
        return watch.fileno()

    def origin(self) -> tuple[str, str] | None:
        """Of the event whose handlers run in this thread: host and entry, if a relay brought it."""
        seat = self.state.seat
        if seat is None or seat.delivery is None or not self.turn.is_inside():
            return None
        return seat.delivery.origin

    def may_sleep(self) -> bool:
        """Ask the next post to wake this process; False if there is something new already."""
        seat = self.state.seat
        return seat is None or seat.delivery is None or seat.delivery.may_sleep()

    def listen(self) -> Listener | Sleeper | None:
        """What the loop waits with; None if the bus is not open."""
        seat = self.state.seat
        if seat is None:  # no worker: a forked child that is to try again, or none at all
            return Sleeper() if isinstance(self.state, Away) else None
        try:
            return Listener(seat.bell)
        except OSError:
            return Sleeper()

    def waits_for_itself(self) -> bool:
        """Can this process take no event before the calling thread goes on?

        It is in a handler; or nobody else polls.
        """
        if self.turn.is_inside():
            return True
        return not self.loop.runs() and self._poller in (0, get_ident())

    def is_busy(self) -> bool:
        """Does a handler run in this process, which the loop's end has to wait for?"""
        seat = self.state.seat
        return seat is not None and seat.is_in_handler()

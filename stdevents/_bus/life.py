"""The life of a bus in one process: whether it is open, and how it comes to be and ceases to be so.

               open                     close
    closed ──▶ opening ──▶ open ──▶ closing ──▶ closed
                           ▲  │
                   arrive  │  │  lose, a fork
                           │  ▼
                           away ──▶ closing

One attribute, `state`, says where it is. Lost ground is what somebody has removed, closed under us,
or left behind by a fork: `use` goes on from there.
"""

from __future__ import annotations

import contextlib
from functools import partial

from .._errors import NoRoom, NotConfigured, StdeventsError
from .._log import WARNING, report
from .._system.clock import monotonic
from .._system.files import LostGround
from .._system.folder import Folder
from .._system.process import Mark
from .._system.threadlock import ENDED_EVERY, FOREVER, Busy, Inside, ThreadLock
from . import codec, hooks, joining
from .delivery import events
from .polling import Polling
from .seat import BusRemoved, Seat
from .settings import Settings, check_name
from .states import CLOSED, Arriving, Away, Closed, Closing, Open, Opening, State, not_open

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .handlers import Handlers

    T = TypeVar("T")

_open_here: dict[str, Life] = {}


class Life:
    """The life of one bus in this process."""

    def __init__(self, handlers: Handlers) -> None:
        self.handlers = handlers
        self.name = ""
        self.state: State = CLOSED
        self._closes = 0  # that there were
        self.polling = polling = Polling(self)
        self.before_fork = polling.before_fork
        self.after_fork_in_parent = polling.after_fork_in_parent
        self._begin_here()
        hooks.enter(self)

    def _begin_here(self) -> None:
        """What belongs to one process, and not to its forked children."""
        self._moving = ThreadLock()  # of who changes the state
        self._mark = Mark()  # last: who finds it does not begin again

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
            except (ValueError, TypeError):
                if seat.mark.word[0]:
                    raise
                # Views are released: a signal handler forked this child in here. Or no hook ran.
                self.after_fork_in_child()

    def _move(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do what changes the state; once more in a child that a signal handler forks in it."""
        while True:
            mark = self._mark
            try:
                result = self._moving.hold(monotonic() + ENDED_EVERY, work, *arguments)
                if mark.word[0]:
                    return result
            except Busy:
                if isinstance(self.state, Closing) and self.polling.turn.is_inside():
                    raise not_open() from None  # who closes it waits for this very handler
            except Exception:
                if mark.word[0]:
                    raise
            self.after_fork_in_child()

    def is_configured(self) -> bool:
        """Is the bus open in this process, or does it become so with the next call?"""
        return isinstance(self.state, (Open, Away))

    def is_nested(self) -> bool:
        """Has this call interrupted another one of its thread, which holds what it needs?"""
        seat = self.state.seat
        return self._moving.is_inside() or (seat is not None and seat.lock.is_inside())

    def check_not_nested(self, call: str) -> None:
        """Inside where the call, which is named, cannot wait until the interrupted one ends."""
        if self.is_nested():
            raise Inside(
                f"{call}: it interrupted another call of its thread; "
                "a signal handler or finaliser must not call it"
            )

    # -- open --------------------------------------------------------------------------------------

    def open(self, shm: str | None, options: dict[str, Any]) -> None:
        """Open the bus, or change the settings of the open one; as `Bus.configure`."""
        self.after_fork_in_child()
        self.check_not_nested("configure")
        self._move(self._open_or_change, shm, options)

    def _open_or_change(self, shm: str | None, options: dict[str, Any]) -> None:
        if isinstance(self.state, (Opening, Closing)):  # it was interrupted in that
            self._close(None)
        if self.is_configured():
            self._change(shm, options)
        else:
            self._open(shm, options)

    def _open(self, shm: str | None, options: dict[str, Any]) -> None:
        if shm is None:
            raise ValueError("name: no bus is open here yet; give the name of the one to open")
        name, settings = check_name(shm), Settings(options)
        hooks.check_server()
        self.polling.check_loop(settings.interval if settings.role != "poster" else 0)
        mark, opening = self._mark, Opening()
        try:
            self.state, self.name = opening, name
            if _open_here.setdefault(name, self) is not self:
                what = "this process has it open already; use that one, or close it first"
                raise StdeventsError(f"bus {name!r}: {what}")
            hooks.watch_exit()
            codec.forget()
            self.handlers.failed = 0
            seat = joining.join(opening, Folder(name), settings, mark, self.handlers)
            if seat.delivery is not None:
                seat.announce(events.started, tolerated=(NoRoom,))
                if settings.start == "oldest":  # of those that `started` has not overwritten
                    seat.delivery.go_to_oldest()
            self.state = Open(seat, self.polling.turn)
            self.polling.begin_loop(seat)
            settings.compare_size(name, seat.table.layout.size)
        except BaseException:
            if mark.word[0]:
                self._close(0)
            raise

    def _change(self, shm: str | None, options: dict[str, Any]) -> None:
        state = self.state
        seat = state.seat or self._arrive_now()
        if shm is not None and check_name(shm) != self.name:
            raise StdeventsError(
                f"bus {self.name!r} is open here, and {shm!r} cannot be opened beside it; "
                "close it first, or make a stdevents.Bus of its own for the other"
            )
        given = seat.settings.changes(options, self.name)
        self.polling.check_loop(given.get("interval", 0))
        self.polling.change(seat, given)

    # -- away and back -----------------------------------------------------------------------------

    def _arrive(self) -> Seat:
        """The seat, after taking another one where the ground was lost."""
        self.after_fork_in_child()
        if isinstance(self.state, (Closed, Closing)) and not self._moving.is_inside():
            raise not_open()  # without waiting for who closes it
        return self._move(self._arrive_now)

    def _arrive_now(self) -> Seat:
        state = self.state
        if state.seat is not None:  # another thread was faster
            return state.seat
        if not isinstance(state, Away):
            raise not_open()
        seat = state.taken or self._take_seat(state)
        self.polling.watch.follow(seat)
        self.state = Open(seat, self.polling.turn)
        if seat.slot is not None:
            seat.announce(events.started)
        try:
            self.polling.run_loop(seat)
        except RuntimeError as error:
            report("bus %r: no loop: %s; tried again later", self.name, error)
        return seat

    def _take_seat(self, state: Away) -> Seat:
        """A seat on the bus of that name, which may be another one now."""
        state.let_go()
        state.settings.take_any()
        seat = joining.join(state, state.folder, state.settings, self._mark, self.handlers)
        state.held.close()
        return seat

    def _lose(self, seat: Seat, lost: LostGround) -> None:
        """Be away, from a seat that is lost."""
        self.after_fork_in_child()
        if self._move(self._lose_now, seat) and isinstance(lost, BusRemoved) and seat.delivery:
            what = "%s; joining it again, events that were posted since are lost to this worker"
            report(what, lost, level=WARNING)

    def _lose_now(self, seat: Seat) -> bool:
        if self.state.seat is not seat:  # another thread was faster, or has closed the bus
            return False
        away = Away(seat.folder, seat.settings, seat.resume())
        away.before = seat
        self.state = away
        seat.table.ring_for_waiters()
        away.let_go()
        return True

    # -- close -------------------------------------------------------------------------------------

    def close(self, wait: float | None = None, closes: int | None = None) -> None:
        """Close the bus, as `Bus.close`; not what was opened since there were so many `closes`."""
        self.after_fork_in_child()
        if closes not in (None, self._closes) and not isinstance(self.state, Closing):
            return
        if self.is_nested():
            if not isinstance(self.state, Closing):
                self.defer(partial(self.close, wait, self._closes))
            return
        with contextlib.suppress(NotConfigured):  # another thread is closing it
            self._move(self._close, wait)

    def _close(self, wait: float | None) -> None:
        mark, state = self._mark, self.state
        if state is CLOSED:
            return
        if isinstance(state, Open):
            seat: Seat | None = self._seat_to_leave(state.seat)
        elif isinstance(state, Closing):
            seat = state.leaving
        else:
            assert isinstance(state, Arriving)
            seat = state.taken
            state.let_go()
            state.held.close()
        try:
            if isinstance(self.state, Open) and seat is not None and seat.slot is not None:
                seat.announce(events.stopping)
            closing = Closing(seat)
            if mark.word[0]:  # no call stands between: no signal handler can fork in there
                self.state = closing
            mark.check()
            if seat is not None:
                seat.end()  # a poll ends with the handler that it is in
                self.polling.wait_for_handlers(seat, wait)
        finally:  # an exception from outside must not leave a worker that nobody can get rid of
            if mark.word[0]:
                self._finish(seat)

    def _seat_to_leave(self, seat: Seat) -> Seat | None:
        """The seat, or another one if this one is lost: else the last one out removes nothing."""
        try:
            seat.check()
            return seat
        except LostGround:
            with contextlib.suppress(StdeventsError, OSError):
                self._lose_now(seat)
                return self._arrive_now()
        return None

    def _finish(self, seat: Seat | None) -> None:
        """Leave the bus, and be closed. What is interrupted in it is done by the next `close`."""
        self.state = Closing(seat)
        self.polling.loop.end(0)
        if seat is not None:
            seat.end()
            self.polling.watch.close()
            try:
                joining.leave(seat)
            except (StdeventsError, OSError) as error:
                if seat.mark.word[0]:  # else its parent leaves: a signal handler forked it in here
                    report("bus %r: not left in good order: %s", self.name, error, level=WARNING)
        self._be_closed()

    def _be_closed(self) -> None:
        if _open_here.get(self.name) is self:
            _open_here.pop(self.name, None)
        self._closes += 1
        self.state = CLOSED  # last: what is interrupted is done again until it is so

    # -- fork --------------------------------------------------------------------------------------

    def after_fork_in_child(self) -> None:
        """In a fork: let go of what is the parent's, and take a seat; begin later. Else nothing.

        May be called again when it was interrupted. It does not rely on the other hooks: some
        servers call only this one, and C code none, so that the child's next call does.
        """
        state = self.state
        is_parents = state.seat is not None and not state.seat.mark.word[0]
        if self._mark.word[0] and not is_parents:  # an earlier hook of another module has posted
            return
        in_own_handler = self.polling.turn.is_inside()
        if isinstance(state, Arriving) and state.taken is None:
            joining.close(state.opened)
        if not isinstance(state, (Open, Away)):  # if not closed, it is so by a thread left behind
            leaving = state.leaving if isinstance(state, Closing) else None
            self._forget_parents(state.taken if isinstance(state, Opening) else leaving)
            self._be_closed()
            self._begin_here()
            if state is not CLOSED:
                # Its parent may have found our copy of its file locked, and left all to us.
                with contextlib.suppress(StdeventsError, OSError):
                    joining.clean(self.name)
            return
        self.state = away = Away.of_child(state, in_own_handler)
        if away.before is not None:
            away.before.worker_file = None  # `held` from now on
        self._forget_parents(away.before)
        away.before = None
        self._begin_here()
        try:
            # If it fails, the next call tries again, and raises what is in the way. So does the
            # loop, which logs it: a child that only listens makes no call.
            with contextlib.suppress(StdeventsError, OSError):
                self._moving.hold(FOREVER, self._take_seat_in_child, away)
        finally:
            self.polling.start_again()

    def _take_seat_in_child(self, away: Away) -> None:
        if self.state is away and away.taken is None:
            self._take_seat(away)

    def _forget_parents(self, seat: Seat | None) -> None:
        if seat is not None:
            seat.abandon()
        self.polling.forked()
        self.handlers.forked()
        codec.forget()

    def defer(self, call: Callable[[], object]) -> None:
        """Have this done when the call ends that was interrupted: it holds the lock, or moves."""
        seat = self.state.seat
        inside = seat.lock if seat is not None and seat.lock.is_inside() else self._moving
        inside.deferred.append(call)

"""What a call waits with, and `wait`: is every live worker done with an event?"""

from __future__ import annotations

import errno
import time

from .._errors import SegmentError, StdeventsError
from .._system.clock import monotonic
from .._system.listener import Listener

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .life import Life
    from .seat import Seat

LIVES_EVERY = 0.1  # seconds after which it is asked again who lives
DEAF_PAUSE = 0.01  # seconds between two looks where the bell cannot be heard


def check_may_wait(life: Life, call: str) -> None:
    """StdeventsError where the call would wait for itself."""
    if life.polling.turn.is_inside():
        raise StdeventsError(
            f"{call}: a handler that calls it waits for its own end; "
            "call it in another thread, or after the handler"
        )
    life.check_not_nested(call)


def check_bus(seat: Seat, epoch: int, meanwhile: str, then: str) -> None:
    """SegmentError unless this is a seat on the bus of that epoch."""
    if seat.epoch != epoch:
        raise SegmentError(
            errno.ENOENT,
            f"bus {seat.name!r}: it was removed while {meanwhile}, and made anew; {then}",
        )


class Waiting:
    """One wait for the workers of one bus to be done with one of its events."""

    def __init__(self, life: Life, event_id: int) -> None:
        """ValueError for an id that was not given."""
        self._life = life
        self._event_id = event_id
        self._epoch: int = life.use(self._check)
        self._ask_at = monotonic() + LIVES_EVERY

    def _check(self, seat: Seat) -> int:
        if not 0 < self._event_id <= seat.table.last:
            raise ValueError(
                f"event_id: {self._event_id} was not given to any event of bus {seat.name!r}; "
                f"the last one is {seat.table.last}"
            )
        return seat.epoch

    def is_over(self) -> bool:
        """Are all done with it? SegmentError where the bus was removed meanwhile; LockTimeout."""
        return self._life.use(self._look)

    def _look(self, seat: Seat) -> bool:
        meanwhile = f"event {self._event_id} was waited for"
        check_bus(seat, self._epoch, meanwhile, "its ids begin at 1")
        now = monotonic()
        ask_who_lives = now >= self._ask_at
        if ask_who_lives:
            self._ask_at = now + LIVES_EVERY
        return not seat.table.behind(self._event_id, ask_who_lives)


class Ear:
    """What a call sleeps with: it hears the bell of the seat that there is."""

    def __init__(self, life: Life) -> None:
        self._life = life
        self._seat: Seat | None = None
        self._listener: Listener | None = None

    def listens(self) -> bool:
        """Has it been listening? If not, it begins now: look once more before you sleep."""
        if self.is_of_now():
            return True
        self.close()
        self._seat = seat = self._life.state.seat
        if seat is not None:
            self._life.polling.ears.add(self)  # before it has files
            try:
                self._listener = Listener(seat.bell)
            except OSError:  # no epoll, or no descriptors are left
                pass
        return self._listener is None

    def is_of_now(self) -> bool:
        """Does it hear the bell of the seat that there is, if it can?"""
        listener = self._listener
        is_intact = listener is None or listener.is_intact()
        return is_intact and self._seat is self._life.state.seat

    def sleep(self, seconds: float) -> None:
        """Until a ring or a `wake`, so long at most, and less where it is deaf."""
        if self._listener is None:
            time.sleep(min(seconds, DEAF_PAUSE))
        else:
            self._listener.wait(seconds)

    def fileno(self) -> int | None:
        """What is readable when there was a ring, until its next sleep; None where it is deaf."""
        return None if self._listener is None else self._listener.fileno()

    def wake(self) -> None:
        """End its sleep, this one or the next; any thread may call it."""
        listener = self._listener
        if listener is not None:
            listener.wake()

    def close(self) -> None:
        """Close its files; the next `listens` opens others."""
        listener, self._listener, self._seat = self._listener, None, None
        if listener is not None:
            listener.close()
        self._life.polling.ears.discard(self)

    def abandon(self) -> None:
        """Close its files in a forked child, where a thread of the parent may use them for ever."""
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.abandon()


def wait(life: Life, event_id: int, timeout: float) -> bool:
    """As `Together.wait`, of checked arguments."""
    deadline = monotonic() + timeout
    check_may_wait(life, "wait")
    waiting, ear = Waiting(life, event_id), Ear(life)
    try:
        return until(life, ear, deadline, waiting.is_over, lambda polls: True)
    finally:
        ear.close()


def until(
    life: Life,
    ear: Ear,
    deadline: float,
    is_over: Callable[[], bool],
    may_sleep: Callable[[bool], bool],
) -> bool:
    """Poll, look, and sleep until the bell rings, until it is over; False if it is not in time.

    `may_sleep` is told whether it is this call that polls.
    """
    while True:
        polls = life.polling.poll_for_call()
        if is_over():
            return True
        left = deadline - monotonic()
        if left <= 0:
            return False
        if ear.listens() and may_sleep(polls):
            ear.sleep(min(left, LIVES_EVERY))

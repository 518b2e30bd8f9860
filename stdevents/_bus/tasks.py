"""Tasks: what handlers have begun, and go on with after they have returned."""

from __future__ import annotations

import threading
from collections import OrderedDict

from .states import Arriving

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .life import Life


class Tasks:
    """Which events have tasks that are not done, in this process. Any thread may call these."""

    def __init__(self) -> None:
        #: may there be some at all? A worker says so in its slot
        self.expected = False
        self.forget()

    def forget(self) -> None:
        """In a forked child: they are the parent's, and so may be who changes them."""
        # Without the GIL threads would spoil an OrderedDict. A signal handler may end one in here.
        self._changing = threading.RLock()
        self._events: OrderedDict[object, int] = OrderedDict()  # by task; the oldest event first

    def clear(self) -> None:
        """For a worker of another bus: their events are none of that, whose ids begin anew."""
        with self._changing:
            self._events.clear()

    def begin(self, task: object, event_id: int) -> None:
        """A handler of the event, which has not returned yet, has begun this."""
        with self._changing:
            self._events[task] = event_id

    def end(self, task: object) -> bool:
        """It is done; was it there?"""
        with self._changing:
            return self._events.pop(task, None) is not None

    def done_through(self, finished: int) -> int:
        """The id up to which all is done, where handlers have returned up to `finished`.

        That was read before: a task begins before its handler returns.
        """
        with self._changing:
            while self._events:
                try:
                    return min(finished, next(iter(self._events.values())) - 1)
                except (RuntimeError, StopIteration):  # a signal handler has just changed them
                    pass
        return finished


def expect(life: Life) -> None:
    """Have others know that handlers of this worker may go on after they have returned."""
    life.handlers.tasks.expected = True
    state = life.state
    seat = state.taken if isinstance(state, Arriving) else state.seat
    if seat is not None and seat.delivery is not None and seat.mark.word[0]:
        seat.delivery.standing.expect_tasks()


def begin(life: Life, task: object) -> None:
    """In a handler: its event is done only after `end(life, task)`; not where it has no id."""
    seat = life.state.seat
    if seat is not None and seat.is_in_handler():
        life.handlers.tasks.begin(task, seat.progress.position)


def end(life: Life, task: object) -> None:
    """What a handler has begun is done; in any thread."""
    seat = life.state.seat
    if not life.handlers.tasks.end(task) or seat is None or seat.delivery is None:
        return
    if not seat.delivery.ended and seat.mark.word[0]:  # else the slot is not ours any more
        seat.delivery.standing.end_task()

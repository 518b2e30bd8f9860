"""Tasks: what handlers have begun, and go on with after they have returned."""

from __future__ import annotations

from collections import OrderedDict


class Tasks:
    """Which events have tasks that are not done, in this process. Any thread may call these."""

    def __init__(self) -> None:
        #: may there be some at all? A worker says so in its slot
        self.expected = False
        self._events: OrderedDict[object, int] = OrderedDict()  # by task; the oldest event first

    def forget(self) -> None:
        """In a forked child: they are the parent's."""
        self._events = OrderedDict()

    def begin(self, task: object, event_id: int) -> None:
        """A handler of the event, which has not returned yet, has begun this."""
        self._events[task] = event_id

    def end(self, task: object) -> bool:
        """It is done; was it there?"""
        return self._events.pop(task, None) is not None

    def done_through(self, finished: int) -> int:
        """The id up to which all is done, where handlers have returned up to `finished`.

        That was read before: a task begins before its handler returns.
        """
        events = self._events
        while events:
            try:
                return min(finished, next(iter(events.values())) - 1)
            except (RuntimeError, StopIteration):  # another thread has just changed them
                pass
        return finished

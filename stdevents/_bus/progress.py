"""How far a worker has come, and what it keeps when its process gets another seat, or forks."""

from __future__ import annotations

import threading
from collections import deque

from .._table.read import UNKNOWN, Run

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


class Progress:
    """How far a worker has come; its process keeps it when it gets another seat on the bus."""

    def __init__(self, position: int) -> None:
        #: whose it is: the same object on the next bus, another one after a close, or in a fork
        self.worker = object()
        #: of the worker, on one bus, whatever seats it takes there: 0 before the first one; and the
        #: event that it joined after
        self.serial, self.joined = 0, position
        #: id of the event that was taken last
        self.position = position
        #: id up to which handlers have returned, or were cut off: `position`, but while they run
        self.finished = position
        #: an event with `unique` that this process claimed last
        self.claimed = 0
        #: what was copied last: `position` is in it, at its end, or in front of what it has lost
        self.run = Run(position, position, UNKNOWN, 0)
        #: events that were overwritten, left to another worker, or had no handler here; counted
        #: before `position` goes beyond them
        self.lost = self.ignored = self.unhandled = 0
        #: of this process; and what it knows of them is `handled`
        self.local: deque[tuple[str, str, Any]] = deque()
        #: the bus before this one was removed, which handlers do not know yet
        self.was_removed = False
        self._uncounted = position
        self._looking = threading.RLock()
        self._told = [0]

    @property
    def handled(self) -> int:
        """Events that were taken, and are none of the other counts; for any thread.

        The position is read before the counts, which are raised before it: so this may be too low
        while another thread polls, and never too high. No less is told than before: who adds up
        the growth of a counter takes a fall for a new beginning.
        """
        with self._looking:
            now = self.position - self._uncounted - self.lost - self.ignored - self.unhandled
            # Not by `max`: a signal handler that looks in between may have told more.
            self._told.append(now)
            self._told.sort()
            del self._told[:-1]
            return self._told[-1]

    def leave_out(self) -> None:
        """The event that is taken next is none of this worker's: it is not `handled`."""
        self._uncounted += 1

    def begin(self, run: Run) -> None:
        """Go on from the end of a run."""
        before = self.position - self._uncounted
        self.run = run
        self.position = self.finished = run.through
        self._uncounted = run.through - before

    def on_another_bus(self, run: Run) -> Progress:
        """The one that goes on with what is new there, after a run that is empty.

        It is another one: a thread may be in a handler of the old bus, and go on by the old one.
        """
        new = Progress(0)
        vars(new).update(vars(self))
        new.begin(run)
        new.serial, new.joined = 0, run.through
        new.was_removed = True
        return new

    def forked(self, by_handler: bool) -> Progress:
        """For a forked child: nothing local, all counts at 0.

        An event whose handlers were running in another thread begins again: the child has a half
        changed copy of what they do. Not if it was forked `by_handler`, one that the forking thread
        is in; and never an event with `unique`.
        """
        again = not (by_handler or self.position == self.claimed)
        child = Progress(self.finished if again else self.position)
        child.run = self.run
        return child

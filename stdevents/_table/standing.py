"""What a worker says of its progress in its own slot, without the lock; who is woken by that."""

from __future__ import annotations

from .._system import fence as _fence
from .layout import AWAITED, WORKER_DONE, WORKER_POSITION, WORKER_TASKS
from .workers import at, store_counts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable


class Standing:
    """The slot of this process's worker.

    `ring` wakes all sleepers of the bus. `done_through` tells the id of the event up to which all
    is done, where handlers may go on after they have returned.
    """

    def __init__(
        self,
        words: memoryview,
        slot: int,
        ring: Callable[[], None],
        done_through: Callable[[], int],
    ) -> None:
        self._words = words
        self._slot = slot
        self._counted = 0  # the sum of the counts that it told last, each of which only grows
        self._ring = ring
        self._done_through = done_through
        #: the index of the word with the id of the event that was taken last
        self.position_at = at(slot) + WORKER_POSITION
        self._done_at = at(slot) + WORKER_DONE
        self._tasks_at = at(slot) + WORKER_TASKS
        # DONE when it last went to sleep: whoever waits for an event up to it has seen that.
        self._checked = done_through()
        self._told = 0  # the AWAITED for which it rang last: once is enough

    def end_run(self, position: int, unhandled: int = 0, lost: int = 0) -> None:
        """The handlers of the events up to `position` have returned; of so many there was none."""
        if unhandled + lost != self._counted:
            self._counted = unhandled + lost
            store_counts(self._words, self._slot, unhandled, lost)
        if not self._words[self._tasks_at]:
            self.store_done(position)
        else:
            self._store_done_through()

    def expect_tasks(self) -> None:
        """Handlers may go on after they have returned, from now on."""
        self._words[self._tasks_at] = 1

    def end_task(self) -> None:
        """What a handler went on with after it had returned is done, in any thread."""
        self._store_done_through()
        _fence.fence()  # as before a sleep: nobody looks once more
        self.check_before_sleep()

    def _store_done_through(self) -> None:
        # Another thread may do so, too, and store less after this, or more before: who stores last
        # looks last.
        done = -1
        while done != self._done_through():
            done = self._done_through()
            self.store_done(done)

    def store_done(self, event_id: int) -> None:
        """All handlers of the events up to this one are done, tasks too."""
        self._words[self._done_at] = event_id
        if self._words[AWAITED] > self._checked:
            self._tell(event_id)

    def check_before_sleep(self) -> None:
        """Look once more who waits for what is done; after a fence.

        Without it the store of DONE could become visible only after AWAITED was looked at.
        """
        done = self._words[self._done_at]
        if self._words[AWAITED] > self._checked:
            self._tell(done)
        self._checked = done

    def _tell(self, done: int) -> None:
        """Wake who waits for an event that is done here by now."""
        awaited = self._words[AWAITED]
        if awaited <= done and awaited != self._told:
            self._told = awaited
            self._ring()

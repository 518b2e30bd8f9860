"""Room: with `overflow="wait"` a post overwrites nothing that a live worker has still to take.

ROOM_ID and ROOM_POSITION say up to where the slowest worker, at the last look, lets posters go; a
post within them looks at no worker.
"""

from __future__ import annotations

from .._errors import NoRoom
from .layout import EVENT_END, ROOM_ID, ROOM_POSITION, WORKER_PID, WORKER_POSITION
from .workers import at, end, positions

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .layout import Layout


class Room:
    """The room of one bus; all methods but `has_moved` are called under its lock."""

    def __init__(
        self, name: str, words: memoryview, layout: Layout, lives: Callable[[int], bool]
    ) -> None:
        self._name = name
        self._words = words
        self._layout = layout
        self._lives = lives

    def make(self, last: int, through: int, start: int, stop: int) -> None:
        """NoRoom, unless all live workers have taken what is to be overwritten.

        By the events after `last` up to `through`, in the ring from `start` up to `stop`.
        """
        words, size = self._words, self._layout.size
        # A worker needs the slot of the event that it took last, where the next one begins.
        most = self._layout.events - 1
        workers = positions(words)
        slow = [
            worker
            for worker in workers
            if through > worker[0] + most or stop > self._end_of(worker[0], last, start) + size
        ]
        # Only up to the first that lives: where many posts wait, each of them does this.
        while slow and not self._lives(slow[0][1]):
            end(words, slow[0][1])
            workers.remove(slow.pop(0))
        if slow:
            taken, _, pid = slow[0]
            raise NoRoom(
                f"bus {self._name!r}: no room for {stop - start} bytes, in {through - last} of "
                f"its {most} slots, until worker {pid}, "
                f"which is {last - taken} events behind, has taken more; "
                "configure a larger size, or have it poll more often",
                pid,
                last - taken,
                tuple([pid for _, _, pid in slow]),
                tuple([slot for _, slot, _ in slow]),
                taken,
            )
        taken = min([last, *[taken for taken, _, _ in workers]])
        words[ROOM_ID] = taken + most
        words[ROOM_POSITION] = self._end_of(taken, last, start) + size

    def has_moved(self, full: NoRoom) -> bool:
        """Has the slowest worker taken more, or left? Without the lock."""
        first = at(full.slots[0])
        return bool(
            self._words[first + WORKER_POSITION] != full.position
            or self._words[first + WORKER_PID] != full.pid
        )

    def _end_of(self, taken: int, last: int, start: int) -> int:
        """Where the event after `taken` begins; the one after `last` will at `start`."""
        if taken >= last:
            return start
        end_of: int = self._words[self._layout.slot_of(taken) + EVENT_END]
        return end_of

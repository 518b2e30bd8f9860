"""The log of a bus as a poster reads it that asks: for the answers, since it handles no events."""

from __future__ import annotations

import json

from .._system import fence as _fence
from .._table.layout import WAITING
from . import codec
from .delivery import events

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._table.read import Run
    from .seat import Seat


class Log:
    """The log of the bus from a question on."""

    def __init__(self, seat: Seat, event_id: int) -> None:
        self._run = seat.table.run_at(event_id)

    @property
    def through(self) -> int:
        """The id up to which all was read."""
        return self._run.through

    def read(self, seat: Seat, hear: Callable[[Any], None]) -> None:
        """Hand over the data of the answers among what is new."""
        while seat.table.last > self._run.through:
            self._run = run = seat.table.read(self._run)
            for parts in self._events(seat, run) if run.text else ():
                if parts[1:3] == [events._source, events.answered]:
                    hear(parts[3])

    @staticmethod
    def _events(seat: Seat, run: Run) -> list[list[Any]]:
        """The parts of the events of a run; without those that are none of ours."""
        try:
            records = json.loads(run.text)
            if len(records) == run.through - run.before and all(map(codec.is_event, records)):
                return list(records)
        except (ValueError, RecursionError):
            pass
        found = []
        for record in seat.table.reader.cut(run):  # one by one: some of them may be sound
            try:
                found.append(codec.decode(record or b""))
            except (ValueError, RecursionError):
                continue
        return found

    def may_sleep(self, seat: Seat) -> bool:
        """Ask the next post to wake us; False if there is something new already."""
        seat.mark.check()
        seat.words[WAITING] = 1  # W1
        _fence.fence()
        return seat.table.last == self._run.through  # W2

"""The log of a bus as it is read by who handles no events: a poster that asks, and onlookers."""

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
    from .._table.table import Table
    from .seat import Seat


def events_of(table: Table, run: Run) -> list[list[Any] | None]:
    """The parts of each event of a run; None for what is none of ours, or was overwritten since."""
    if not run.text:
        return []
    try:
        events = json.loads(run.text)
        if len(events) == run.through - run.before and all(map(codec.is_event, events)):
            return list(events)
    except (ValueError, RecursionError):
        pass
    # Where one of them is not ours, the text does not tell where each begins; the slots do.
    return [parts_of(record or b"") for record in table.reader.cut(run)]


def parts_of(record: bytes) -> list[Any] | None:
    """Pid, source, event, data and what else an event has; None if it is not JSON of ours."""
    try:
        return codec.decode(record)
    except (ValueError, RecursionError):
        return None


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
            for parts in events_of(seat.table, run):
                if parts is not None and parts[1:3] == [events._source, events.answered]:
                    hear(parts[3])

    def may_sleep(self, seat: Seat) -> bool:
        """Ask the next post to wake us; False if there is something new already."""
        seat.mark.check()
        seat.words[WAITING] = 1  # W1
        _fence.fence()
        return seat.table.last == self._run.through  # W2

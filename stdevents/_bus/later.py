"""A post that interrupted a call which changes seats: that call publishes it when it ends."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable

    from .._table.table import Later, Table
    from .life import Life
    from .seat import Seat


class PostLater:
    """Publishes it when it is called; once, however often that is, and on whichever seat."""

    def __init__(self, life: Life, encode: Callable[[], tuple[bytes, ...]]) -> None:
        self._life = life
        self._encode = encode
        self._tried: dict[Table, Later] = {}

    def __call__(self) -> None:
        """As `Table.append`, where no room is waited for."""
        self._life.use(self._append)

    def _append(self, seat: Seat) -> None:
        table = seat.table
        later = self._tried.setdefault(table, table.later(self._encode()))
        if not any(one.is_done for one in self._tried.copy().values()):
            later()

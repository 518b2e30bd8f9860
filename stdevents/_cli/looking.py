"""A bus at one instant, as `status` and its figures for Prometheus tell of it."""

from __future__ import annotations

import json
from typing import Any, NamedTuple

from .outside import OpenBus
from .processes import command_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outside import Worker


class Relayed(NamedTuple):
    """How far the bus is in the stream of a relay."""

    stream: str  # "" where that is not known
    position: str | None  # None: it has not begun
    lag: int | None  # entries that came after that, at the last look; None: unknown
    reader: int | None  # pid; None: nobody reads
    away_since: int | None  # seconds since the epoch; None: Redis answers


class Row(NamedTuple):
    """One live worker."""

    pid: int
    slot: int
    position: int
    lag: int
    since: int
    behind: float  # the share of the ring that it has to read
    losing: int  # events that may be overwritten before it comes to them, or are so already
    lost: int  # those that it has been told of
    unhandled: int
    command: str  # "" where that is not known
    role: str = "worker"


class Status(NamedTuple):
    """A bus at one instant."""

    name: str
    epoch: int
    overflow: str
    size: int
    used: int  # bytes of the ring in events that can still be read
    event_slots: int
    events: int  # how many can still be read
    last_id: int
    workers: list[Row]
    relay: Relayed | None = None  # None: there was none

    @property
    def losing(self) -> int:
        """How many workers are losing events."""
        return sum(worker.losing > 0 for worker in self.workers)

    @property
    def listeners(self) -> int:
        """How many of the workers take no events with `unique`."""
        return sum(worker.role == "listener" for worker in self.workers)

    @property
    def lost(self) -> int:
        """How many events the live workers have lost in all."""
        return sum(worker.lost for worker in self.workers)

    def as_json(self) -> str:
        fields: dict[str, Any] = self._asdict()
        # In hex, since many readers of JSON cannot hold 64 bits.
        fields["epoch"] = f"{self.epoch:016x}"
        fields["workers"] = [
            {**worker._asdict(), "behind": round(worker.behind, 4)} for worker in self.workers
        ]
        fields["relay"] = self.relay and self.relay._asdict()
        return json.dumps(fields)


def look(bus: OpenBus) -> Status:
    """The state of the bus; taken under its lock, so that all of it is of one instant."""
    state = bus.exclusively(_look, bus)
    # Not under the lock: nothing of it changes meanwhile, and posts need not wait for it.
    rows = [row._replace(command=command_of(row.pid)) for row in state.workers]
    return state._replace(workers=rows)


def _look(bus: OpenBus) -> Status:
    last, before = bus.last, bus.before_oldest()
    return Status(
        name=bus.name,
        epoch=bus.epoch,
        overflow=bus.overflow,
        size=bus.size,
        used=bus.bytes_after(before),
        event_slots=bus.event_slots,
        events=last - before,
        last_id=last,
        workers=[_row(bus, worker, before) for worker in bus.workers()],
        relay=_relay(bus),
    )


def _relay(bus: OpenBus) -> Relayed | None:
    standing = bus.standing()
    if standing is None:
        return None
    stream, (position, behind, reader, away) = standing
    return Relayed(stream, position and str(position), behind, reader or None, away or None)


def _row(bus: OpenBus, worker: Worker, before: int) -> Row:
    losing = max(0, before - worker.position)
    if losing:
        behind = 1.0
    else:  # of the bytes, or of the slots
        share = bus.bytes_after(worker.position) / bus.size
        behind = max(share, worker.lag / bus.event_slots)
    return Row(
        *worker[:5],
        behind=behind,
        losing=losing,
        lost=worker.lost,
        unhandled=worker.unhandled,
        command="",
        role=worker.role,
    )

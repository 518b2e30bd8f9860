"""A bus seen from outside: found by its name, looked at or posted to without a worker's slot.

All that the commands know of the rooms below the public interface is here, but for the bytes
that `check` walks.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec as _codec
from .._bus import segment as _segment
from .._bus.settings import OVERFLOWS, check_name
from .._errors import LockTimeout, NoRoom, StdeventsError
from .._names import PACKAGE
from .._system.folder import names
from .._table import workers as _workers
from .._table.layout import (
    EVENT_LENGTH,
    EVENT_POSITION,
    HEADER_EPOCH,
    HEADER_OVERFLOW,
    LAST,
    Layout,
)
from .._table.table import Table

if TYPE_CHECKING:
    from typing import Any, Callable, TypeVar

    from .._table.table import Event, Record

    T = TypeVar("T")

#: what there is of a bus, in use or left behind: its folder, its shared memory
remains_of = _segment.traces
#: remove what is left of a bus unless a live worker has it open; was it removed?
remove = _segment.clean


class NoSuchBus(StdeventsError, LookupError):
    """No live worker has a bus of that name open; the message says which buses there are."""


class OpenBus:
    """A bus that some worker has open, and that is open here without a worker's slot."""

    def __init__(self, name: str) -> None:
        """FileNotFoundError if no live worker has it open."""
        self._segment = segment = _segment.attach(name)
        self._table = Table(segment)
        self._words = segment.words
        self._layout = segment.layout
        self.name = name
        self.epoch: int = segment.words[HEADER_EPOCH]
        self.overflow = OVERFLOWS[segment.words[HEADER_OVERFLOW]]
        self.size = segment.layout.size
        self.event_slots = segment.layout.events

    def close(self) -> None:
        self._segment.close()

    @property
    def last(self) -> int:
        """The id of the last published event; 0: there was none yet."""
        return self._words[LAST]

    def before_oldest(self) -> int:
        """The position from which `read` gives all events that are still there."""
        return self._table.before_oldest()

    def read(self, position: int) -> tuple[int, list[Record]]:
        """Some of the events after `position`, and the id up to which these are all there are.

        An id up to that one which no record has is lost.
        """
        return self._table.read(position)

    def append(self, record: Event) -> int:
        """Publish an event, and return its id; waits for room if that is what the bus does."""
        try:
            return self._table.append((record,))
        except NoRoom as full:
            return self._table.append_when_there_is_room((record,), full)

    def exclusively(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work under the lock of the bus; LockTimeout."""
        return self._table.exclusively(work, *arguments)

    # -- under the lock ----------------------------------------------------------------------------

    def workers(self) -> list[tuple[int, ...]]:
        """The live workers, by slot: the fields of a `WorkerInfo` of each."""
        return _workers.live_workers(self._segment.folder, self._words, self.last)

    def bytes_after(self, position: int) -> int:
        """How many bytes of the ring the events after `position` take, which are all there."""
        if position >= self.last:
            return 0
        start = self._words[self._layout.slot_of(position + 1) + EVENT_POSITION]
        return end_of(self._words, self._layout, self.last) - start

    def copy(self) -> Copy:
        segment = self._segment
        return Copy(
            layout=segment.layout,
            words=memoryview(bytes(segment.bytes)).cast("Q"),
            ring=bytes(segment.ring),
            held=frozenset(_workers.live_slots(segment.folder, None)),
            now=time.monotonic_ns(),
        )


class Copy(NamedTuple):
    """The bytes of a bus at one instant."""

    layout: Layout
    words: memoryview  # of header and slots
    ring: bytes
    held: frozenset[int]  # the worker slots whose file a live process has locked
    now: int  # nanoseconds of CLOCK_MONOTONIC


def end_of(words: memoryview, layout: Layout, event_id: int) -> int:
    """Where in the ring the event ends, which must still be in its slot; 0 before the first."""
    if not event_id:
        return 0
    slot = layout.slot_of(event_id)
    end: int = words[slot + EVENT_POSITION] + words[slot + EVENT_LENGTH]
    return end


def parts_of(payload: bytes) -> list[Any] | None:
    """Source, event, data and what else an event has; None if it is not JSON of ours."""
    try:
        return _codec.decode(payload)
    except (ValueError, RecursionError):
        return None


# -- by name ---------------------------------------------------------------------------------------


def find(name: str) -> OpenBus:
    """Open the bus to look at it or to post; NoSuchBus if no live worker has it open."""
    try:
        return OpenBus(check_name(name))
    except FileNotFoundError:
        raise NoSuchBus(unknown(name)) from None


def current(name: str, bus: OpenBus | None) -> OpenBus | None:
    """The bus as it is now: still `bus`, or another that was made since, or none."""
    try:
        found = OpenBus(name)
    except FileNotFoundError:
        return None
    except LockTimeout:
        return bus  # one that is locked lives
    if bus is not None and found.epoch == bus.epoch:
        found.close()
        return bus
    return found


def post(name: str, source: str, event: str, data: Any, unique: str | None) -> int:
    """Post an event, waiting for room if the bus does so; returns its id.

    EncodeError, NoSuchBus, PayloadTooLarge, NoRoom, LockTimeout.
    """
    record = _codec.encode(source, event, data, unique)
    bus = find(name)
    try:
        return bus.append(record)
    finally:
        bus.close()


def unknown(name: str) -> str:
    """The message where there is no bus `name`; it lists those that there are."""
    buses = known()
    if not buses.pop(name, True):
        return (
            f"no live worker has bus {name!r} open; remove what killed ones left: "
            f"python -m {PACKAGE} clean {name}"
        )
    if not buses:
        return (
            f"there is no bus {name!r}, nor any other of this user; a worker makes it by "
            f"configure({name!r}), and those of another user are seen by that user only: "
            f"sudo -u USER python -m {PACKAGE} status"
        )
    listed = ", ".join(bus if alive else f"{bus} (stale)" for bus, alive in buses.items())
    return f"there is no bus {name!r} of this user; there are: {listed}"


def known() -> dict[str, bool]:
    """The buses of this user, and of each whether a live worker has it open."""
    buses = {}
    for name in names():
        try:
            OpenBus(name).close()
            buses[name] = True
        except FileNotFoundError:
            buses[name] = False
        except StdeventsError:  # locked for long, or damaged: some worker has it open
            buses[name] = True
    return buses

"""A bus seen from outside: found by its name, looked at or posted to without a worker's slot."""

from __future__ import annotations

from .._bus.segment import Segment, attach
from .._bus.settings import check_name
from .._errors import LockTimeout, StdeventsError
from .._names import PACKAGE
from .._system.folder import names
from .._table.layout import EVENT_LENGTH, EVENT_POSITION, HEADER_EPOCH

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .check import Copy


class NoSuchBus(StdeventsError, LookupError):
    """No live worker has a bus of that name open; the message says which buses there are."""


def find(name: str) -> Segment:
    """Open the bus to look at it or to post; NoSuchBus if no live worker has it open."""
    try:
        return attach(check_name(name))
    except FileNotFoundError:
        raise NoSuchBus(unknown(name)) from None


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
            attach(name).close()
            buses[name] = True
        except FileNotFoundError:
            buses[name] = False
        except StdeventsError:  # locked for long, or damaged: some worker has it open
            buses[name] = True
    return buses


def current(name: str, segment: Segment | None) -> Segment | None:
    """The bus as it is now: still `segment`, or another that was made since, or none."""
    try:
        found = attach(name)
    except FileNotFoundError:
        return None
    except LockTimeout:
        return segment  # one that is locked lives
    if segment is not None and found.words[HEADER_EPOCH] == segment.words[HEADER_EPOCH]:
        found.close()
        return segment
    return found


def position_of(bus: Segment | Copy, event_id: int) -> int:
    """Where in the ring the event `event_id` begins, which must still be in its slot."""
    return bus.words[bus.layout.slot_of(event_id) + EVENT_POSITION]


def end_of(bus: Segment | Copy, event_id: int) -> int:
    """Where in the ring the event `event_id` ends; 0 before the first one."""
    if not event_id:
        return 0
    slot = bus.layout.slot_of(event_id)
    return bus.words[slot + EVENT_POSITION] + bus.words[slot + EVENT_LENGTH]

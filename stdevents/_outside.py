"""A bus seen from outside: found by its name, looked at or posted to without a worker's slot."""

from __future__ import annotations

from . import _segment, _settings
from ._errors import LockTimeout, StdeventsError
from ._folder import names
from ._layout import EVENT_LENGTH, EVENT_POSITION, EVENT_WORDS, HEADER_EPOCH, HEADER_OVERFLOW
from ._segment import OVERFLOWS, Segment
from ._settings import Settings, check_name

SETTINGS = {
    "wait_interval": _settings.WAIT_INTERVAL,
    "wait_max": _settings.WAIT_MAX,
    "shm_retries": _settings.SHM_RETRIES,
    "overflow": _settings.OVERFLOW,
}


class NoSuchBus(StdeventsError, LookupError):
    """No live worker has a bus of that name open; the message says which buses there are."""


def find(name: str) -> Segment:
    """Open the bus to look at it or to post; NoSuchBus if no live worker has it open."""
    try:
        return attach(check_name(name))
    except FileNotFoundError:
        raise NoSuchBus(unknown(name)) from None


def attach(name: str) -> Segment:
    """The same; FileNotFoundError if no live worker has it open."""
    segment = _segment.attach(name, Settings(SETTINGS))
    segment.settings.overflow = OVERFLOWS[segment.words[HEADER_OVERFLOW]]
    return segment


def unknown(name: str) -> str:
    """What to say where there is no bus `name`: that, and which there are."""
    buses = known()
    if not buses.pop(name, True):
        return f"no live worker has bus {name!r} open; what is there is left over: see clean"
    if not buses:
        return f"there is no bus {name!r}, nor any other of this user"
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
        except StdeventsError:  # locked for long, or damaged: somebody has it open
            buses[name] = True
    return buses


def current(name: str, segment: Segment | None) -> Segment | None:
    """The bus as it is now: `segment` still, or another that was made since, or none."""
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


def slot_of(segment: Segment, number: int) -> int:
    """Where the slot of the event `number` is, in words."""
    return segment.layout.events_at + EVENT_WORDS * (number % segment.layout.events)


def position_of(segment: Segment, number: int) -> int:
    """Where in the ring the event `number` begins, which is in its slot still."""
    position: int = segment.words[slot_of(segment, number) + EVENT_POSITION]
    return position


def end_of(segment: Segment, number: int) -> int:
    """Where in the ring the event `number` ends; 0 before the first one."""
    if not number:
        return 0
    length: int = segment.words[slot_of(segment, number) + EVENT_LENGTH]
    return position_of(segment, number) + length

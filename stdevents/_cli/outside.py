"""A bus seen from outside: found by its name, looked at or posted to without a worker's slot.

All that the commands know of the rooms below the public interface is here, but for the bytes
that `check` walks.
"""

from __future__ import annotations

import json
import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

from .._bus import codec as _codec
from .._bus import joining as _joining
from .._bus.bus import Bus
from .._bus.overhearing import events_of
from .._bus.settings import check_name
from .._errors import EncodeError, LockTimeout, NoRoom, StdeventsError
from .._system import presence as _presence
from .._table import workers as _workers
from .._table.header import OVERFLOWS
from .._table.layout import COMPANION, HEADER_OVERFLOW, WORKERS, Layout
from .._table.read import Run
from .buses import names, names_by_user
from .terminal import PROGRAM

if TYPE_CHECKING:
    from typing import Any, Callable, List, Optional, Tuple, TypeVar

    from .._relay.onlooker import Standing
    from .._types import Answer

    T = TypeVar("T")
    # Id and parts of an event; None for parts that are not of ours.
    Event = Tuple[int, Optional[List[Any]]]

#: remove what is left of a bus unless a live worker has it open; was it removed?
remove = _joining.clean


EXISTS = "it exists while a worker has it open"

#: the place from which all that a bus ever had follows
NOWHERE = Run(0, 0, 0, 0)


class NoSuchBus(StdeventsError, LookupError):
    """No live worker has a bus of that name open; the message says which buses there are."""


class Worker(NamedTuple):
    """A live worker, as it is seen from outside."""

    pid: int
    slot: int
    position: int
    lag: int
    since: int
    serial: int
    done: int  # id of the event up to which its handlers have returned
    unhandled: int  # how many events it had no handler for
    lost: int  # how many it has been told that it lost
    role: str


class OpenBus:
    """A bus that some worker has open, and that is open here without a worker's slot."""

    def __init__(self, name: str) -> None:
        """FileNotFoundError if no live worker has it open."""
        self._seat = seat = _joining.visit(name)
        self._table = seat.table
        self._layout = seat.table.layout
        self.name = name
        self.epoch = seat.epoch
        self.overflow = OVERFLOWS[seat.words[HEADER_OVERFLOW]]
        self.size = self._layout.size
        self.event_slots = self._layout.events

    def close(self) -> None:
        self._seat.close()

    @property
    def last(self) -> int:
        """The id of the last published event; 0: there was none yet."""
        return self._table.last

    def place_at(self, event_id: int) -> Run:
        """The place from which `read` gives what follows the event."""
        return Run(event_id, *self._table.reader.place(event_id))

    def oldest_place(self) -> Run:
        """The place from which `read` gives all events that are still there."""
        return self.exclusively(lambda: self.place_at(self.before_oldest()))

    def read(self, place: Run) -> tuple[Run, list[Event]]:
        """Some of the events after a place, and the place up to which these are all there are.

        An id up to that one which none of them has is lost. There has to be something new.
        """
        run = self._table.read(place)
        return run, list(enumerate(events_of(self._table, run), run.before + 1))

    def slots(self) -> list[Worker]:
        """What workers say of themselves, by slot; also those that were killed."""
        words, last = self._seat.words, self.last
        found = []
        for slot, pid, serial, since, role, position, done, _ in _workers.table(words):
            lag, counts = max(0, last - position), _workers.counts_of(words, slot)
            called = "listener" if role else "worker"
            found.append(Worker(pid, slot, position, lag, since, serial, done, *counts, called))
        return found

    def append(self, record: bytes) -> int:
        """Publish an event, and return its id; waits for room if that is what the bus does."""
        settings = self._seat.settings
        try:
            return self._table.append((record,))
        except NoRoom as full:
            tries, pause = settings.shm_retries, settings.wait_interval
            return self._table.append_when_there_is_room((record,), full, None, tries, pause)

    def exclusively(self, work: Callable[..., T], *arguments: Any) -> T:
        """Do some work under the lock of the bus; LockTimeout."""
        return self._seat.lock.hold(work, *arguments)

    # -- under the lock ----------------------------------------------------------------------------

    def workers(self) -> list[Worker]:
        """The live workers, by slot."""
        live = self._live_slots()
        return [worker for worker in self.slots() if worker.slot in live]

    def standing(self) -> tuple[str, Standing] | None:
        """The stream that a relay reads to this bus, and how far it is; None: there is none."""
        if not self._seat.words[COMPANION]:
            return None
        from .._relay import onlooker  # not before there is one

        return onlooker.name_in(self._seat.folder), onlooker.standing_of(self._seat.words)

    def before_oldest(self) -> int:
        """The id after which all events are still there."""
        return self._table.reader.oldest()[0]

    def bytes_after(self, position: int) -> int:
        """How many bytes of the ring the events after `position` take, which are all there."""
        place = self._table.reader.place
        return place(self.last)[1] - place(position)[1] if position < self.last else 0

    def copy(self) -> Copy:
        words, ring = self._table.views
        return Copy(
            layout=self._layout,
            words=memoryview(words.tobytes()).cast("Q"),
            ring=ring.tobytes(),
            held=self._live_slots(),
            now=time.monotonic_ns(),
        )

    def _live_slots(self) -> frozenset[int]:
        return frozenset(_presence.live_slots(self._seat.folder, WORKERS)[0])


class Copy(NamedTuple):
    """The bytes of a bus at one instant."""

    layout: Layout
    words: memoryview  # of header and slots
    ring: bytes
    held: frozenset[int]  # the worker slots whose file a live process has locked
    now: int  # nanoseconds of CLOCK_MONOTONIC


# -- by name ---------------------------------------------------------------------------------------


def find(name: str) -> OpenBus:
    """Open the bus to look at it or to post; NoSuchBus if no live worker has it open."""
    try:
        return OpenBus(check_name(name))
    except FileNotFoundError:
        raise NoSuchBus(unknown(name)) from None


def find_or_none(name: str) -> OpenBus | None:
    """Open the bus to look at it; None if no live worker has it open."""
    try:
        return OpenBus(check_name(name))
    except FileNotFoundError:
        return None


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


def ask(name: str, source: str, event: str, data: Any, timeout: float) -> dict[int, Answer]:
    """Ask the workers of a bus, as a poster; what `Bus.ask` returns, and raises; NoSuchBus."""
    find(name).close()
    with Bus(name, role="poster") as bus:
        return bus.ask(source, event, data, timeout)


def data_of(text: str) -> Any:
    """The data that an argument gives as JSON, or standard input for `-`; EncodeError."""
    try:
        return json.loads(sys.stdin.read() if text == "-" else text)
    except (ValueError, RecursionError) as error:
        where = "what standard input has" if text == "-" else f"{text[:60]!r}"
        raise EncodeError(f"{where} is not JSON: {error}; a string needs its quotes") from None


def unknown(name: str, then: str = "") -> str:
    """The message where there is no bus `name`; it lists those that there are.

    `then`: what is done about it here, instead of what else there is to do.
    """
    buses = known()
    if not buses.pop(name, True):
        what = then or f"remove what killed ones left: {PROGRAM} clean {name}"
        return f"no live worker has bus {name!r} open; {what}"
    there = [bus if alive else f"{bus} (stale)" for bus, alive in buses.items()]
    said = [f"no bus {name!r}: {EXISTS}", then]
    if there:
        said.append(f"there are: {', '.join(there)}")
    others = of_others()
    if not (there or others):
        said.append(f"other users' buses: sudo -u USER {PROGRAM} status")
    return "; ".join(filter(None, [*said, *others]))


def of_others() -> list[str]:
    """A line for each other user who has buses here: only that user can look into them."""
    import pwd

    found = []
    for user, buses in names_by_user().items():
        if user == os.geteuid():
            continue
        try:
            called = pwd.getpwuid(user).pw_name
        except KeyError:
            called = f"#{user}"
        found.append(f"{len(buses)} of user {called}: {', '.join(buses)}")
    return found


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

"""What `stats`, `workers` and `origin` return: named tuples, made without typing.

Importing typing takes a third of the memory that a worker needs for all else of this package. So
its modules import types only if TYPE_CHECKING: type checkers take a variable of this name for true,
whatever its value.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, NamedTuple
else:
    from collections import namedtuple

    class ByItsFields(type):
        """Makes a named tuple of a class that lists its fields."""

        def __new__(cls, name, bases, body):
            if not bases:
                return super().__new__(cls, name, bases, body)
            made = namedtuple(name, body["__annotations__"], module=body["__module__"])
            made.__doc__ = body["__doc__"]
            return made

    class NamedTuple(metaclass=ByItsFields):
        """As that of typing, as far as it is used here."""


class Origin(NamedTuple):
    """Where an event that a relay brought comes from.

    `host`: as its relay calls it; the `pid` that the handler gets is one of that host.
    `entry`: the id of its entry in the stream.
    """

    host: str
    entry: str


class Stats(NamedTuple):
    """What `stats()` returns: counts of one bus in this process, since it was opened or forked.

    `posted`: events that this process posted. `handled`: broadcast events that its handlers were
    called for, and those of the bus itself, such as `started`, even without a handler. `unhandled`:
    broadcast events that had no handler here: is a name misspelt? `lost`: events that were
    overwritten, or damaged, before this process came to them. `ignored`: `unique` events that were
    left to another worker. `handler_errors`: exceptions of handlers, and coroutines that they
    returned. `last_id`: id of the last event on the bus. `lag`: how many published events this
    process has not taken yet. A process with role "poster" takes none: of these only `posted` and
    `last_id` count there.
    """

    posted: int
    handled: int
    unhandled: int
    lost: int
    ignored: int
    handler_errors: int
    last_id: int
    lag: int


class Answer(NamedTuple):
    """What one worker answered to `ask`.

    `pid`: its process id. `value`: what its answerer returned, through JSON and back; None where
    there is an error. `error`: None, or in words why there is no value: the worker has no answerer,
    it failed or did not answer in time, or the answer was too large or was lost.
    """

    pid: int
    value: Any
    error: str | None


class WorkerInfo(NamedTuple):
    """One live worker, as `workers()` tells of it; a listener is one, a poster is none.

    `pid`: its process id. `slot`: the number of its slot, which no other live worker has.
    `position`: id of the last event that it took. `lag`: how many published events it has not
    taken yet. `since`: when it joined, in seconds since the epoch.
    """

    pid: int
    slot: int
    position: int
    lag: int
    since: int

"""The public types that a worker can do without; they are loaded by those who ask for them.

What they are made with, typing and dataclasses, takes more memory than all the rest that a worker
loads of this package. So the rooms that it loads import types only if TYPE_CHECKING: type
checkers take a variable of this name for true, whatever it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Handler(Protocol):
    """What is called for an event: `callback(data, event, source, pid)`.

    `data` is what was posted, after a way through JSON. `pid` is that of the process that posted
    it, and None for a local event.
    """

    def __call__(self, data: Any, event: str, source: str, pid: int | None, /) -> object: ...


class Origin(NamedTuple):
    """Where an event comes from that a relay has brought."""

    #: the host, as its relay calls it; the `pid` of the handler is one of that host
    host: str
    #: id of the entry in the stream
    entry: str


@dataclass(frozen=True)
class Stats:
    """What `stats()` returns: counts of one bus in this process, since it was opened or forked."""

    #: events that this process has posted
    posted: int
    #: events that were given to handlers here, or had none; broadcast ones only
    handled: int
    #: events that were overwritten, or damaged, before this process came to them
    lost: int
    #: `unique` events that were left to another worker
    ignored: int
    #: exceptions of handlers
    handler_errors: int
    #: id of the last event on the bus
    last_id: int
    #: how many published events this process has still to take
    lag: int


class WorkerInfo(NamedTuple):
    """One live worker, as `workers()` tells of it."""

    #: process id
    pid: int
    #: number of its slot
    slot: int
    #: id of the last event that it has taken
    position: int
    #: how many published events it has still to take
    lag: int
    #: when it joined, in seconds since the epoch
    since: int

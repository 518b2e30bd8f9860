"""The public types that most workers never use; they are loaded on demand.

The modules that they need, typing and dataclasses, take more memory than all else that a worker
loads of this package. So its modules import types only if TYPE_CHECKING: type checkers take a
variable of this name for true, whatever its value.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol


class Handler(Protocol):
    """What is called for an event: `callback(data, event, source, pid)`.

    `data` is what was posted, through JSON and back. `pid` is the posting process's, None for a
    local event.
    """

    def __call__(self, data: Any, event: str, source: str, pid: int | None, /) -> object: ...


class Origin(NamedTuple):
    """Where an event that a relay brought comes from."""

    #: the host, as its relay calls it; the `pid` that the handler gets is one of that host
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
    #: how many published events this process has not taken yet
    lag: int


class WorkerInfo(NamedTuple):
    """One live worker, as `workers()` tells of it."""

    #: process id
    pid: int
    #: number of its slot
    slot: int
    #: id of the last event that it took
    position: int
    #: how many published events it has not taken yet
    lag: int
    #: when it joined, in seconds since the epoch
    since: int

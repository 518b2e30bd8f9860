"""Events between the worker processes of one host, in nothing but the standard library.

    worker A                    shared memory                     worker B
    post ── encode ── append ─▶ event slots + ring ─▶ read ── decode ── handlers
                      (lock)    1 2 3 4 5 …           woken by a post, or every `interval`
    post_local ─▶ handlers of A

Every worker that opened the bus gets every event, all of them in the same order, its poster
included; an event with `unique` is handled by one of them; a worker that missed events is told
which. No server process, no socket: one shared-memory segment and a file lock. What goes wrong is
logged, by default to standard error.

    import stdevents

    @stdevents.on("cache", "drop")
    def drop(data, event, source, pid):
        cache.pop(data["key"], None)

    stdevents.configure("my-app")              # in every worker
    stdevents.post("cache", "drop", {"key": "user:7"})
    stdevents.poll()                           # before a script ends; else the loop does it

The functions are those of one `Bus` that is there from the beginning; `help` of each says all:

    configure(name, ...)            open the bus: create or join it; again: change settings
    configured(), close()           is it open; leave it
    post(source, event, data)       to all workers; with unique=key only one handles it
    post_many(events)               several, all or nothing
    post_local(source, event, data) to this process alone
    poll()                          handle what is new, as the loop does by itself
    on(source, *events)             decorator: call the function for these events
    register, register_weak, unregister(callback, source, *events)
    event_list(source, *events)     names as attributes: a typo raises
    wait(event_id)                  have all workers handled it?
    ask(source, event, data)        ask all workers; answer(source, event) decorates who answers
    lead(task)                      is this worker the one that does the task?
    stats(), workers()              counts of this process; the live workers
    fileno(), origin()              for event loops of your own; for relays

`events` names those of the bus itself: "started", "stopping" and "lost" of source "stdevents".
`stdevents.aio` is for asyncio, `Relay` for more than one host, `python -m stdevents` for a shell.
"""

from __future__ import annotations

try:
    import fcntl as _fcntl  # noqa: F401  to say what is missing, before a traceback does
except ImportError as _error:
    raise ImportError(
        "stdevents needs the file locks of POSIX (the fcntl module), which Windows does not have"
    ) from _error

from ._bus.bus import Bus, default
from ._bus.delivery import events
from ._errors import (
    EncodeError,
    LockTimeout,
    NoRoom,
    NotConfigured,
    PayloadTooLarge,
    RelayError,
    SegmentError,
    StdeventsError,
)
from ._names import EventList, event_list
from ._types import Answer, Origin, Stats, WorkerInfo

TYPE_CHECKING = False  # see _types
if TYPE_CHECKING:
    from typing import Any as _Any
    from typing import Final as _Final

    from ._protocols import Handler
    from ._relay.relay import Relay, RelayStats

__version__ = "1.0.0"

__all__ = [
    "Answer",
    "Bus",
    "EncodeError",
    "EventList",
    "Handler",
    "LockTimeout",
    "NoRoom",
    "NotConfigured",
    "Origin",
    "PayloadTooLarge",
    "Relay",
    "RelayError",
    "RelayStats",
    "SegmentError",
    "Stats",
    "StdeventsError",
    "WorkerInfo",
    "answer",
    "ask",
    "close",
    "configure",
    "configured",
    "event_list",
    "events",
    "fileno",
    "lead",
    "on",
    "origin",
    "poll",
    "post",
    "post_local",
    "post_many",
    "register",
    "register_weak",
    "stats",
    "unregister",
    "wait",
    "workers",
]

configure: _Final = default.configure
configured: _Final = default.configured
post: _Final = default.post
post_many: _Final = default.post_many
post_local: _Final = default.post_local
poll: _Final = default.poll
register: _Final = default.register
register_weak: _Final = default.register_weak
unregister: _Final = default.unregister
on: _Final = default.on
origin: _Final = default.origin
fileno: _Final = default.fileno
stats: _Final = default.stats
workers: _Final = default.workers
wait: _Final = default.wait
lead: _Final = default.lead
ask: _Final = default.ask
answer: _Final = default.answer
close: _Final = default.close


# What is loaded by those who use it, not into every worker; and what a copy may be without.
_ELSEWHERE = {
    "aio": ".aio",
    "Relay": "._relay.relay",
    "RelayStats": "._relay.relay",
    "Handler": "._protocols",
}


def __getattr__(name: str) -> _Any:
    where = _ELSEWHERE.get(name)
    if where is None:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        module = import_module(where, __name__)
    except ModuleNotFoundError as error:
        if not f"{__name__}{where}.".startswith(f"{error.name}."):
            raise
        part = "aio.py" if name == "aio" else f"the folder {where.split('.')[1]}"
        raise AttributeError(
            f"{__name__}.{name}: this copy of the package is without {part}; copy that as well"
        ) from None
    return module if name == "aio" else getattr(module, name)


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


del default, TYPE_CHECKING

"""What handlers are, and an event of `aio`; loaded when asked for, since it imports typing."""

from __future__ import annotations

from typing import Any, Awaitable, NamedTuple, Protocol


class Handler(Protocol):
    """What is called for an event: `callback(data, event, source, pid)`.

    `data` is what was posted, through JSON and back; of a local event the object itself. `pid` is
    the posting process's, None for a local event. What it returns is not used; an exception is
    logged and counted, and so is a coroutine, which nobody would await (see `stdevents.aio`).
    """

    def __call__(self, data: Any, event: str, source: str, pid: int | None, /) -> object: ...


class AsyncHandler(Protocol):
    """What `AsyncBus` calls for an event: a plain function, or a coroutine function."""

    def __call__(
        self, data: Any, event: str, source: str, pid: int | None, /
    ) -> Awaitable[object] | object: ...


class Event(NamedTuple):
    """One event, as `async for` gives it."""

    data: Any
    event: str
    source: str
    pid: int | None

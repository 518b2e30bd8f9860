"""Events for `async for`."""

from __future__ import annotations

import asyncio
from collections import deque

from .._bus.delivery import events
from .._log import WARNING, report
from .._protocols import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._protocols import Handler


class Events:
    """What `AsyncBus.events` returns: an iterator for `async for`.

    With `contextlib.aclosing` it ends where its block does.
    """

    def __init__(
        self,
        name: str,
        on_loop: Callable[..., None],
        limit: int,
        unregister: Callable[[Handler], bool],
    ) -> None:
        self._name = name
        self._on_loop = on_loop
        self._limit = limit
        self._unregister = unregister
        self._waiting: deque[Event] = deque()
        self._lost = 0
        self._over = False
        self._news = asyncio.Event()

    def __aiter__(self) -> Events:
        return self

    async def __anext__(self) -> Event:
        while not (self._waiting or self._over):
            self._news.clear()
            await self._news.wait()
        if self._lost:
            count, self._lost = self._lost, 0
            data = {"first": None, "last": None, "count": count}
            return Event(data, events.lost, events._source, None)
        if self._waiting:
            return self._waiting.popleft()
        raise StopAsyncIteration

    async def aclose(self) -> None:
        """Take no more events, and drop those that nobody has taken: an `async for` of it ends.

        Twice is fine, and so is an iterator that ended with its bus.
        """
        self._unregister(self.handle)
        self.end()
        self._waiting = deque(maxlen=0)  # also for what is on its way from another thread's poll
        self._lost = 0

    def handle(self, data: Any, event: str, source: str, pid: int | None) -> None:
        """For the bus: take an event."""
        self._on_loop(self._take, Event(data, event, source, pid))

    def _take(self, _: object, event: Event) -> bool:
        if len(self._waiting) == self._limit:
            self._waiting.popleft()
            self._lost += 1
            if self._lost == 1:
                what = "%s: an `async for` loses events, limit=%d"
                report(what, self._name, self._limit, level=WARNING)
        self._waiting.append(event)
        self._news.set()
        return False

    def end(self) -> None:
        """For the bus: no more will come."""
        self._over = True
        self._news.set()

"""Events on an asyncio event loop: handlers run on it, and may be coroutine functions.

    import stdevents
    from stdevents import aio

    bus = aio.AsyncBus()

    @bus.on("prices", "changed")
    async def drop(data, event, source, pid):
        await cache.delete(data["item"])

    async def main():
        stdevents.configure("my-app", interval=0)
        async with bus:
            async for event in bus.events("chat"):
                print(event.data)

Order: plain handlers run one after the other, by ascending id. A coroutine function is started in
that same order, each call as a task of its own, and from its first `await` on runs beside those
of other events. To finish one event before the next begins, use `async for`.
"""

from __future__ import annotations

import asyncio
import contextlib
import threading
import weakref
from typing import Any, Callable, NoReturn, Optional, Tuple, TypeVar

from ._aio.events import Events
from ._aio.hearing import Hearing
from ._aio.running import Answerer, Caller, Running
from ._aio.waking import Waking
from ._bus import tasks
from ._bus.bus import Bus, default, life_of
from ._bus.callbacks import check_callable
from ._bus.handlers import decorator, same
from ._bus.settings import duration, period
from ._bus.together import asking_of, check_event_id, check_no_poster
from ._bus.waiting import LIVES_EVERY, Waiting, check_may_wait
from ._errors import StdeventsError
from ._names import check_names
from ._protocols import AsyncHandler, Event, Handler
from ._types import Answer

__all__ = ["AsyncBus", "AsyncHandler", "Event", "Events"]

INTERVAL = 1.0  # seconds
LIMIT = 10_000  # events

Level = Tuple[Optional[str], ...]  # source, and its events


AnyHandler = TypeVar("AnyHandler", bound=AsyncHandler)


class AsyncBus:
    """A `Bus`, by default that of the package's functions, on the event loop that runs.

    `async with` attaches it to the loop, and at its end detaches it and waits for the handlers
    that are still running; when an exception ends it, they are cancelled. Handlers may be
    registered before. Posting is `Bus.post`: it takes microseconds, and blocks the event loop only
    while another process has the lock, `wait_max` seconds at most.

    The bus itself stays open; closing it detaches. A forked child is not attached.
    """

    def __init__(self, bus: Bus | None = None) -> None:
        self._bus = default if bus is None else bus
        self._life = life_of(self._bus)
        self._registered: list[tuple[Caller, Level]] = []
        self._streams: weakref.WeakSet[Events] = weakref.WeakSet()
        self._running = Running(self._bus, self._life)
        self._waking: Waking | None = None
        self._hearings: dict[asyncio.AbstractEventLoop, Hearing] = {}

    def __repr__(self) -> str:
        return f"<AsyncBus of {self._bus!r}{', attached' if self.attached() else ''}>"

    def __reduce__(self) -> NoReturn:
        raise TypeError(f"{self!r} cannot be pickled; make one in the other process")

    # -- handlers ----------------------------------------------------------------------------------

    def register(self, callback: AnyHandler, source: str | None = None, *events: str) -> AnyHandler:
        """Have `callback(data, event, source, pid)` called on the event loop for events.

        For every event, or those of `source`, or only `events` of it; `pid` is the poster's. A
        plain function is called and done; each call of a coroutine function is a task of its own.
        What is registered twice in one place is called once. The bus need be neither open nor
        attached, but an event that is polled while it is not attached counts as a failure of the
        handler. Exceptions are logged and counted. Returns the callback. TypeError if it is not
        callable, cannot take four arguments, or has a yield in it.
        """
        check_callable(callback)
        tasks.expect(self._life)
        with self._life.handlers.changing:
            caller = self._caller_of(callback) or Caller(self._running, callback)
            self._bus.register(caller.handle, source, *events)
            self._registered.append((caller, (source, *events)))
        return callback

    def on(self, source: str | None = None, *events: str) -> Callable[[AnyHandler], AnyHandler]:
        """`register` as a decorator."""
        return decorator(self.register, source, events)

    def unregister(self, callback: AsyncHandler, source: str | None = None, *events: str) -> bool:
        """Remove what was registered here, with the same source and events; was there something?"""
        with self._life.handlers.changing:
            caller = self._caller_of(callback)
            if caller is None:
                return False
            entry = (caller, (source, *events))
            # In place: what a finaliser registers during this stays known. Hence the copy below.
            while entry in self._registered:
                self._registered.remove(entry)
            return self._bus.unregister(caller.handle, source, *events)

    def _caller_of(self, callback: AsyncHandler) -> Caller | None:
        known = self._registered.copy()
        return next((one for one, _ in known if same(one.callback, callback)), None)

    def events(self, source: str | None = None, *events: str, limit: int = LIMIT) -> Events:
        """The events from now on, for `async for`: in their order, one at a time.

        It ends when the bus is detached, after what came until then; and at its `aclose()`, or with
        its last reference. An iterator that is `limit` events behind loses the oldest of them: a
        `lost` event stands in their place, of which only the `count` is known. NotConfigured if
        the bus is not attached; StdeventsError for a poster; TypeError or ValueError for a bad
        source, event or `limit`.
        """
        if not isinstance(limit, int) or limit < 1:
            raise ValueError(f"limit={limit!r} is not a number of events; give 1 or more")
        self._running.check()
        check_no_poster(self._life)

        def unregister(handle: Handler) -> bool:
            return self._bus.unregister(handle, source, *events)

        stream = Events(repr(self), self._running.on_loop, limit, unregister)
        # Weakly: it ends with its last reference.
        self._bus.register_weak(stream.handle, source, *events)
        self._streams.add(stream)
        return stream

    # -- attaching ---------------------------------------------------------------------------------

    def attached(self) -> bool:
        """Is it attached to an event loop, in this process?"""
        return self._running.attached()

    def attach(self, interval: float = INTERVAL) -> None:
        """Have the event loop that runs handle events, until `detach` or `close`.

        A post wakes it, and it polls every `interval` seconds as well. A single event is handled
        at once; in a burst it polls about once a millisecond, by a timer. Without epoll (macOS), or
        on an event loop that watches no descriptors, it polls at the interval alone: make it
        shorter. Several on one bus and one event loop poll together, at the shortest interval.
        Handlers run in the context (contextvars) in which this was called, not in that of a task
        that posts or waits. A poster handles nothing, and may `wait` and `ask` then.

        RuntimeError if no event loop runs, or it is attached already; NotConfigured if the bus is
        not open; ValueError if the bus has a loop of its own; TypeError or ValueError for a bad
        `interval`. What ends the first poll, as KeyboardInterrupt in a handler, is raised. It is
        not attached then.
        """
        interval = period("interval", interval)
        loop = self._running_loop()
        if self._life.polling.loop.interval:
            raise ValueError(
                f"{self._bus!r} polls in a thread of its own, which would run the handlers; "
                "configure it with interval=0, and they run on the event loop"
            )
        handles_events = self._life.use(lambda seat: seat.slot is not None)
        polling = self._life.polling
        self._running.attach(loop)
        try:
            polling.watch.watchers.add(self._detach_before)
            self._waking = None  # a poster has nothing to poll
            if handles_events:
                waking = Waking(self._bus, loop, polling.has_news)
                self._waking = waking = polling.watch.wakings.setdefault(loop, waking)
                waking.begin(interval, self.detach)
        except BaseException:  # `async with` does not come to its end then
            self.detach()
            raise

    def _running_loop(self) -> asyncio.AbstractEventLoop:
        try:
            return asyncio.get_running_loop()
        except RuntimeError:
            raise RuntimeError(
                f"{self!r}: no asyncio event loop runs here; attach it in a coroutine. On a loop "
                "of another kind, as trio's, wait for `fileno()` to be readable, and `poll()`"
            ) from None

    def detach(self) -> None:
        """Leave the event loop, which has to be that of this thread, or to have ended.

        Handlers that are running continue. Twice is fine.
        """
        if self.attached():
            watch = self._life.polling.watch
            watch.watchers.discard(self._detach_before)
            if self._waking is not None and self._waking.end(self.detach):
                watch.wakings.pop(self._waking.loop, None)
            self._running.loop = None
            for stream in self._streams:
                stream.end()
            self._streams.clear()

    def _detach_before(self, then: Callable[[], object]) -> None:
        """For the bus, which is being closed, in any thread: detach, and only then do `then`.

        That closes the descriptor, and another file gets its number: an event loop that watched
        it still would be deaf to that one.
        """
        loop, owner = self._running.loop, self._running.owner

        def detach() -> None:
            if self._running.owner is owner:  # it was not attached again since
                with contextlib.suppress(RuntimeError):  # the event loop is closed
                    self.detach()
            then()

        if loop is None or owner[1] == threading.get_ident():
            detach()
            return
        try:
            loop.call_soon_threadsafe(detach)
        except RuntimeError:  # the event loop is closed
            detach()

    async def close(self) -> None:
        """Detach, and wait for the handlers that are still at work. The bus stays open.

        A handler that awaits it does not wait for itself, nor for another that awaits it.
        """
        loop = self._running.loop
        if loop is asyncio.get_running_loop() or (loop is not None and not loop.is_running()):
            self.detach()  # else another thread has attached it to an event loop of its own
        await self._running.end()

    async def wait(self, event_id: int, timeout: float = 1.0) -> bool:
        """`Bus.wait` on the event loop: are all workers done with the event, tasks included?

        True when every live worker's handlers for it have returned, here as well, and the tasks of
        coroutine handlers are done; False if that is not so after `timeout` seconds. An event for
        an `async for` counts as handled once it is queued there; the loop's body may not have run
        yet.

        Raises what `Bus.wait` does, StdeventsError in a task of a handler, which would wait for
        itself, and NotConfigured if the bus is not attached.
        """
        check_event_id(event_id)
        timeout = duration("timeout", timeout)
        self._check_may_wait("wait")
        waiting = Waiting(self._life, event_id)
        with Hearing.here(self._life, self._hearings) as hearing:
            return await self._until(waiting.is_over, lambda: True, timeout, hearing)

    async def ask(
        self, source: str, event: str, data: Any = None, timeout: float = 1.0
    ) -> dict[int, Answer]:
        """`Bus.ask` on the event loop: ask every live worker, and return their answers by slot.

        Raises what `Bus.ask` does, StdeventsError in a task of a handler, which would wait for
        itself, and NotConfigured if the bus is not attached.
        """
        source, event = check_names(source, event)
        timeout = duration("timeout", timeout)
        self._check_may_wait("ask")
        asking = asking_of(self._bus)
        with Hearing.here(self._life, self._hearings) as hearing:
            question = asking.begin(hearing.ear)
            try:
                question.post(source, event, data)
                await self._until(question.is_over, question.may_sleep, timeout, hearing)
                return question.answers(timeout)
            finally:
                asking.end(question)

    def answer(self, source: str, event: str) -> Callable[[AnyHandler], AnyHandler]:
        """`Bus.answer`, for coroutine functions, too: have the decorated function answer.

        What it returns is the answer of this worker to such questions. Each call of a coroutine
        function is run as a task. While the bus is not attached, the askers are told so.
        """
        source, event = check_names(source, event)
        check_no_poster(self._life)

        def register(callback: AnyHandler) -> AnyHandler:
            check_callable(callback)
            asking_of(self._bus).add(source, event, Answerer(self._running, callback).answer)
            tasks.expect(self._life)
            return callback

        return register

    def _check_may_wait(self, call: str) -> None:
        self._running.check()
        if self._running.is_in(asyncio.current_task()):
            raise StdeventsError(
                f"{call}: a handler that awaits it waits for its own end; await it in another task"
            )
        check_may_wait(self._life, call)

    async def _until(
        self,
        is_over: Callable[[], bool],
        may_sleep: Callable[[], bool],
        timeout: float,
        hearing: Hearing,
    ) -> bool:
        """Poll, look, and sleep until the bell rings, until it is over; False if it never is."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + timeout
        while True:
            if self._waking is not None:
                await self._waking.polled()
            else:
                self._life.polling.poll_for_call()
            if is_over():
                return True
            left = deadline - loop.time()
            if left <= 0:
                return False
            if hearing.listens() and may_sleep():
                await hearing.sleep(min(left, LIVES_EVERY))
            else:  # look once more, but not for ever where others post and post
                await asyncio.sleep(0)

    async def __aenter__(self) -> AsyncBus:
        self.attach()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, *_: object) -> None:
        if kind is not None:
            for task in self._running.of(asyncio.get_running_loop()):
                task.cancel()
        await self.close()

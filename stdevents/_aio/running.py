"""What handlers of an `AsyncBus` do on its event loop, and what of it goes on as tasks."""

from __future__ import annotations

import asyncio
import contextvars
import threading
from functools import partial

from .._bus import tasks
from .._errors import NotConfigured
from .._protocols import Event
from .._system.process import Mark

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Callable

    from .._bus.asking import Reply
    from .._bus.bus import Bus
    from .._bus.life import Life
    from .._protocols import AsyncHandler

CANCELLED = "its answerer was cancelled"


class Running:
    """What runs on the event loop that a bus is attached to; nothing while there is none."""

    def __init__(self, bus: Bus, life: Life) -> None:
        self.loop: asyncio.AbstractEventLoop | None = None
        #: process and thread of the event loop; another object each time it is attached
        self.owner = Mark(), 0
        #: of coroutine handlers
        self.tasks: set[asyncio.Task[object]] = set()
        self._bus = bus
        self._life = life
        # What is becoming one of them: an eager task takes its first step before it is there.
        self._starting: object = None
        self._begun: dict[asyncio.Task[object], object] = {}  # by which the bus knows each of them
        # What polls in other threads have given to which event loop, and that has not begun yet.
        self._given: dict[object, asyncio.AbstractEventLoop] = {}
        self._closing: set[asyncio.Task[Any] | None] = set()  # those of them that await `end`
        self._context = contextvars.Context()  # in which it was attached

    def attached(self) -> bool:
        """Is there an event loop, in this process?"""
        return self.loop is not None and bool(self.owner[0].word[0])

    def is_here(self) -> bool:
        """Is the calling thread that of the event loop?"""
        mark, thread = self.owner
        return thread == threading.get_ident() and bool(mark.word[0]) and self.loop is not None

    def check(self) -> asyncio.AbstractEventLoop:
        """The event loop; NotConfigured if there is none here."""
        if self.loop is None or not self.attached():
            raise NotConfigured(
                f"<AsyncBus of {self._bus!r}> is attached to no event loop here; use `async with`"
            )
        return self.loop

    def attach(self, loop: asyncio.AbstractEventLoop) -> None:
        """Run what comes from now on on this event loop; RuntimeError if there is one."""
        with self._life.handlers.changing:  # two event loops may try at once
            if self.attached():
                raise RuntimeError(f"<AsyncBus of {self._bus!r}, attached>; detach it first")
            self._context = contextvars.copy_context()
            self.loop, self.owner = loop, (Mark(), threading.get_ident())
        # A copy is one step: a task on another event loop may end just now.
        for task in self.tasks.copy():
            if task.get_loop() is not loop and not task.get_loop().is_running():
                self._forget(task)
        for begun, given_to in self._given.copy().items():
            if given_to is not loop and not given_to.is_running():
                self._end_given(begun)
        self._closing = set()

    def of(self, loop: asyncio.AbstractEventLoop) -> set[asyncio.Task[object]]:
        """The tasks on this event loop; another thread may have attached another one."""
        return {task for task in self.tasks.copy() if task.get_loop() is loop}

    def is_in(self, task: asyncio.Task[Any] | None) -> bool:
        """Is it the task of a handler?"""
        if task is None:
            return False
        is_starting = self._starting is not None and task.get_coro() is self._starting
        return is_starting or task in self.tasks

    async def end(self) -> None:
        """Wait for the tasks of this event loop; one of them that does waits for none that does."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        closing = self._closing if self.is_in(task) else set()
        closing.add(task)
        try:
            while left := self.of(loop) - closing:
                await asyncio.wait(left)
        finally:
            closing.discard(task)  # what it goes on with, others wait for

    def on_loop(self, do: Callable[..., bool], *event: Any) -> None:
        """Do it on the event loop; the poll may be in another thread."""
        if self.is_here():
            do(None, *event)
        else:
            self.give(do, *event)

    def give(self, do: Callable[..., bool], *event: Any) -> None:
        """Do it on the event loop, from another thread."""
        loop, life = self.check(), self._life
        begun = object()  # the event is not done before it is done on the event loop

        def do_it() -> None:
            goes_on = False
            try:
                goes_on = do(begun, *event)
            finally:
                self._given.pop(begun, None)
                if not goes_on:
                    tasks.end(life, begun)

        tasks.begin(life, begun)
        self._given[begun] = loop
        try:
            # Not in the context of who polls there, as a request that has a thread of its own.
            self._context.copy().run(loop.call_soon_threadsafe, do_it)
        except BaseException:  # the event loop is closed
            self._end_given(begun)
            raise

    def run(self, outcome: object, event: Event, begun: object, reply: Reply | None = None) -> bool:
        """Run what a handler returned as a task, if it is a coroutine; is it?

        `begun` is known to the bus, if not None.
        """
        if not asyncio.iscoroutine(outcome):
            if reply is not None:
                reply.give(outcome)
            return False
        self._starting = outcome
        try:
            task = (self.loop or self.check()).create_task(outcome)
        except BaseException:  # the handler has detached the bus, or the event loop is closed
            outcome.close()
            raise
        finally:
            self._starting = None
        self.tasks.add(task)  # the event loop itself holds it weakly
        if begun is None:
            begun = task
            tasks.begin(self._life, begun)
        self._begun[task] = begun
        # Not within the task: one that is cancelled before its first step does nothing any more.
        task.add_done_callback(partial(self._end, event, reply))
        return True

    def _end(self, event: Event, reply: Reply | None, task: asyncio.Task[object]) -> None:
        """It is done: tell what came of it. Who waits for the event has the answer then."""
        try:
            error = None if task.cancelled() else task.exception()
            # The event loop raises these two by itself; of all others nobody else tells.
            if error is not None and not isinstance(error, (KeyboardInterrupt, SystemExit)):
                if reply is None:
                    self.tell_failure(error, event)
                else:
                    reply.fail(error)
            elif reply is not None:
                if task.cancelled() or error is not None:
                    reply.refuse(CANCELLED)
                else:
                    reply.give(task.result())
        finally:
            self._forget(task)

    def tell_failure(self, error: BaseException, event: Event) -> None:
        """Count and log an exception of a handler, without the payload."""
        self._life.handlers.tell_failure(error, event.source, event.event, event.pid)

    def _end_given(self, begun: object) -> None:
        """No event loop will begin it."""
        self._given.pop(begun, None)
        tasks.end(self._life, begun)

    def _forget(self, task: asyncio.Task[object]) -> None:
        """It is done, or never will be."""
        self.tasks.discard(task)
        tasks.end(self._life, self._begun.pop(task, None))


class Caller:
    """A handler of an `AsyncBus`, as its `Bus` calls it."""

    def __init__(self, running: Running, callback: AsyncHandler) -> None:
        self.callback = callback
        self._running = running

    def handle(self, data: Any, event: str, source: str, pid: int | None) -> None:
        """Call it on the event loop."""
        # Not by `on_loop`: to pack the arguments takes as long as all the rest, for each event.
        if self._running.is_here():
            self._start(None, data, event, source, pid)
        else:
            self._running.give(self._start, data, event, source, pid)

    def _start(self, begun: object, data: Any, event: str, source: str, pid: int | None) -> bool:
        try:
            outcome = self.callback(data, event, source, pid)
            if outcome is None:
                return False
            return self._running.run(outcome, Event(data, event, source, pid), begun)
        except Exception as error:  # here, since the bus may have called it in another thread
            self._running.tell_failure(error, Event(data, event, source, pid))
            return False


class Answerer:
    """An answerer of an `AsyncBus`, as its `Bus` calls it."""

    def __init__(self, running: Running, callback: AsyncHandler) -> None:
        self._callback = callback
        self._running = running

    def answer(self, reply: Reply, *question: Any) -> None:
        """Have it answer on the event loop."""
        self._running.on_loop(partial(self._start, reply), *question)

    def _start(self, reply: Reply, begun: object, *question: Any) -> bool:
        try:
            outcome = self._callback(*question)
            return self._running.run(outcome, Event(*question), begun, reply)
        except Exception as error:
            reply.fail(error)
            return False

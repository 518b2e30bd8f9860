"""`stdevents.aio`: events handled on an asyncio event loop."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import threading

import pytest
from event_loops import SECONDS, gather, run
from inside import (
    tasks_of,
)

from stdevents import aio


def test_a_coroutine_function_handles_what_another_process_posts(bus, other, fork, name):
    def post(parent):
        bus.post("test", "tick", {"from": "a child"})

    async def main():
        seen = []
        handler, done = gather(seen, 1)
        other.register(handler, "test", "tick")
        async with other:
            fork(post).result()
            await done.wait()
        return seen

    assert run(main()) == [{"from": "a child"}]


def test_functions_and_coroutines_run_on_the_thread_of_the_event_loop(bus, other):
    async def main():
        threads = set()
        handler, done = gather([], 1)

        @other.on("test")
        def plain(data, event, source, pid):
            threads.add(threading.get_ident())

        @other.on("test")
        async def coroutine(data, event, source, pid):
            threads.add(threading.get_ident())

        other.register(handler, "test")
        async with other:
            bus.post("test", "tick")
            await done.wait()
        assert threads == {threading.get_ident()}

    run(main())


def test_calls_start_in_the_order_of_the_events_and_then_run_side_by_side(bus, other):
    """G1 holds for the starts; from the first await on, each goes on by itself."""

    async def main():
        steps = []
        last, done = asyncio.Event(), asyncio.Event()

        @other.on("test", "tick")
        async def handler(data, event, source, pid):
            steps.append(("begins", data))
            if data == 0:
                await last.wait()
            else:
                await asyncio.sleep(0)
            steps.append(("ends", data))
            if data == 2:
                last.set()
            if data == 0:
                done.set()

        async with other:
            for number in range(3):
                bus.post("test", "tick", number)
            await done.wait()
        assert [number for step, number in steps if step == "begins"] == [0, 1, 2]
        assert steps[-1] == ("ends", 0)

    run(main())


def test_what_returns_a_coroutine_is_run_whatever_it_is(bus, other):
    class Callable:
        def __init__(self):
            self.seen = []

        async def __call__(self, data, event, source, pid):
            self.seen.append(data)

        async def method(self, data, event, source, pid):
            self.seen.append(data)

    async def main():
        it = Callable()
        handler, done = gather(it.seen, 4)
        other.register(it, "test")
        other.register(it.method, "test")
        other.register(functools.partial(it.method), "test")
        other.register(handler, "test")
        async with other:
            bus.post("test", "tick", 7)
            await done.wait()
        assert it.seen == [7] * 4

    run(main())


def test_an_exception_is_logged_and_counted_as_that_of_any_handler(bus, other, caplog):
    """G6: the same line as without asyncio, and no payload in it."""

    async def main():
        handler, done = gather([], 1)

        @other.on("test", "tick")
        async def fails(data, event, source, pid):
            await asyncio.sleep(0)
            raise LookupError("in a coroutine")

        @other.on("test", "tick")
        def fails_at_once(data, event, source, pid):
            raise LookupError("in a function")

        other.register(handler, "test")
        async with other:
            number = bus.post("test", "tick", "the payload")
            await done.wait()
        return number

    run(main())
    failed = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert {record.getMessage().rpartition("=")[0] for record in failed} == {
        "event callback failed; source=test, event=tick, pid"
    }
    assert {record.name for record in failed} == {"stdevents"}
    assert [str(record.exc_info[1]) for record in failed] == ["in a function", "in a coroutine"]
    assert bus.stats().handler_errors == 2
    assert "the payload" not in caplog.text


class Odd(BaseException):
    """As that of pytest.fail(): not one that an event loop raises by itself."""


def test_what_is_no_exception_is_logged_and_counted_as_well(bus, other, caplog):
    """G6: the event loop tells of it nowhere, since its task was asked for its end."""

    async def main():
        @other.on("test", "tick")
        async def fails(data, event, source, pid):
            await asyncio.sleep(0)
            raise Odd("in a coroutine")

        @other.answer("test", "who")
        async def who(data, event, source, pid):
            raise Odd("in an answer")

        async with other:
            assert await other.wait(bus.post("test", "tick"), SECONDS)
            found = await other.ask("test", "who", None, SECONDS)
        assert found == {0: (os.getpid(), None, "its answerer failed: Odd; see its log")}

    run(main())
    errors = [str(record.exc_info[1]) for record in caplog.records if record.exc_info]
    assert errors == ["in a coroutine", "in an answer"]
    assert bus.stats().handler_errors == 2


def test_the_end_waits_for_handlers_that_are_at_work(bus, other):
    async def main():
        ended = []

        @other.on("test")
        async def slow(data, event, source, pid):
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append(data)

        async with other:
            bus.post("test", "tick", 1)
            bus.poll()
            assert ended == []
        assert ended == [1]

    run(main())


def test_handlers_may_close_it_and_wait_for_the_others_only(bus, other):
    """Neither for themselves nor for each other; and the end waits for them all."""

    async def main():
        ended = []

        @other.on("test")
        async def handler(data, event, source, pid):
            await asyncio.sleep(0)
            if event == "closes":
                await other.close()
                ended.append("closed")
            ended.append(event)

        async with other:
            for event in ("closes", "closes", "slow"):
                bus.post("test", event)
            bus.poll()
        assert sorted(ended) == ["closed", "closed", "closes", "closes", "slow"]
        assert ended[0] == "slow"

    run(main())


def test_a_handler_that_goes_on_after_it_gave_up_closing_is_waited_for(bus, other):
    async def main():
        tasks, gave_up, ended = [], asyncio.Event(), []

        @other.on("test", "gives up")
        async def give_up(data, event, source, pid):
            tasks.append(asyncio.current_task())
            try:
                await other.close()
            except asyncio.CancelledError:
                gave_up.set()
            for _ in range(10):
                await asyncio.sleep(0)
            ended.append(event)

        @other.on("test", "closes")
        async def close(data, event, source, pid):
            await gave_up.wait()
            await other.close()
            ended.append(event)

        async with other:
            for event in ("gives up", "closes"):
                bus.post("test", event)
            bus.poll()
            await asyncio.sleep(0)
            tasks[0].cancel()
            await gave_up.wait()
        assert ended == ["gives up", "closes"]

    run(main())


@pytest.mark.skipif(not hasattr(asyncio, "eager_task_factory"), reason="no eager tasks here")
def test_handlers_may_close_it_in_the_first_step_of_an_eager_task(bus, other):
    """It does not wait for itself then, nor the others for it, though it is not started yet."""

    async def main():
        asyncio.get_running_loop().set_task_factory(asyncio.eager_task_factory)
        go, ended = asyncio.Event(), []

        @other.on("test", "first")
        async def close_later(data, event, source, pid):
            await go.wait()
            await other.close()
            ended.append(event)

        @other.on("test", "second")
        async def close_at_once(data, event, source, pid):
            go.set()
            await other.close()
            ended.append(event)

        async with other:
            bus.post("test", "first")
            bus.post("test", "second")
            bus.poll()
        assert sorted(ended) == ["first", "second"]

    run(main())


def test_an_exception_that_ends_it_cancels_them(bus, other):
    async def main():
        cancelled = asyncio.Event()

        @other.on("test")
        async def for_ever(data, event, source, pid):
            try:
                await asyncio.Event().wait()
            except asyncio.CancelledError:
                cancelled.set()
                raise

        with pytest.raises(LookupError):
            async with other:
                bus.post("test", "tick", 1)
                bus.poll()
                await asyncio.sleep(0)
                raise LookupError
        assert cancelled.is_set()

    run(main())
    assert bus.stats().handler_errors == 0


def test_a_coroutine_of_a_handler_that_has_detached_the_bus_is_closed(bus, other, caplog):
    """It cannot run, and is not lost in silence."""
    begun = []

    async def go_on():
        raise NotImplementedError

    @other.on("test")
    def handler(data, event, source, pid):
        other.detach()
        begun.append(go_on())
        return begun[-1]

    async def main():
        bus.post("test", "event")
        async with other:
            assert [inspect.getcoroutinestate(one) for one in begun] == [inspect.CORO_CLOSED]

    run(main())
    assert bus.stats().handler_errors == 1
    assert "attached to no event loop" in caplog.text


def test_what_is_unregistered_is_not_called_any_more(bus, other):
    async def main():
        seen, others = [], []
        handler, _ = gather(seen, 2)
        last, done = gather(others, 1)
        other.register(handler, "test", "tick")
        other.register(last, "test", "last")
        async with other:
            assert other.unregister(handler, "test", "tick")
            assert not other.unregister(handler, "test", "tick")
            bus.post("test", "tick")
            bus.post("test", "last")
            await done.wait()
        assert seen == []

    run(main())


def test_handlers_that_are_equal_are_two_and_a_bound_method_is_one(bus, other):
    """As those of a `Bus`: an `__eq__` of a handler is not even called."""
    calls = []

    class Handler:
        def __init__(self, name):
            self.name = name

        def __eq__(self, _):
            raise NotImplementedError

        __hash__ = None

        async def __call__(self, *_):
            calls.append(self.name)

        async def method(self, *_):
            calls.append(f"method of {self.name}")

    async def main():
        first, second = Handler("first"), Handler("second")
        for _ in range(2):
            for handler in (first, second, first.method):
                other.register(handler, "test")
        async with other:
            assert await other.wait(bus.post("test", "event"), SECONDS)
            assert calls == ["first", "second", "method of first"]
            assert other.unregister(first, "test") and not other.unregister(first, "test")
            assert other.unregister(first.method, "test")
            assert await other.wait(bus.post("test", "event"), SECONDS)
        assert calls[3:] == ["second"]

    run(main())


def test_what_cannot_be_called_is_no_handler(bus, other):
    with pytest.raises(TypeError, match="not callable"):
        other.register("drop", "test")


def test_without_it_a_coroutine_function_is_refused_with_the_way_out(bus):
    async def handler(data, event, source, pid):
        raise NotImplementedError

    with pytest.raises(TypeError, match=r"AsyncBus of stdevents\.aio"):
        bus.register(handler)


def test_attached_again_it_still_waits_for_handlers_from_before(bus):
    async def main():
        on_loop, done, go = aio.AsyncBus(bus), [], asyncio.Event()

        @on_loop.on("test")
        async def handler(*_):
            await go.wait()
            done.append("handler")

        on_loop.attach()
        bus.post("test", "told")
        while not tasks_of(on_loop):
            await asyncio.sleep(0)
        on_loop.detach()
        on_loop.attach()
        closing = asyncio.ensure_future(on_loop.close())
        for _ in range(5):  # more than it takes to end
            await asyncio.sleep(0)
        assert not closing.done()
        go.set()
        await closing
        return done

    assert run(main()) == ["handler"]

"""`stdevents.aio`: events on an asyncio event loop."""

from __future__ import annotations

import asyncio
import functools
import logging
import os
import select
import socket
import threading

import pytest
from inside import (
    descriptor_of,
    has_timer,
    poll_of_event_loop,
    stop_listening,
    streams_of,
    tasks_of,
    under_lock,
)
from programs import run as run_program

import stdevents
from stdevents import aio

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")

SECONDS = 30  # after which what is awaited is not coming


def run(coroutine):
    """Run it on a new event loop; it may not hang."""
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


def gather(into, enough):
    """A handler that keeps each event's data, and an asyncio.Event for when it has so many."""
    done = asyncio.Event()

    async def handler(data, event, source, pid):
        into.append(data)
        if len(into) == enough:
            done.set()

    return handler, done


@pytest.fixture
def other(bus):
    """A bus on asyncio beside nothing else: the fixture `bus` is what it attaches."""
    return aio.AsyncBus(bus)


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


def test_async_for_gives_the_events_one_at_a_time_in_their_order(bus, other):
    async def main():
        seen = []
        async with other:
            events = other.events("test", "tick")
            for number in range(100):
                bus.post("test", "tick", number)
                bus.post("test", "something else")
            async for event in events:
                seen.append(event)
                await asyncio.sleep(0)
                if event.data == 99:
                    break
        return seen

    seen = run(main())
    assert [event.data for event in seen] == list(range(100))
    assert {(event.source, event.event) for event in seen} == {("test", "tick")}


def test_async_for_ends_after_what_came_before_the_bus_was_detached(bus, other):
    async def main():
        async with other:
            events = other.events("test")
            bus.post("test", "tick", 1)
            bus.poll()
        return [event.data async for event in events]

    assert run(main()) == [1]


def test_async_for_that_waits_ends_when_the_bus_is_detached(bus, other):
    async def main():
        async def take():
            return [event.data async for event in other.events("test")]

        async with other:
            taking = asyncio.ensure_future(take())
            await asyncio.sleep(0)
            other.detach()
            assert await taking == []

    run(main())


def test_an_iterator_that_nobody_has_any_more_gets_nothing(bus, other):
    async def main():
        async with other:
            events = other.events("test")
            bus.post("test", "tick")
            bus.poll()
            assert (await events.__anext__()).event == "tick"
            del events
            for _ in range(3):  # PyPy needs more than one
                __import__("gc").collect()
            assert not streams_of(other)

    run(main())


def test_who_iterates_too_slowly_is_told_how_many_it_lost(bus, other, caplog):
    """G3, in its place: before the next event that is there."""

    async def main():
        async with other:
            events = other.events("test", limit=3)
            for number in range(10):
                bus.post("test", "tick", number)
            bus.poll()
        return [event async for event in events]

    lost, *left = run(main())
    assert (lost.source, lost.event, lost.data["count"]) == ("stdevents", "lost", 7)
    assert [event.data for event in left] == [7, 8, 9]
    assert "limit=3" in caplog.text


@pytest.mark.parametrize("limit", [0, -1, 2.5, "many"])
def test_a_limit_is_a_number_of_events(bus, other, limit):
    async def main():
        async with other:
            with pytest.raises(ValueError, match="limit=.* not a number of events"):
                other.events(limit=limit)

    run(main())


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


def test_it_works_again_on_another_event_loop(bus, other):
    seen = []

    async def main():
        done = asyncio.Event()

        @other.on("test")
        async def handler(data, event, source, pid):
            seen.append(data)
            done.set()

        async with other:
            bus.post("test", "tick", len(seen))
            await done.wait()
        assert other.unregister(handler, "test")

    run(main())
    run(main())
    assert seen == [0, 1]


def test_an_event_while_it_is_not_attached_is_an_error_that_is_logged(bus, other, caplog):
    """It cannot run, and is not lost in silence."""

    @other.on("test")
    async def handler(data, event, source, pid):
        raise NotImplementedError

    bus.post("test", "tick")
    bus.poll()
    assert bus.stats().handler_errors == 1
    assert "attached to no event loop" in caplog.text


def test_a_poll_in_another_thread_hands_the_events_to_the_event_loop(bus, other):
    async def main():
        threads, done = [], asyncio.Event()

        @other.on("test")
        def handler(data, event, source, pid):
            threads.append(threading.get_ident())
            done.set()

        async with other:
            stop_listening(other)  # so that it is the other thread that gets it
            bus.post("test", "tick")
            await asyncio.get_running_loop().run_in_executor(None, bus.poll)
            await done.wait()
        assert threads == [threading.get_ident()]

    run(main())


def test_where_there_is_no_epoll_it_looks_at_intervals(bus, other, monkeypatch):
    monkeypatch.delattr(select, "epoll", raising=False)

    async def main():
        seen = []
        handler, done = gather(seen, 2)
        other.register(handler, "test")
        # With a selector of its own: asyncio's default one is epoll, where there is one.
        other.attach(interval=0.01)
        assert descriptor_of(other) == -1
        for number in range(2):
            bus.post("test", "tick", number)
            await asyncio.sleep(0.02)
        await done.wait()
        await other.close()
        assert not has_timer(other)
        return seen

    loop = asyncio.SelectorEventLoop(__import__("selectors").SelectSelector())
    try:
        seen = loop.run_until_complete(asyncio.wait_for(main(), SECONDS))
    finally:
        loop.close()
    assert seen == [0, 1]


def test_it_looks_at_intervals_too_since_a_wake_up_may_be_lost(bus, other):
    async def main():
        handler, done = gather([], 1)
        other.register(handler, "test")
        other.attach(interval=0.01)
        asyncio.get_running_loop().remove_reader(descriptor_of(other))  # nobody wakes it
        bus.post("test", "tick")
        await done.wait()
        await other.close()

    run(main())


def test_a_bus_that_is_closed_meanwhile_is_let_go(bus, other):
    async def main():
        async with other:
            events = other.events("test")
            bus.close()
            poll_of_event_loop(other)
            assert not other.attached()
            assert [event async for event in events] == []

    run(main())


def is_open(descriptor):
    try:
        os.fstat(descriptor)
        return True
    except OSError:
        return False


@needs_epoll
def test_closing_the_bus_detaches_it_before_its_descriptor_is_closed(bus, other):
    """Else the event loop would hear nothing of the next file of that number."""

    async def main():
        ours, theirs = socket.socketpair()
        other.attach()
        events = other.events("test")
        number = descriptor_of(other)
        bus.close()
        assert not other.attached()
        assert not is_open(number)
        os.dup2(ours.fileno(), number)
        heard = asyncio.Event()
        asyncio.get_running_loop().add_reader(number, heard.set)
        theirs.send(b"hello")
        await heard.wait()
        asyncio.get_running_loop().remove_reader(number)
        for close in (ours.close, theirs.close, functools.partial(os.close, number)):
            close()
        assert [event async for event in events] == []

    run(main())


@needs_epoll
def test_closing_the_bus_in_another_thread_has_the_event_loop_detach_it(bus, other):
    """And close the descriptor only then, which it watches until it comes to that."""

    async def main():
        second = aio.AsyncBus(bus)
        for one in (other, second):
            one.attach()
        number = descriptor_of(other)
        thread = threading.Thread(target=bus.close)
        thread.start()
        thread.join()
        assert is_open(number)
        while other.attached() or second.attached():
            await asyncio.sleep(0)
        assert not is_open(number)

    run(main())


def test_attached_again_it_is_not_detached_by_what_was_closed_before(bus, other, name):
    async def main():
        other.attach()
        thread = threading.Thread(target=bus.close)
        thread.start()
        thread.join()
        other.detach()
        bus.configure(name, interval=0)
        async with other:
            for _ in range(3):
                await asyncio.sleep(0)
            assert other.attached()

    run(main())


@needs_epoll
@pytest.mark.parametrize("in_thread", [False, True])
def test_a_bus_may_be_closed_when_the_event_loop_is_closed_already(bus, other, in_thread):
    async def main():
        other.attach()
        events = other.events("test")
        waiting.append(asyncio.ensure_future(events.__anext__()))
        await asyncio.sleep(0)

    waiting = []
    loop = asyncio.new_event_loop()
    loop.run_until_complete(main())
    number = descriptor_of(other)
    loop.close()
    if in_thread:
        thread = threading.Thread(target=bus.close)
        thread.start()
        thread.join()
    else:
        bus.close()
    assert not is_open(number)
    assert not other.attached()
    waiting[0]._log_destroy_pending = False  # it is left behind on purpose


def test_a_bus_whose_lock_is_held_is_tried_again(bus, other, fork, caplog):
    """G5: an event with `unique` needs the lock; who holds it is stopped."""
    bus.configure(wait_max=0.05)

    def hold(parent):
        under_lock(bus, lambda: (parent.tell("it is held"), parent.hear()))

    async def main():
        handler, done = gather([], 1)
        other.register(handler, "test")
        bus.post("test", "tick", unique="key")
        child = fork(hold)
        child.hear()
        async with other:
            while "next try in" not in caplog.text:
                await asyncio.sleep(0.01)
            child.say("let go")
            child.result()
            await done.wait()

    run(main())


def test_a_bus_with_a_thread_of_its_own_is_refused(bus, other):
    bus.configure(interval=1)

    async def main():
        with pytest.raises(ValueError, match="interval=0"):
            other.attach()
        assert not other.attached()

    run(main())


def test_a_closed_bus_is_refused(bus, other):
    bus.close()

    async def main():
        with pytest.raises(stdevents.NotConfigured):
            other.attach()
        with pytest.raises(stdevents.NotConfigured):
            other.events()

    run(main())


def test_it_is_attached_to_one_event_loop_that_runs(bus, other):
    with pytest.raises(RuntimeError, match="no running event loop"):
        other.attach()

    async def main():
        async with other:
            with pytest.raises(RuntimeError, match="detach it first"):
                other.attach()

    run(main())


def test_a_forked_child_is_not_attached_and_can_be(bus, other, fork):
    """G7: its event loop is another."""

    def attach(parent):
        assert not other.attached()
        asyncio._set_running_loop(None)  # it was forked amid the parent's

        async def main():
            seen = []
            handler, done = gather(seen, 1)
            other.register(handler, "test")
            async with other:
                bus.post("test", "tick", "in the child")
                await done.wait()
            return seen

        return run(main())

    async def main():
        async with other:
            assert fork(attach).result() == ["in the child"]
            assert other.attached()

    run(main())


def test_what_cannot_be_called_is_no_handler(bus, other):
    with pytest.raises(TypeError, match="not callable"):
        other.register("drop", "test")


def test_without_it_a_coroutine_function_is_refused_with_the_way_out(bus):
    async def handler(data, event, source, pid):
        raise NotImplementedError

    with pytest.raises(TypeError, match=r"AsyncBus of stdevents\.aio"):
        bus.register(handler)


def test_it_takes_the_process_wide_bus_by_itself(name):
    async def main():
        stdevents.configure(name, interval=0)
        async with aio.AsyncBus() as bus:
            events = bus.events("test")
            stdevents.post("test", "tick", 1)
            assert (await events.__anext__()).data == 1
        stdevents.close()

    run(main())


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


def test_it_is_there_without_an_import_of_its_own():
    program = "import sys, stdevents; print('asyncio' in sys.modules, stdevents.aio.AsyncBus)"
    assert run_program(program) == "False <class 'stdevents.aio.AsyncBus'>\n"

"""To be attached to an event loop: from when to when, by what it is woken, and what ends it."""

from __future__ import annotations

import asyncio
import functools
import os
import pickle
import select
import socket
import threading

import pytest
from event_loops import SECONDS, gather, run
from inside import (
    descriptor_of,
    has_timer,
    poll_of_event_loop,
    stop_listening,
    under_lock,
)
from programs import run as run_program
from steps import at_each, with_steps

import stdevents
from stdevents import aio

needs_epoll = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")
FOR_EVER = 1000.0  # seconds between two looks: none comes


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


def test_what_a_handler_raises_counts_after_a_poll_in_another_thread(bus, other, caplog):
    """G6: the poll is over by then, and could not tell it."""

    async def main():
        @other.on("test")
        def handler(data, event, source, pid):
            raise LookupError

        async with other:
            number = bus.post("test", "event")
            poller = threading.Thread(target=bus.poll)
            poller.start()
            poller.join()
            assert await other.wait(number, SECONDS)

    run(main())
    assert bus.stats().handler_errors == 1
    assert "event callback failed; source=test, event=event" in caplog.text


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


@needs_epoll
@pytest.mark.parametrize("who_leaves", ["the first", "the second"])
def test_one_that_leaves_the_event_loop_leaves_the_other_its_news(bus, other, who_leaves):
    """An event loop calls one function for a descriptor; they share the one of the bus."""

    async def main():
        second = aio.AsyncBus(bus)
        leaves, stays = (other, second) if who_leaves == "the first" else (second, other)
        seen = []
        handler, done = gather(seen, 2)
        stays.register(handler, "test")
        for one in (other, second):
            one.attach(interval=FOR_EVER)
        bus.post("test", "both")
        while not seen:
            await asyncio.sleep(0)
        leaves.detach()
        assert stays.attached() and not leaves.attached()
        bus.post("test", "one")
        await done.wait()
        await stays.close()
        assert not has_timer(stays)

    run(main())


def test_two_on_one_event_loop_look_as_often_as_either_asks_for(bus, other):
    async def main():
        second = aio.AsyncBus(bus)
        handler, done = gather([], 1)
        other.register(handler, "test")
        second.attach(interval=0.01)
        other.attach(interval=FOR_EVER)
        asyncio.get_running_loop().remove_reader(descriptor_of(other))  # nobody wakes it
        bus.post("test", "tick")
        await done.wait()
        await second.close()
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


@pytest.mark.parametrize("interval", ["x", None, True, 0, -1, float("nan"), float("inf")])
def test_an_interval_is_a_number_of_seconds(bus, other, interval):
    """More than 0: an event loop that polls in each of its steps never sleeps."""

    async def main():
        with pytest.raises((TypeError, ValueError), match="interval: "):
            other.attach(interval)
        assert not other.attached()

    run(main())


def test_what_ends_its_first_poll_leaves_it_unattached(bus, other):
    """`async with` has not begun then, and does not come to its end, either."""
    seen = []

    @bus.on("test")
    def handle(data, event, source, pid):
        seen.append(data)
        if data == "cancels":
            raise asyncio.CancelledError

    async def main():
        bus.post("test", "event", "cancels")
        with pytest.raises(asyncio.CancelledError):
            async with other:
                raise NotImplementedError
        assert not other.attached()
        assert not has_timer(other)
        bus.post("test", "event", "goes on")
        async with other:
            assert seen == ["cancels", "goes on"]

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
    """Where there is none it says what else there is, as for trio."""
    with pytest.raises(RuntimeError, match=r"no asyncio event loop runs .* wait for `fileno\(\)`"):
        other.attach()
    assert not other.attached()

    async def main():
        async with other:
            with pytest.raises(RuntimeError, match="detach it first"):
                other.attach()

    run(main())


def test_a_forked_child_is_not_attached_and_can_be(bus, other, fork):
    """G7: its event loop is another."""

    def attach(parent):
        assert not other.attached()
        asyncio._set_running_loop(None)  # it was forked in the parent's

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


def test_it_takes_the_process_wide_bus_by_itself(name):
    async def main():
        stdevents.configure(name, interval=0)
        async with aio.AsyncBus() as bus:
            events = bus.events("test")
            stdevents.post("test", "tick", 1)
            assert (await events.__anext__()).data == 1
        stdevents.close()

    run(main())


def test_it_cannot_be_pickled(bus):
    """Also where the bus can be, as the package's: whoever passes it on is told what to do."""
    for one in (aio.AsyncBus(), aio.AsyncBus(bus)):
        with pytest.raises(TypeError, match="^<AsyncBus .* make one in the other process"):
            pickle.dumps(one)


def test_it_is_there_without_an_import_of_its_own():
    program = "import sys, stdevents; print('asyncio' in sys.modules, stdevents.aio.AsyncBus)"
    assert run_program(program) == "False <class 'stdevents.aio.AsyncBus'>\n"


def test_a_close_lets_go_of_an_event_loop_that_has_ended(bus, other):
    async def attach():
        other.attach()

    run(attach())
    assert other.attached()
    run(other.close())
    assert not other.attached()
    run(attach())
    run(other.close())


@pytest.mark.parametrize("work", ["register", "unregister"])
def test_a_finaliser_may_register_and_unregister_at_any_step_of_that(watchdog, work):
    """Of another handler: what it did is not undone."""

    async def first(data, event, source, pid):
        pass

    async def gone(data, event, source, pid):
        pass

    async def added(data, event, source, pid):
        pass

    changes = []

    def change():
        changes.append((bus.register(added, "test"), bus.unregister(gone, "test")))

    for at_step in at_each(change):
        bus = aio.AsyncBus(stdevents.Bus())
        bus.register(gone, "test")
        if work == "unregister":
            bus.register(first, "test")
        with_steps(lambda: getattr(bus, work)(first, "test"), at_step, opcodes=True)  # noqa: B023
        held = [one for one in (first, gone, added) if bus.unregister(one, "test")]
        expected = added if changes else gone
        assert held == ([expected] if work == "unregister" else [first, expected])
        assert changes in ([], [(added, True)])
        changes.clear()

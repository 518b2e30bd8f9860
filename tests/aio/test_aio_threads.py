"""An AsyncBus that several threads use at once, each with an event loop of its own or none."""

from __future__ import annotations

import asyncio
import threading

import pytest
from event_loops import run
from waiting import LONG, OFTEN

ROUNDS = OFTEN // 10


def at_once(*works):
    """Have each work done by a thread of its own; what they return, or raise."""
    outcomes, all_here = [], threading.Barrier(len(works))

    def one(work):
        all_here.wait(LONG)
        try:
            outcomes.append(work())
        except Exception as error:
            outcomes.append(error)

    threads = [threading.Thread(target=one, args=(work,)) for work in works]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return outcomes


def test_what_two_threads_register_in_one_place_is_called_once(bus, other):
    for _ in range(ROUNDS):
        calls = []

        def handler(*_, calls=calls):
            calls.append(1)

        def register(handler=handler):
            other.register(handler, "test")

        async def main():
            async with other:
                bus.post("test", "event")
                bus.poll()

        at_once(register, register)
        run(main())
        assert calls == [1]
        assert other.unregister(handler, "test")


def test_one_of_two_event_loops_that_attach_at_once_is_refused(bus, other):
    """Else both would poll, and only one of them be let go of."""

    async def attach(both_tried):
        try:
            other.attach()
        finally:
            both_tried.wait(LONG)
        await other.close()

    for _ in range(ROUNDS):
        both_tried = threading.Barrier(2)
        outcomes = at_once(*[lambda tried=both_tried: asyncio.run(attach(tried))] * 2)
        refused = [one for one in outcomes if one is not None]
        assert [type(one) for one in refused] == [RuntimeError]
        assert "detach it first" in str(refused[0])


@pytest.mark.parametrize("first_closes", ["before", "after"])
def test_a_close_leaves_another_event_loop_alone(bus, other, first_closes, watchdog):
    """It would end what is attached there, or wait for a task that it never hears of."""
    attached, closed, seen = threading.Event(), threading.Event(), []

    @other.on("test")
    async def handler(data, event, source, pid):
        seen.append(data)
        while not (closed.is_set() if data == "second" else attached.is_set()):
            await asyncio.sleep(0.001)

    async def second():
        async with other:
            bus.post("test", "event", "second")
            bus.poll()
            attached.set()
            assert await asyncio.get_running_loop().run_in_executor(None, closed.wait, LONG)

    async def first():
        other.attach()
        bus.post("test", "event", "first")
        bus.poll()
        other.detach()
        thread = threading.Thread(target=run, args=(second(),))
        if first_closes == "before":
            closing = asyncio.ensure_future(other.close())
            await asyncio.sleep(0)
            thread.start()
            await closing
        else:
            thread.start()
            await asyncio.get_running_loop().run_in_executor(None, attached.wait, LONG)
            await other.close()
        assert other.attached()
        closed.set()
        await asyncio.get_running_loop().run_in_executor(None, thread.join)

    run(first())
    assert sorted(seen) == ["first", "second"]  # each on its own event loop

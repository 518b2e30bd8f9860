"""An event loop that polls goes on, whatever a plain handler raises; and it waits for no room."""

from __future__ import annotations

import asyncio
import contextlib
import os
import select
import selectors

import pytest
from event_loops import SECONDS, run

import stdevents
from stdevents import aio


def raise_cancelled():
    """As a plain handler does that asks a cancelled future for its result."""
    future = asyncio.get_running_loop().create_future()
    future.cancel()
    future.result()


def raise_timeout():
    raise TimeoutError


async def five_events(bus, other, first, interval):
    """What a plain handler is given of five events; that of the first one does `first()`."""
    loop = asyncio.get_running_loop()
    reported, seen, done = [], [], asyncio.Event()
    loop.set_exception_handler(lambda loop, context: reported.append(context))

    @other.on("test")
    def plain(data, event, source, pid):
        seen.append(data)
        if data == 0:
            first()
        if data == 4:
            done.set()

    other.attach(interval=interval)
    for number in range(5):
        bus.post("test", "event", number)
        await asyncio.sleep(0)
    await done.wait()
    await other.close()
    return seen


@pytest.mark.parametrize("first", [raise_cancelled, raise_timeout])
def test_what_a_plain_handler_raises_ends_no_look_at_intervals(bus, other, monkeypatch, first):
    """Where there is no descriptor to watch, nothing else would call it again."""
    monkeypatch.delattr(select, "epoll", raising=False)
    loop = asyncio.SelectorEventLoop(selectors.SelectSelector())
    with contextlib.closing(loop):
        main = asyncio.wait_for(five_events(bus, other, first, 0.01), SECONDS)
        assert loop.run_until_complete(main) == [0, 1, 2, 3, 4]


@pytest.mark.parametrize("first", [raise_cancelled, raise_timeout])
def test_what_a_plain_handler_raises_leaves_the_descriptor_readable(bus, other, first):
    """The events after it come at once, not after an interval."""
    assert run(five_events(bus, other, first, 1000)) == [0, 1, 2, 3, 4]


def test_who_waits_is_not_cancelled_by_what_a_plain_handler_raises(bus, other):
    """Nobody has cancelled that task; the event loop is told, as of any callback that fails."""

    async def main():
        reported = []
        asyncio.get_running_loop().set_exception_handler(
            lambda loop, context: reported.append(type(context["exception"]))
        )
        other.register(lambda *event: raise_cancelled(), "test")
        async with other:
            assert await other.wait(bus.post("test", "event"), SECONDS)
        assert reported == [asyncio.CancelledError]

    run(main())


def test_a_post_that_would_wait_for_its_own_event_loop_is_told_at_once(name):
    """DESIGN: nothing but its own return lets that worker go on."""

    async def main():
        async with aio.AsyncBus(bus):
            await asyncio.sleep(0)
            with pytest.raises(stdevents.NoRoom) as caught:
                for number in range(100):
                    bus.post("test", "event", number)
        return caught.value

    bus = stdevents.Bus(name, interval=0, overflow="wait", size=4096, shm_retries=10**9)
    assert run(main()).pids == (os.getpid(),)
    bus.close()

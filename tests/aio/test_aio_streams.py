"""`async for`: events taken one at a time."""

from __future__ import annotations

import asyncio
import threading

import pytest
from event_loops import run
from inside import (
    streams_of,
)


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


def test_an_iterator_that_is_closed_ends_and_drops_what_it_has(bus, other):
    async def main():
        async with other:
            events, others = other.events("test"), other.events("test")
            waiting = asyncio.ensure_future(events.__anext__())
            await asyncio.sleep(0)
            await events.aclose()
            with pytest.raises(StopAsyncIteration):
                await waiting
            bus.post("test", "tick")
            bus.poll()
            await asyncio.sleep(0)
            assert [event async for event in events] == []
            assert (await others.__anext__()).event == "tick"
            bus.post("test", "tick")
            bus.poll()
            assert bus.stats().unhandled == 0
            await others.aclose()
            await others.aclose()
            assert [event async for event in others] == []
            bus.post("test", "tick")
            bus.poll()
            assert bus.stats().unhandled == 1
        await others.aclose()

    run(main())


def test_what_comes_to_a_closed_iterator_from_another_thread_is_dropped(bus, other):
    async def main():
        async with other:
            events = other.events("test")
            bus.post("test", "tick")
            polling = threading.Thread(target=bus.poll)
            polling.start()
            polling.join()
            await events.aclose()
            await asyncio.sleep(0.01)
            assert [event async for event in events] == []

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

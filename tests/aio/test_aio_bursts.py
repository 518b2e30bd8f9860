"""A burst is handled by a timer of the event loop, a single event at once."""

from __future__ import annotations

import asyncio
import select
import time

import pytest
from event_loops import run
from inside import StoppedClock, descriptor_of, is_in_burst, stop_listening

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll here")

FOR_EVER = 1000.0  # seconds between two looks: none comes


@pytest.fixture
def clock(monkeypatch):
    """While it stands, all news are a burst."""
    return StoppedClock(monkeypatch)


@pytest.fixture
def polls(bus, monkeypatch):
    """Grows by one with each poll."""
    polls, poll = [], bus.poll

    def count():
        polls.append(None)
        return poll()

    monkeypatch.setattr(bus, "poll", count)
    return polls


@pytest.fixture
def seen(other):
    """The data of the events that are handled."""
    seen = []
    other.register(lambda data, *_: seen.append(data), "test")
    return seen


def hold_timers(monkeypatch):
    """The timers that the event loop is asked for; it fires none of them."""
    timers = []
    loop = asyncio.get_running_loop()

    class Timer:
        def __init__(self, delay, callback):
            self.delay, self.fire = delay, callback
            timers.append(self)

        def cancel(self):
            timers.remove(self)

        def __call__(self):
            timers.remove(self)
            self.fire()

    monkeypatch.setattr(loop, "call_later", Timer)
    return timers


async def turn():
    """More turns of the event loop than it takes to hear of something."""
    for _ in range(5):
        await asyncio.sleep(0)


def post_when_told(parent, bus):
    while True:
        number = parent.hear()
        if number is None:
            return
        bus.post("test", "tick", number)
        parent.tell("posted")


async def posted(child, number):
    """Another process posts, and this event loop has time to hear of it."""
    child.say(number)
    assert child.hear() == "posted"
    await turn()


def test_all_events_of_a_burst_are_handled_in_one_poll(
    bus, other, fork, clock, polls, seen, monkeypatch
):
    async def main():
        child = fork(post_when_told, bus)
        other.attach(interval=FOR_EVER)
        await turn()
        timers, before = hold_timers(monkeypatch), len(polls)
        for number in range(100):
            await posted(child, number)
        assert (seen, len(polls) - before, len(timers)) == ([], 0, 1)
        assert 0 < timers[0].delay < 0.01  # seconds
        timers[0]()
        assert (seen, len(polls) - before) == (list(range(100)), 1)
        child.say(None)
        child.result()
        other.detach()

    run(main())


def test_events_that_come_one_by_one_take_fewer_polls(bus, other, fork, polls, seen):
    """With its own clock and timers: each event would be a poll of its own, if it were heard."""

    async def main():
        child = fork(post_when_told, bus)
        other.attach(interval=FOR_EVER)
        for number in range(500):
            child.say(number)
            assert child.hear() == "posted"
            await asyncio.sleep(0)
        while len(seen) < 500:
            await asyncio.sleep(0)
        child.say(None)
        child.result()
        other.detach()

    run(main())
    assert len(polls) < 500
    assert seen == list(range(500))


def test_a_single_event_is_handled_at_once(bus, other, fork, clock, polls, seen, monkeypatch):
    async def main():
        child = fork(post_when_told, bus)
        other.attach(interval=FOR_EVER)
        await turn()
        timers, before = hold_timers(monkeypatch), len(polls)
        for number in range(10):
            clock.now += 1  # second, since the last poll
            await posted(child, number)
            assert (seen[-1], len(polls) - before) == (number, number + 1)
        assert timers == []
        child.say(None)
        child.result()
        other.detach()

    run(main())


def test_after_a_burst_the_event_loop_sleeps_until_there_is_news(
    bus, other, clock, polls, seen, monkeypatch
):
    async def main():
        other.attach(interval=FOR_EVER)
        await turn()
        timers = hold_timers(monkeypatch)
        bus.post("test", "tick", 1)
        await turn()
        timers[0]()  # finds it
        assert seen == [1] and is_in_burst(other)
        before = len(polls)
        timers[0]()  # finds nothing
        await turn()
        assert not timers and not is_in_burst(other) and len(polls) == before
        clock.now += 1
        bus.post("test", "tick", 2)
        await turn()
        assert seen == [1, 2]
        other.detach()

    run(main())


def test_the_event_loop_does_other_things_during_a_burst(bus, other, clock, monkeypatch):
    """The descriptor stays readable: watched, it would wake the event loop for nothing."""

    async def main():
        other.attach(interval=FOR_EVER)
        await turn()
        hold_timers(monkeypatch)
        bus.post("test", "tick")
        await turn()
        number = descriptor_of(other)
        assert select.select([number], [], [], 0)[0] == [number]
        assert not asyncio.get_running_loop().remove_reader(number)
        other.detach()

    run(main())


def test_detached_in_a_burst_it_leaves_the_news_to_others(bus, other, clock, seen, monkeypatch):
    async def main():
        other.attach(interval=FOR_EVER)
        await turn()
        timers = hold_timers(monkeypatch)
        bus.post("test", "tick")
        await turn()
        number = descriptor_of(other)
        assert is_in_burst(other)
        other.detach()
        assert (timers, seen) == ([], [])
        assert select.select([number], [], [], 0)[0] == [number]

    run(main())


def test_a_handler_may_detach_it_in_a_burst(bus, other, clock, polls, monkeypatch):
    async def main():
        other.register(lambda *_: other.detach(), "test")
        other.attach(interval=FOR_EVER)
        await turn()
        timers = hold_timers(monkeypatch)
        bus.post("test", "tick")
        await turn()
        timers[0]()
        assert not other.attached() and not timers

    run(main())


def test_a_descriptor_that_cannot_be_watched_is_tried_again(bus, other, clock, seen, monkeypatch):
    """As one that other code has closed."""

    async def main():
        loop = asyncio.get_running_loop()
        reported = []
        loop.set_exception_handler(lambda loop, context: reported.append(context["exception"]))

        def refuse(*_):
            raise OSError("closed")

        other.attach(interval=0.01)
        await turn()
        with monkeypatch.context() as patch:
            patch.setattr(loop, "add_reader", refuse)
            bus.post("test", "tick", 1)
            while not reported:
                await asyncio.sleep(0.001)
        while descriptor_of(other) < 0:
            await asyncio.sleep(0.001)
        assert loop.remove_reader(descriptor_of(other))
        other.detach()

    run(main())
    assert seen == [1]


def test_a_clock_that_test_tools_stop_keeps_no_event_back(
    bus, other, clock, seen, watchdog, monkeypatch
):
    """The timers of an event loop that looks at it fire no more."""

    async def main():
        other.attach(interval=FOR_EVER)
        await turn()
        still = time.monotonic() - 1000
        with monkeypatch.context() as patch:
            patch.setattr(time, "monotonic", lambda: still)
            for number in range(10):
                bus.post("test", "tick", number)
                while len(seen) <= number:
                    await asyncio.sleep(0)
        other.detach()

    run(main())


def test_looks_are_not_stopped_for_a_burst(bus, other, clock, polls):
    async def main():
        other.attach(interval=0.01)
        await turn()
        bus.post("test", "tick")
        await turn()
        before = len(polls)
        while len(polls) < before + 5:
            await asyncio.sleep(0.01)
        stop_listening(other)
        other.detach()

    run(main())

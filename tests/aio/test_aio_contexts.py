"""The context (`contextvars`) that handlers run in is that in which the bus was attached."""

from __future__ import annotations

import asyncio
import contextvars
import threading

import pytest
from event_loops import run

WHOSE = contextvars.ContextVar("WHOSE", default="nobody's")


def note(other):
    """Handlers that note whose context they run in, before they make it their own."""
    seen = []

    @other.on("test")
    def plain(data, event, source, pid):
        seen.append(WHOSE.get())
        WHOSE.set("the handler's")

    @other.on("other")
    async def coroutine(data, event, source, pid):
        seen.append(WHOSE.get())

    @other.answer("test", "event")
    def answer(data, event, source, pid):
        return WHOSE.get()

    return seen


async def in_context(coroutine, whose):
    """What it returns; and whose its context was at its end."""

    async def work():
        WHOSE.set(whose)
        return await coroutine, WHOSE.get()

    return await asyncio.ensure_future(work())


@pytest.mark.parametrize("source", ["test", "other"])
def test_a_handler_does_not_run_in_the_context_of_who_waits(bus, other, source):
    """That of a request, as its user or its trace, is none of an event's that came meanwhile."""

    async def main():
        seen = note(other)
        WHOSE.set("the program's")
        async with other:
            waited = other.wait(bus.post(source, "event"))
            assert await in_context(waited, "a request's") == (True, "a request's")
        assert seen == ["the program's"]

    run(main())


def test_an_answerer_does_not_run_in_the_context_of_who_asks(bus, other):
    async def main():
        note(other)
        WHOSE.set("the program's")
        async with other:
            answers, _ = await in_context(other.ask("test", "event"), "a request's")
        assert [answer.value for answer in answers.values()] == ["the program's"]

    run(main())


@pytest.mark.parametrize("source", ["test", "other"])
def test_a_handler_does_not_run_in_the_context_of_a_poll_elsewhere(bus, other, source):
    def request():
        WHOSE.set("a request's")
        bus.poll()

    async def main():
        seen = note(other)
        WHOSE.set("the program's")
        async with other:
            bus.post(source, "event")
            thread = threading.Thread(target=request)
            thread.start()
            thread.join()
            assert await other.wait(bus.stats().last_id)
        assert seen == ["the program's"]

    run(main())


def test_what_handlers_set_in_the_first_poll_is_not_set_for_who_attaches(bus, other):
    async def main():
        seen = note(other)
        bus.post("test", "event")
        async with other:
            assert seen == ["nobody's"]
            assert WHOSE.get() == "nobody's"

    run(main())

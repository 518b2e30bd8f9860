"""`ask` and `answer` with asyncio: answerers may be coroutine functions."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import os
import select
import threading

import pytest
from event_loops import run
from inside import ask_who_lives_after, is_deaf, tasks_of

import stdevents
from stdevents import aio

PATIENT = 20  # seconds


def answer_until_told(parent, bus, name):
    """Be another worker, with a loop, that answers."""
    bus.close()
    other = stdevents.Bus()
    other.answer("test", "who")(lambda data, *_: [os.getpid(), data])
    other.configure(name)
    parent.tell()
    parent.hear()
    other.close()


@pytest.mark.parametrize("deaf", [False, True])
def test_a_question_is_awaited_while_the_event_loop_goes_on(
    bus, other, fork, name, monkeypatch, deaf
):
    """Also where the bell is not heard, as without epoll."""
    if deaf:
        is_deaf(monkeypatch)
    child = fork(answer_until_told, bus, name)
    child.hear()

    async def main():
        turns = []

        @other.answer("test", "who")
        async def who(data, event, source, pid):
            await asyncio.sleep(0)
            turns.append(1)
            return {"mine": data}

        async with other:
            found = await other.ask("test", "who", 7, PATIENT)
        assert found[0] == (os.getpid(), {"mine": 7}, None)
        assert found[1] == (child.pid, [child.pid, 7], None)
        assert turns == [1]

    run(main())
    child.say()
    child.result()


def test_another_process_is_answered_by_coroutines(bus, other, fork, name):
    def ask(parent):
        bus.close()
        with stdevents.Bus(name, role="poster") as asker:
            names = ("coroutine", "plain", "fails", "cancelled", "fails in time")
            return [asker.ask("test", one, [1], PATIENT)[0][1:] for one in names]

    async def main():
        @other.answer("test", "coroutine")
        async def coroutine(data, event, source, pid):
            await asyncio.sleep(0)
            return [data, event, source]

        @other.answer("test", "plain")
        def plain(data, event, source, pid):
            return event

        @other.answer("test", "fails")
        def fail(data, event, source, pid):
            raise ValueError("secret")

        @other.answer("test", "cancelled")
        async def cancelled(data, event, source, pid):
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        @other.answer("test", "fails in time")
        async def fail_in_time(data, event, source, pid):
            await asyncio.sleep(0)
            raise KeyError("secret")

        async with other:
            child = fork(ask)
            loop = asyncio.get_running_loop()
            result = await loop.run_in_executor(None, child.result)
        assert result == [
            ([[1], "coroutine", "test"], None),
            ("plain", None),
            (None, "its answerer failed: ValueError; see its log"),
            (None, "its answerer was cancelled"),
            (None, "its answerer failed: KeyError; see its log"),
        ]
        assert bus.stats().handler_errors == 2
        assert not tasks_of(other)

    run(main())


def test_an_answer_whose_own_code_fails_is_a_failure_of_the_answerer(bus, other, caplog):
    """As a row of a database that is read when it is written as JSON."""

    class Row(dict):
        def items(self):
            raise OSError("secret")

    @other.answer("test", "row")
    async def row(data, event, source, pid):
        return Row(a=1)

    async def main():
        async with other:
            found = await other.ask("test", "row", None, PATIENT)
        assert found[0].error == "its answerer failed: OSError; see its log"

    run(main())
    assert bus.stats().handler_errors == 1
    assert "event callback failed; source=test, event=row" in caplog.text


def test_an_answerer_that_is_cancelled_before_its_first_step_says_so(bus, other):
    """And its coroutine is closed: nobody else would, and Python would warn of it."""
    begun = []

    async def answer():
        raise NotImplementedError

    def cancel():
        for task in tasks_of(other):
            task.cancel()

    @other.answer("test", "who")
    def who(data, event, source, pid):
        asyncio.get_running_loop().call_soon(cancel)  # that comes before the first step
        begun.append(answer())
        return begun[-1]

    async def main():
        async with other:
            found = await other.ask("test", "who", None, PATIENT)
        assert found == {0: (os.getpid(), None, "its answerer was cancelled")}
        assert [inspect.getcoroutinestate(one) for one in begun] == [inspect.CORO_CLOSED]

    run(main())
    assert bus.stats().handler_errors == 0


def test_a_poster_asks_and_waits_and_handles_nothing(name, fork, monkeypatch, caplog):
    """It polls nothing, which would be an error, and the answers wake it."""
    if hasattr(select, "epoll"):
        ask_who_lives_after(monkeypatch, 1000)  # nothing else wakes it

    def answer(parent):
        with contextlib.closing(stdevents.Bus()) as worker:

            @worker.answer("test", "who")
            def who(data, event, source, pid):
                parent.tell("in the answerer")
                return parent.hear()

            over = threading.Event()
            worker.register(lambda *_: over.set(), "test", "over")
            worker.configure(name)
            parent.tell("open")
            assert over.wait(PATIENT)

    child = fork(answer)
    assert child.hear() == "open"
    poster = stdevents.Bus(name, interval=0, role="poster")
    other = aio.AsyncBus(poster)

    async def main():
        async with other:
            asking = asyncio.ensure_future(other.ask("test", "who", None, PATIENT))
            await asyncio.sleep(0)
            assert child.hear() == "in the answerer"
            for _ in range(10):  # more turns of the event loop than it takes to fall asleep
                await asyncio.sleep(0)
            child.say("mine")
            assert await asking == {0: (child.pid, "mine", None)}
            assert await other.wait(poster.post("test", "over"), PATIENT)
            with pytest.raises(stdevents.StdeventsError, match="only posts"):
                other.events("test")
            with pytest.raises(stdevents.StdeventsError, match="only posts"):
                other.answer("test", "what")
        assert not other.attached()

    with contextlib.closing(poster):
        run(main())
    child.result()
    assert caplog.records == []


def test_who_is_not_attached_says_so(bus, other, caplog):
    """The asker is told at once."""

    @other.answer("test", "who")
    async def who(data, event, source, pid):
        return 1

    error = bus.ask("test", "who", None, PATIENT)[0].error
    assert error == "its answerer failed: NotConfigured; see its log"


def test_an_answerer_that_does_not_answer_in_time(bus, other):
    """Its task goes on, and what it returns is dropped."""

    async def main():
        go_on = asyncio.Event()

        @other.answer("test", "who")
        async def who(data, event, source, pid):
            await go_on.wait()
            return 1

        async with other:
            found = await other.ask("test", "who", None, 0.1)
            assert found[0].error == "no answer within 0.1 s"
            go_on.set()

    run(main())
    assert bus.stats().handler_errors == 0


def test_many_ask_at_once(bus, other):
    async def main():
        @other.answer("test", "twice")
        async def twice(data, event, source, pid):
            await asyncio.sleep(0)
            return 2 * data

        async with other:
            asked = [other.ask("test", "twice", number, PATIENT) for number in range(50)]
            found = await asyncio.gather(*asked)
        assert [answers[0].value for answers in found] == [2 * number for number in range(50)]

    run(main())


def test_a_task_of_a_handler_that_asks_is_refused(bus, other, caplog):
    """It would wait for its own answer, where it is that of an answerer."""

    async def main():
        @other.answer("test", "who")
        async def who(data, event, source, pid):
            return await other.ask("test", "who")

        async with other:
            found = await other.ask("test", "who", None, PATIENT)
        assert found[0].error == "its answerer failed: StdeventsError; see its log"

    run(main())


def test_what_it_is_given_is_checked(bus, other):
    other.answer("test", "who")(lambda *_: 1)
    with pytest.raises(ValueError, match="already"):
        other.answer("test", "who")(lambda *_: 1)
    with pytest.raises(TypeError):
        other.answer("test", "what")(lambda data: 1)
    with pytest.raises(ValueError, match="source"):
        other.answer("", "what")

    async def main():
        with pytest.raises(stdevents.NotConfigured):
            await other.ask("test", "who")
        async with other:
            with pytest.raises(ValueError, match="timeout"):
                await other.ask("test", "who", None, -1)
            with pytest.raises(stdevents.EncodeError):
                await other.ask("test", "who", {1})
            assert (await other.ask("test", "who"))[0].value == 1

    run(main())

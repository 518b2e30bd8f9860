"""`wait` and asyncio: the tasks of coroutine handlers count, for every worker that waits."""

from __future__ import annotations

import asyncio
import gc
import os
import select
import threading

import pytest
from event_loops import run
from inside import has_ears, is_deaf, look_at_ground, recover, remove_memory, tasks_of

import stdevents
from stdevents import aio

LONG = 20  # seconds


def poll_when_told(parent, bus, name):
    """Be another worker, that polls each time that it hears something, until that is "leave"."""
    bus.close()
    other = stdevents.Bus(name, interval=0)
    other.poll()
    parent.tell("open")
    while parent.hear() != "leave":
        other.poll()
    other.close()


def count_files():
    """How many this process has open; some of them may be garbage yet, of earlier tests."""
    gc.collect()
    return len(os.listdir("/dev/fd"))


async def begin_slowly(bus, other):
    """Have a task of a handler begin, on the event loop that runs; what lets it go on."""
    begun, go_on = asyncio.Event(), asyncio.Event()

    @other.on("test", "slow")
    async def handle(data, event, source, pid):
        begun.set()
        await go_on.wait()

    other.attach()
    bus.post("test", "slow")
    await begun.wait()
    return go_on


def test_a_task_is_waited_for(bus, other):
    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        @other.on("test")
        async def handle(data, event, source, pid):
            begun.set()
            await go_on.wait()

        async with other:
            number = bus.post("test", "event")
            waiting = asyncio.ensure_future(other.wait(number, LONG))
            await begun.wait()
            assert not await other.wait(number, 0)
            later = bus.post("other", "event")
            assert not await other.wait(later, 0), "those after it are not told to be done either"
            go_on.set()
            assert await waiting
            assert await other.wait(later, LONG)

    run(main())


def test_another_worker_waits_for_a_task_as_well(bus, other, fork, name):
    """DESIGN 4: TASKS says so in the slot, and DONE is moved at the end of the task."""

    def wait_twice(parent):
        bus.close()
        waiter = stdevents.Bus(name)
        number = waiter.post("test", "event")
        parent.tell(waiter.wait(number, 0.3))
        parent.hear()
        parent.tell(waiter.wait(number, LONG))
        waiter.close()

    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        @other.on("test")
        async def handle(data, event, source, pid):
            begun.set()
            await go_on.wait()

        async with other:
            child = fork(wait_twice)
            await begun.wait()
            bus.post("test", "next")  # POSITION is beyond the event now, and the task goes on
            loop = asyncio.get_running_loop()
            assert await loop.run_in_executor(None, child.hear) is False
            go_on.set()
            child.say()
            assert await loop.run_in_executor(None, child.hear) is True
            child.result()

    run(main())


def test_it_waits_for_other_workers_while_the_event_loop_goes_on(bus, other, fork, name):
    child = fork(poll_when_told, bus, name)
    child.hear()

    async def main():
        async with other:
            number = bus.post("test", "event")
            waiting = asyncio.ensure_future(other.wait(number, LONG))
            await asyncio.sleep(0)
            assert not waiting.done()
            child.say()
            assert await waiting
            child.say("leave")

    run(main())
    child.result()


def test_it_works_where_the_bell_is_not_heard(bus, other, fork, name, monkeypatch):
    """As where there is no epoll."""
    is_deaf(monkeypatch)
    child = fork(poll_when_told, bus, name)
    child.hear()

    async def main():
        async with other:
            waiting = asyncio.ensure_future(other.wait(bus.post("test", "event"), LONG))
            await asyncio.sleep(0)
            child.say()
            assert await waiting
            child.say("leave")

    run(main())
    child.result()


def test_a_hundred_that_wait_or_ask_take_no_more_files_than_one(bus, other, fork, name):
    """A worker is stopped, and requests wait for it: others have to be accepted meanwhile."""
    child = fork(poll_when_told, bus, name)
    child.hear()

    async def begin(count):
        begun = []
        for _ in range(count):
            waited = other.wait(bus.post("test", "event"), LONG)
            begun += map(asyncio.ensure_future, (waited, other.ask("test", "ask", timeout=LONG)))
        for _ in range(20):  # each is asleep after some steps
            await asyncio.sleep(0)
        return begun, count_files()

    async def main():
        async with other:
            before = count_files()
            first, files_of_one = await begin(1)
            others, files_of_all = await begin(50)
            assert files_of_all <= files_of_one
            child.say()
            assert all(await asyncio.gather(*first, *others))
            assert count_files() <= before
            child.say("leave")

    run(main())
    child.result()


def test_the_bell_is_heard_again_though_others_wait_still(bus, other, fork, name, monkeypatch):
    """They began when no descriptors were left, and there is always somebody who waits."""
    child = fork(poll_when_told, bus, name)
    child.hear()

    async def begin():
        begun = asyncio.ensure_future(other.wait(bus.post("test", "event"), LONG))
        for _ in range(20):  # it is asleep after some steps
            await asyncio.sleep(0)
        return begun

    async def main():
        async with other:
            with monkeypatch.context() as meanwhile:
                is_deaf(meanwhile)
                first = await begin()
                assert not has_ears(bus)
            second = await begin()
            assert has_ears(bus) == hasattr(select, "epoll")
            child.say()
            assert await first
            assert await second
            child.say("leave")

    run(main())
    child.result()


@pytest.mark.parametrize("when", ["opened later", "joined again"])
def test_tasks_count_on_each_seat_that_the_worker_takes(name, when):
    """Handlers may be registered before the bus is opened, and stay when it is lost."""
    bus = stdevents.Bus()
    other = aio.AsyncBus(bus)

    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        @other.on("test")
        async def handle(data, event, source, pid):
            begun.set()
            await go_on.wait()

        bus.configure(name, interval=0)
        if when == "joined again":
            recover(bus)
        async with other:
            number = bus.post("test", "event")
            waiting = asyncio.ensure_future(other.wait(number, LONG))
            await begun.wait()
            assert not await other.wait(number, 0)
            go_on.set()
            assert await waiting

    run(main())
    bus.close()


def test_a_task_is_waited_for_on_another_seat(bus, other, fork, name):
    """Also where it ends on that one; those who wait are woken."""

    def wait_twice(parent):
        bus.close()
        with stdevents.Bus(name, interval=0) as waiter:
            parent.tell(waiter.post("test", "event"))
            number = parent.hear()
            parent.tell(waiter.wait(number, 0))
            parent.tell(waiter.wait(number, LONG))

    async def main():
        begun, go_on = asyncio.Event(), asyncio.Event()

        @other.on("test")
        async def handle(data, event, source, pid):
            begun.set()
            await go_on.wait()

        async with other:
            child = fork(wait_twice)
            number = child.hear()
            await begun.wait()
            recover(bus)
            bus.poll()
            child.say(number)
            assert child.hear() is False
            go_on.set()
            assert await other.wait(number, LONG)
            assert child.hear() is True
            child.result()

    run(main())


@pytest.mark.parametrize("what", ["closed", "removed"])
def test_a_task_of_an_earlier_bus_is_not_waited_for(name, what):
    """Its event is none of the bus that there is now, whose ids begin anew."""
    bus = stdevents.Bus(name, interval=0)
    other = aio.AsyncBus(bus)

    async def main():
        go_on = await begin_slowly(bus, other)
        if what == "closed":
            bus.close()
            bus.configure(name, interval=0)
            other.attach()
        else:
            remove_memory(name)
            look_at_ground(bus)
            bus.poll()
        assert await other.wait(bus.post("test", "quick"), LONG)
        go_on.set()
        await other.close()

    run(main())
    bus.close()


def test_tasks_end_in_any_order(bus, other):
    async def main():
        gates = [asyncio.Event() for _ in range(4)]

        @other.on("test")
        async def handle(data, event, source, pid):
            await gates[data].wait()

        async with other:
            ids = [bus.post("test", "event", number) for number in range(4)]
            bus.poll()
            left = len(gates)
            for gate, done in ((2, []), (0, [0]), (3, [0]), (1, [0, 1, 2, 3])):
                gates[gate].set()
                left -= 1
                while len(tasks_of(other)) > left:
                    await asyncio.sleep(0)
                assert [n for n in range(4) if await other.wait(ids[n], 0)] == done

    run(main())


def test_a_task_that_fails_or_is_cancelled_is_done(bus, other, caplog):
    async def main():
        @other.on("test")
        async def handle(data, event, source, pid):
            if data == "fail":
                raise ValueError
            asyncio.current_task().cancel()
            await asyncio.sleep(0)

        async with other:
            for data in ("fail", "cancel"):
                assert await other.wait(bus.post("test", "event", data), LONG)

    run(main())


def test_a_poll_in_another_thread_counts_what_it_gives_to_the_event_loop(bus, other):
    async def main():
        seen = []

        @other.on("test")
        async def handle(data, event, source, pid):
            await asyncio.sleep(0)
            seen.append(data)

        async with other:
            number = bus.post("test", "event", 1)
            poller = threading.Thread(target=bus.poll)
            poller.start()
            poller.join()  # this thread has not been on the event loop meanwhile
            assert not await other.wait(number, 0)
            assert await other.wait(number, LONG)
        assert seen == [1]

    run(main())


def test_after_it_is_detached_a_worker_is_not_waited_for_in_vain(bus, other):
    """Its handlers fail from then on, as is told; what others wait for is done nevertheless."""

    async def main():
        @other.on("test", "begun")
        async def handle(data, event, source, pid):
            await asyncio.sleep(0)

        async with other:
            assert await other.wait(bus.post("test", "begun"), LONG)

    for _ in range(2):
        run(main())
        assert bus.wait(bus.post("test", "event"), 0)


def test_what_an_event_loop_was_given_and_never_began_is_not_waited_for(bus, other):
    """A poll in another thread gave it; that event loop has ended, and there is another one."""

    async def main():
        async with other:
            return await other.wait(bus.post("test", "event"), LONG)

    async def attach():
        other.attach()

    other.register(lambda *event: None, "test")
    ended = asyncio.new_event_loop()
    ended.run_until_complete(attach())
    bus.post("test", "event")
    polling = threading.Thread(target=bus.poll)
    polling.start()
    polling.join()
    ended.close()
    other.detach()
    assert run(main())


def test_a_task_that_waits_for_its_own_event_is_refused(bus, other):
    async def main():
        errors = asyncio.Queue()

        @other.on("test")
        async def handle(data, event, source, pid):
            with pytest.raises(stdevents.StdeventsError, match="its own end") as caught:
                await other.wait(bus.stats().last_id)
            errors.put_nowait(caught.value)

        async with other:
            bus.post("test", "event")
            await errors.get()

    run(main())


def test_what_it_is_given_is_checked(bus, other):
    async def main():
        with pytest.raises(stdevents.NotConfigured):
            await other.wait(1)
        async with other:
            for number, timeout, error in (("1", 1, TypeError), (99, 1, ValueError)):
                with pytest.raises(error):
                    await other.wait(number, timeout)
            with pytest.raises(ValueError, match="timeout"):
                await other.wait(1, -1)

    run(main())


def test_a_task_of_a_worker_whose_seat_was_lost_is_waited_for(bus, other):
    async def main():
        go_on = await begin_slowly(bus, other)
        recover(bus)
        number = bus.post("test", "quick")
        assert not await other.wait(number, 0)
        go_on.set()
        assert await other.wait(number, LONG)
        await other.close()

    run(main())


def test_a_forked_child_has_none_of_its_parents_tasks(bus, other, fork):
    """G7: it polls by hand, and nobody waits for it in vain."""

    def work(parent):
        number = bus.post("test", "event")
        bus.poll()
        parent.tell(number)
        parent.hear()

    async def main():
        go_on = asyncio.Event()

        @other.on("test", "begun")
        async def handle(data, event, source, pid):
            await go_on.wait()

        async with other:
            bus.post("test", "begun")
            bus.poll()
            child = fork(work)
            number = await asyncio.get_running_loop().run_in_executor(None, child.hear)
            go_on.set()
            assert await other.wait(number, LONG)
            child.say()

    run(main())

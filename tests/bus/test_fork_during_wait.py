"""A fork while another thread waits: the child keeps nothing of what that waits with."""

from __future__ import annotations

import asyncio
import os
import select
import threading
import time

import pytest
from children import threads_are_ours
from inside import has_ears
from waiting import LONG

import stdevents
from stdevents import aio

pytestmark = pytest.mark.skipif(not hasattr(select, "epoll"), reason="there is no epoll")


def count():
    """How many epolls this process has."""
    found = 0
    for number in os.listdir("/proc/self/fd"):
        try:
            found += "eventpoll" in os.readlink(f"/proc/self/fd/{number}")
        except OSError:  # the listing's own
            pass
    return found


def wait(bus, number):
    bus.wait(number, LONG)


def ask(bus, number):
    bus.ask("test", "question", None, LONG)


def on_an_event_loop(bus, call):
    async def main():
        async with aio.AsyncBus(bus) as other:
            await call(other)

    asyncio.run(main())


def wait_there(bus, number):
    on_an_event_loop(bus, lambda other: other.wait(number, LONG))


def ask_there(bus, number):
    on_an_event_loop(bus, lambda other: other.ask("test", "question", None, LONG))


@threads_are_ours
@pytest.mark.parametrize(("call", "others"), [(wait, 0), (ask, 0), (wait_there, 1), (ask_there, 1)])
def test_a_child_forked_during_a_wait_of_another_thread_keeps_no_file(
    no_garbage, bus, name, fork, call, others
):
    """Each generation of children would add its own; the event loop's is not ours."""

    def be_silent(parent):
        bus.close()
        with stdevents.Bus(name, interval=0) as silent:
            parent.tell()
            parent.hear()
            while parent.hear() != "leave":
                silent.poll()
            silent.poll()

    def child_of(parent):
        parent.tell(count())
        assert bus.wait(bus.post("test", "event"), 0) is False
        parent.tell(count())

    before = count()  # of tests before this one, until their garbage is collected
    silent = fork(be_silent)
    silent.hear()
    waiting = threading.Thread(target=call, args=(bus, bus.post("test", "event")), daemon=True)
    waiting.start()
    while not has_ears(bus):
        time.sleep(0)
    child = fork(child_of)
    assert (child.hear(), child.hear()) == (before + others, before + others)
    child.result()
    silent.say()
    silent.say("leave")
    silent.result()
    waiting.join(LONG)
    assert not waiting.is_alive() and not has_ears(bus)

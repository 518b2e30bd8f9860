"""What was left to an interrupted call is done once, whatever interrupts that."""

from __future__ import annotations

import contextlib
from functools import partial

import pytest
from inside import CLOSE, before, of_deferred, recover
from steps import at_each, interrupt, with_steps

import stdevents


@contextlib.contextmanager
def within(step, do):
    """Have `do()` be done before the next step of that name, as by a signal handler."""
    with pytest.MonkeyPatch.context() as patch:

        def come():
            patch.undo()
            do()

        before(patch, step, come)
        yield


class Late(Exception):
    """As a signal handler raises one, of a deadline."""


@pytest.mark.parametrize("posts", [1, 2])
@pytest.mark.parametrize("error", [KeyboardInterrupt, Late])
def test_a_post_is_published_once_wherever_an_exception_comes(
    name, watchdog, no_garbage, error, posts
):
    """G5: the exception ends the call that was interrupted; the next one does what it left."""

    def fail():
        raise error

    for at_step in at_each(fail):
        with contextlib.closing(stdevents.Bus(name, interval=0)) as bus:
            bus.poll()
            seen = []
            bus.register(lambda data, *_, seen=seen: seen.append(data), "test")

            def post(bus=bus):
                for number in range(posts):
                    assert bus.post("test", "event", number) == 0

            with within("an event is written", post), contextlib.suppress(error):
                with_steps(lambda: bus.post("test", "outer", "outer"), at_step, of_deferred())
            bus.post("test", "event", "after")
            bus.poll()
            assert seen == ["outer", *range(posts), "after"]


def test_a_post_during_a_change_of_seats_is_published_once(name, watchdog, no_garbage):
    """The next change publishes it, where an exception has ended the first one."""
    for at_step in at_each(interrupt):
        with contextlib.closing(stdevents.Bus(name, interval=0)) as bus:
            bus.poll()
            seen = []
            bus.register(lambda data, *_, seen=seen: seen.append(data), "test")

            def post(bus=bus):
                assert bus.post_many([("test", "event", 1), ("test", "event", 2)]) == [0, 0]

            with within("a child becomes a worker", post), contextlib.suppress(KeyboardInterrupt):
                with_steps(partial(recover, bus), at_step, of_deferred())
            recover(bus)
            bus.poll()
            assert seen == [1, 2]


def test_a_close_is_done_once_wherever_an_exception_comes(name, watchdog, no_garbage):
    """What is opened after it stays open."""
    for at_step in at_each(interrupt):
        bus = stdevents.Bus(name, interval=0)
        with within("an event is written", bus.close), contextlib.suppress(KeyboardInterrupt):
            with_steps(partial(bus.post, "test", "event"), at_step, of_deferred(CLOSE))
        if bus.configured():
            with contextlib.suppress(stdevents.NotConfigured):
                bus.post("test", "event")
        assert not bus.configured()
        bus.configure(name, interval=0)
        for _ in range(2):
            bus.post("test", "event")
            assert bus.configured()
        bus.close()

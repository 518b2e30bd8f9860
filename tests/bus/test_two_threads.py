"""Two threads at one place of one process: without the GIL they truly are there at once."""

from __future__ import annotations

import contextlib
import fcntl
import itertools
import os
import sys
import threading
import time

import pytest
from inside import (
    begun_by_handlers,
    ending_loop,
    fail_now,
    idle_loop,
    is_of_delivery,
    is_of_handlers,
    is_of_polls,
    is_of_quiet_polls,
    is_wait_for_lock,
    keeps_waiting_for_lock,
    lock_file_of,
    look_at_ground,
    look_at_ground_always,
    remove_folder,
    runs_loop,
    under_lock,
    wait_for_idle_loops,
    watch_of,
)
from steps import at, at_each, interrupt, with_steps
from waiting import LONG, OFTEN, loop_threads, wait_until_in

import stdevents


def at_once(*works, times=OFTEN):
    """Have each work done again and again, by a thread of its own; what was raised is raised."""
    raised, all_here = [], threading.Barrier(len(works))

    def repeat(work):
        try:
            all_here.wait(LONG)
            for number in range(times):
                work(number)
        except BaseException as error:
            raised.append(error)

    threads = [threading.Thread(target=repeat, args=(work,)) for work in works]
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.setswitchinterval(before)
    for error in raised:
        raise error


def in_other_thread(work):
    """Have it done there, and wait for that."""
    at_once(lambda _: work(), times=1)


def wait_for_lost(bus):
    """Poll until it has noticed that the bus was removed."""
    removed = []
    bus.register(lambda *_: removed.append(1), "stdevents", "lost")
    deadline = time.monotonic() + LONG
    while not removed:
        assert time.monotonic() < deadline
        bus.poll()


def test_loops_that_end_by_themselves_disturb_nobody_who_stops_one(watchdog):
    """G5: a close would fail, and leave a worker behind."""
    loop, threads = ending_loop(10 * OFTEN)

    def end_some(number):
        for thread in threads[10 * number :][:10]:
            loop.has_ended(thread)

    at_once(end_some, lambda _: loop.stop(0))


def test_event_loops_that_come_and_go_disturb_no_close(watchdog):
    bus = stdevents.Bus()
    watchers = watch_of(bus).watchers
    many = [lambda then, number=number: then() for number in range(100)]

    def come_and_go(_):
        for one in many:
            watchers.add(one)
        for one in many:
            watchers.discard(one)

    at_once(come_and_go, lambda _: watch_of(bus).close())


def test_threads_that_find_nothing_still_notice_that_the_bus_is_removed(bus, name, watchdog):
    """G5: also where each of them counts the last poll that need not look."""
    at_once(lambda _: bus.poll(), lambda _: bus.poll(), times=50 * OFTEN)
    remove_folder(name)
    wait_for_lost(bus)


def test_threads_that_waited_for_the_lock_do_not_slow_down_each_later_call(bus, watchdog):
    at_once(*[lambda _: bus.post("test", "event")] * 3)
    assert not keeps_waiting_for_lock(bus)


def test_an_interrupted_wait_for_another_thread_slows_down_no_later_call(bus, watchdog):
    """At whatever opcode: some of a loop's are in no try of CPython 3.12 and 3.13."""
    bus.configure(wait_max=0.5)  # CPython before 3.10 may swallow the interrupt
    held, may_end = threading.Event(), threading.Event()
    keep = lambda: (held.set(), may_end.wait(LONG))  # noqa: E731
    swallowed = (SystemError, stdevents.LockTimeout) if sys.version_info < (3, 10) else ()
    holder = threading.Thread(target=under_lock, args=(bus, keep))
    holder.start()
    held.wait(LONG)
    try:
        for step in range(1, 200):
            at_step = at(step, interrupt)
            with pytest.raises((KeyboardInterrupt, *swallowed)):
                with_steps(bus.workers, at_step, traced=is_wait_for_lock, opcodes=True)
            assert not keeps_waiting_for_lock(bus)
    finally:
        may_end.set()
        holder.join()


def test_each_failure_of_two_threads_is_counted(bus, caplog):
    """As where an event loop's tasks and a poll in another thread fail at once."""
    caplog.set_level("CRITICAL")
    at_once(*[lambda _: fail_now(bus)] * 2)
    assert bus.stats().handler_errors == 2 * OFTEN


def test_a_lead_given_up_while_another_thread_takes_it_is_free(bus, no_garbage, watchdog):
    """G5: else its file stays locked, known to nobody, and no worker ever leads again."""

    def lead(_):
        bus.lead("task")
        bus.lead("task", give_up=True)

    before = len(os.listdir("/dev/fd"))
    at_once(*[lead] * 3, times=OFTEN // 4)
    assert len(os.listdir("/dev/fd")) == before
    assert bus.lead("task")


def test_tasks_that_begin_and_end_in_several_threads_are_all_known(bus, watchdog):
    """Else `wait` returns too early, or never."""
    begun = begun_by_handlers(bus)

    def begin_and_end(number):
        tasks = [object() for _ in range(20)]
        for task in tasks:
            begun.begin(task, number)
        assert begun.done_through(-1) == -1
        for task in tasks:
            assert begun.end(task)

    at_once(*[begin_and_end] * 3)
    assert begun.done_through(7) == 7


def test_of_a_loop_that_several_threads_start_and_stop_no_thread_is_left(name, watchdog):
    """As where one thread forks, and another one closes."""
    loop = idle_loop(name)

    def start_and_stop(_):
        loop.start()
        loop.stop(0)

    at_once(*[start_and_stop] * 3, times=OFTEN // 2)
    loop.end(LONG)
    assert loop_threads(name) == []


def test_a_loop_may_be_ended_at_each_step_of_its_start(name, watchdog):
    loop = idle_loop(name)
    for at_step in at_each(lambda: in_other_thread(lambda: loop.stop(0))):
        loop.start()
        with_steps(loop.start, at_step, opcodes=True)
    loop.end(LONG)
    assert loop_threads(name) == []


@pytest.mark.parametrize(("before", "after"), [(0, 60), (60, 0)])
def test_an_interval_that_changes_during_a_poll_is_kept(bus, monkeypatch, watchdog, before, after):
    changed = []
    # A loop waits for this poll, which stands still.
    wait_for_idle_loops(monkeypatch, 0.01)
    bus.configure(wait_max=0.01)

    def change():
        in_other_thread(lambda: bus.configure(interval=after))
        changed.append(after)

    for at_step in at_each(change):
        bus.configure(interval=before)
        look_at_ground(bus)
        with_steps(bus.poll, at_step, is_of_polls, opcodes=True)
        assert runs_loop(bus) == bool(changed.pop() if changed else before)


def test_a_poll_during_which_the_loop_is_ended_looks_from_then_on(name, monkeypatch, watchdog):
    """G5: else nobody notices that the bus is removed."""
    look_at_ground_always(monkeypatch)
    with stdevents.Bus(name) as bus:
        for at_step in at_each(lambda: in_other_thread(lambda: bus.configure(interval=0))):
            bus.configure(interval=60)
            with_steps(bus.poll, at_step, is_of_quiet_polls)
            if not runs_loop(bus):
                remove_folder(name)
                wait_for_lost(bus)


def test_a_weak_handler_that_becomes_strong_is_called_once_for_each_event(bus, watchdog):
    posted, calls = [], []
    names = map(str, itertools.count())  # new ones, for which nothing is found yet

    def post_and_poll():
        posted.append(bus.post("test", next(names)))
        in_other_thread(bus.poll)

    for at_step in at_each(post_and_poll):

        def handler(*_):
            calls.append(1)

        bus.register_weak(handler, "test")
        with_steps(lambda: bus.register(handler, "test"), at_step, is_of_handlers)  # noqa: B023
        assert len(calls) == len(posted)
        bus.unregister(handler, "test")


def test_data_that_another_thread_changes_is_refused_by_its_own_error(bus, watchdog):
    data = {str(number): number for number in range(50)}
    data["bad"] = object()

    def change(_):
        for number in range(100, 140):
            data[str(number)] = 1
        for number in range(100, 140):
            del data[str(number)]

    def post(_):
        # Without the GIL the json module may come to an end of it before it is at what is bad.
        with contextlib.suppress(stdevents.EncodeError):
            bus.post("test", "event", data)

    at_once(change, post, times=OFTEN)


def test_a_poll_during_which_another_thread_comes_to_a_new_bus_goes_on(name, watchdog):
    """G3: the ids of the old bus say nothing of the new one."""
    bus = stdevents.Bus(name, interval=0)
    seen = []
    bus.register(lambda data, event, *_: seen.append((event, data)))

    def remove_and_post():
        remove_folder(name)
        look_at_ground(bus)
        in_other_thread(lambda: bus.post("test", "new"))

    for at_step in at_each(remove_and_post):
        bus.poll()
        for number in range(20):
            bus.post("test", "old", number)
        seen.clear()
        with_steps(bus.poll, at_step, is_of_delivery)
        bus.poll()
        old = [data for event, data in seen if event == "old"]
        assert old == [*range(len(old))]
        assert len(old) == 20 or [event for event, _ in seen if event != "old"] == [
            "lost",
            "started",
            "new",
        ]
    bus.close()


def test_a_handler_that_closes_is_not_waited_for_by_who_begins_to(name, watchdog):
    """G5: each would wait for the other, longer than the watchdog does."""
    bus = stdevents.Bus(name, interval=0, wait_max=10 * LONG)
    in_handler, may_close = threading.Event(), threading.Event()

    @bus.on("test")
    def close(*_):
        in_handler.set()
        may_close.wait()
        bus.close()

    bus.post("test", "event")
    poller = threading.Thread(target=bus.poll)
    closer = threading.Thread(target=bus.close)
    with open(lock_file_of(name)) as lock:
        poller.start()
        in_handler.wait()
        fcntl.flock(lock, fcntl.LOCK_EX)
        closer.start()
        wait_until_in(closer, "_wait_for_file")  # to post `stopping`
        may_close.set()
        wait_until_in(poller, "_wait")
    closer.join()
    poller.join()
    assert not bus.configured()

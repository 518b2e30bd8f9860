"""Two threads at one place of one process: without the GIL they truly are there at once."""

from __future__ import annotations

import threading
import time

from inside import ending_loop, fail_now, keeps_waiting_for_lock, remove_folder, watch_of
from waiting import LONG

import stdevents

OFTEN = 2_000


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
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for error in raised:
        raise error


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
    removed = []
    bus.register(lambda *_: removed.append(1), "stdevents", "lost")
    deadline = time.monotonic() + LONG
    while not removed:
        assert time.monotonic() < deadline
        bus.poll()


def test_threads_that_waited_for_the_lock_do_not_slow_down_each_later_call(bus, watchdog):
    at_once(*[lambda _: bus.post("test", "event")] * 3)
    assert not keeps_waiting_for_lock(bus)


def test_each_failure_of_two_threads_is_counted(bus, caplog):
    """As where an event loop's tasks and a poll in another thread fail at once."""
    caplog.set_level("CRITICAL")
    at_once(*[lambda _: fail_now(bus)] * 2)
    assert bus.stats().handler_errors == 2 * OFTEN

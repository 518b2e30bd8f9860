"""`wait`: True when every live worker's handlers for an event have returned."""

from __future__ import annotations

import contextlib
import os
import threading
from functools import partial

import pytest
from inside import (
    act_in_its_ring,
    ask_who_lives_after,
    is_deaf,
    lock_has_owner,
    loops_begin_after,
    recover,
    remove_folder,
    remove_memory,
    under_lock,
)
from seen import everything_from
from waiting import LONG, wait_until_in

import stdevents


def live(parent, name, **options):
    """Be a worker that polls each time that it hears something, until that is "leave"."""
    with contextlib.closing(stdevents.Bus(name, interval=0, **options)) as bus:
        if options.get("start") != "oldest":
            bus.poll()

        @bus.on("test", "slow")
        def tell_and_hear(data, event, source, pid):
            parent.tell("in the handler")
            parent.hear()

        parent.tell("open")
        while parent.hear() != "leave":
            bus.poll()
            parent.tell("polled")


@pytest.fixture
def worker(worker_living):
    """`worker()` is a child that has the bus open, and polls when it is told to."""
    return partial(worker_living, live)


def poll(child):
    child.say("poll")
    assert child.hear() == "polled"


@pytest.fixture
def waits():
    """`waits(bus, event_id)` waits in a thread, and is asleep; `join()` gives what it returned."""

    class Wait(threading.Thread):
        def __init__(self, bus, event_id):
            super().__init__(daemon=True)
            self.bus, self.event_id = bus, event_id
            self.outcome = None
            self.start()
            wait_until_in(self, "sleep")

        def run(self):
            try:
                self.outcome = self.bus.wait(self.event_id, LONG / 3)
            except stdevents.StdeventsError as error:
                self.outcome = error

        def result(self):
            self.join(LONG)
            assert not self.is_alive()
            return self.outcome

    return Wait


@pytest.fixture
def waiter(opens):
    """`waiter()` is a bus of this process, whose loop handles what is new."""
    return opens


# -- who is waited for -----------------------------------------------------------------------------


def test_it_is_true_when_every_worker_has_handled_the_event(worker, waiter):
    """DESIGN 3."""
    workers = [worker(), worker()]
    bus = waiter()
    number = bus.post("test", "event")
    for child in workers:
        assert not bus.wait(number, timeout=0)
        poll(child)
    assert bus.wait(number)


def test_a_handler_that_runs_is_waited_for(worker, waiter, waits):
    child = worker()
    bus = waiter()
    number = bus.post("test", "slow")
    child.say("poll")
    assert child.hear() == "in the handler"
    assert not bus.wait(number, timeout=0)
    waiting = waits(bus, number)
    child.say()
    assert child.hear() == "polled"
    assert waiting.result() is True


def test_who_is_done_wakes_who_waits(worker, waiter, waits, monkeypatch):
    """By the bell: nothing else would end its sleep."""
    ask_who_lives_after(monkeypatch, LONG)
    children = [worker(), worker()]
    bus = waiter()
    waiting = waits(bus, bus.post("test", "event"))
    for child in children:
        poll(child)
    assert waiting.result() is True


def test_where_the_bell_is_not_heard_it_looks_now_and_then(worker, waiter, waits, monkeypatch):
    """As where there is no epoll."""
    is_deaf(monkeypatch)
    child = worker()
    bus = waiter()
    waiting = waits(bus, bus.post("test", "event"))
    poll(child)
    assert waiting.result() is True


def test_several_wait_at_once(worker, waiter, waits):
    child = worker()
    bus = waiter()
    waiting = [waits(bus, bus.post("test", "event", number)) for number in range(3)]
    poll(child)
    assert [one.result() for one in waiting] == [True] * 3


@pytest.mark.parametrize("end", ["kill", "leave"])
def test_a_worker_that_is_gone_is_not_waited_for(worker, waiter, waits, end):
    """G5: also if it goes while it is waited for."""
    child = worker()
    bus = waiter()
    waiting = waits(bus, bus.post("test", "event"))
    if end == "kill":
        child.kill()
    else:
        child.say("leave")
        child.wait()
    assert waiting.result() is True


def test_a_stopped_worker_is_waited_for_and_named(worker, waiter):
    child = worker()
    bus = waiter()
    under_lock(bus, child.stop)  # else it may be in it
    number = bus.post("test", "event")
    assert not bus.wait(number, timeout=0.2)
    assert [one.pid for one in bus.workers() if one.position < number] == [child.pid]
    child.go_on()
    poll(child)
    assert bus.wait(number)


@pytest.mark.parametrize("start", ["new", "oldest"])
def test_a_worker_that_joined_after_the_event_is_not_waited_for(worker, waiter, start):
    bus = waiter()
    number = bus.post("test", "event")

    later = worker(start=start)
    assert bus.wait(number)
    number = bus.post("test", "event")
    assert not bus.wait(number, timeout=0)
    poll(later)
    assert bus.wait(number)


def test_a_listener_is_waited_for_and_a_poster_is_not(worker, waiter, name, fork):
    listener = worker(role="listener")
    bus = waiter()

    def be_poster(parent):
        bus.close()
        with contextlib.closing(stdevents.Bus(name, role="poster")) as poster:
            parent.tell()
            parent.hear()
            return poster.wait(poster.post("test", "event"), LONG)

    poster = fork(be_poster)
    poster.hear()
    number = bus.post("test", "event")
    assert not bus.wait(number, timeout=0)
    poll(listener)
    assert bus.wait(number)
    poster.say()
    poll(listener)
    while bus.stats().last_id == number:
        pass
    poll(listener)
    assert poster.result() is True, "and may wait itself"


def test_a_worker_that_lost_the_event_was_told_and_is_done(worker, waiter):
    child = worker(size=1024)
    bus = waiter()
    number = bus.post("test", "event")
    for _ in range(8):
        bus.post("test", "event", "x" * 200)
    assert not bus.wait(number, timeout=0)
    poll(child)
    assert bus.wait(number)


def test_a_forked_child_counts_in_its_pause(name, fork, waits):
    """G7: it will handle the event, and until then what it has copied is old."""
    bus = stdevents.Bus(name)
    with loops_begin_after(LONG):

        def be_silent(parent):
            parent.tell()
            parent.hear()

        child = fork(be_silent)
        child.hear()
    number = bus.post("test", "event")
    assert not bus.wait(number, timeout=0.2)
    waiting = waits(bus, number)
    child.say()
    child.result()
    assert waiting.result() is True
    bus.close()


# -- by whom ---------------------------------------------------------------------------------------


def test_without_a_loop_it_polls_for_its_own_process(bus):
    handled = everything_from(bus, "test")
    number = bus.post("test", "event", 1)
    assert bus.wait(number)
    assert handled == [1]


def test_with_a_loop_handlers_run_in_the_loop_alone(waiter):
    bus = waiter(interval=0.05)
    threads = []
    bus.register(lambda *_: threads.append(threading.current_thread()), "test")
    assert bus.wait(bus.post("test", "event"), LONG)
    assert threads and threading.current_thread() not in threads


def test_a_handler_in_another_thread_is_waited_for(bus, waits):
    """Where that polls, and nobody else does.

    No thread closes the bell while it is rung: its number may be another file's right after.
    """
    inside, go_on = threading.Event(), threading.Event()
    kept_out = []
    bus.register(lambda *_: (inside.set(), go_on.wait(LONG)), "test")
    number = bus.post("test", "event")
    poller = threading.Thread(target=bus.poll)
    poller.start()
    assert inside.wait(LONG)
    assert not bus.wait(number, timeout=0)
    waiting = waits(bus, number)
    act_in_its_ring(bus, lambda: kept_out.append(lock_has_owner(bus)))
    go_on.set()
    assert waiting.result() is True
    poller.join()
    assert kept_out == [True]


def test_an_exception_of_a_handler_is_an_end_of_it(bus, caplog):
    """G6."""
    bus.register(lambda *_: 1 / 0, "test")
    assert bus.wait(bus.post("test", "event"))


def test_in_a_handler_it_would_wait_for_itself(bus):
    errors = []

    @bus.on("test")
    def wait(data, event, source, pid):
        with pytest.raises(stdevents.StdeventsError, match="its own end") as caught:
            bus.wait(bus.stats().last_id)
        errors.append(caught.value)

    bus.post("test", "event")
    bus.poll()
    assert len(errors) == 1 and bus.stats().handler_errors == 0


# -- what it is given ------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [0, -1, 10**6, 1 << 70])
def test_an_id_that_was_not_given_is_refused(bus, number):
    with pytest.raises(ValueError, match="was not given"):
        bus.wait(number)


@pytest.mark.parametrize("number", [None, "1", 1.0, True])
def test_what_is_no_id_is_refused(bus, number):
    with pytest.raises(TypeError, match="event_id"):
        bus.wait(number)


@pytest.mark.parametrize(
    ("timeout", "error"), [(-1, ValueError), (float("nan"), ValueError), ("1", TypeError)]
)
def test_what_is_no_timeout_is_refused(bus, timeout, error):
    with pytest.raises(error, match="timeout"):
        bus.wait(bus.post("test", "event"), timeout)


def test_a_closed_bus_has_nobody_to_wait_for():
    with pytest.raises(stdevents.NotConfigured):
        stdevents.Bus().wait(1)


def test_the_function_is_the_method_of_the_process_wide_bus(name):
    stdevents.configure(name, interval=0)
    assert stdevents.wait(stdevents.post("test", "event"))
    stdevents.close()


@pytest.mark.parametrize("how", ["removed", "made anew"])
def test_where_the_bus_is_removed_meanwhile_it_says_so(worker, waiter, waits, name, how):
    """Its ids mean nothing any more."""
    worker()
    bus = waiter(interval=0.01)
    waiting = waits(bus, bus.post("test", "event"))
    if how == "removed":
        remove_folder(name)
        remove_memory(name)
    else:
        remove_folder(name)
        remove_memory(name)
        recover(bus)
    assert isinstance(waiting.result(), stdevents.SegmentError)
    assert "removed while event" in str(waiting.outcome)
    assert os.getpid() in [one.pid for one in bus.workers()]

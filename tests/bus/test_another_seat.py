"""A worker that takes another seat on its bus while its handlers run: it is the same worker."""

from __future__ import annotations

import queue
import threading
from functools import partial

import pytest
from inside import recover, who_looks_who_lives
from waiting import LONG, wait_until_in

import stdevents


def live(parent, name, **options):
    """Be a worker whose handler, and answerer, are at work until it hears "go on"."""
    bus, go_on = stdevents.Bus(name, **options), threading.Event()

    def work(data, event, source, pid):
        parent.tell("at work")
        assert go_on.wait(LONG)
        return "done"

    bus.register(lambda *event: work(*event) and None, "test", "slow")
    bus.answer("test", "slow")(work)
    parent.tell("open")
    while True:
        heard = parent.hear()
        if heard == "another seat":
            recover(bus)
            parent.tell("seated")
        elif heard == "go on":
            go_on.set()
        else:
            go_on.set()
            bus.close()
            return


@pytest.fixture
def worker(worker_living):
    """`worker()` is a child that is at work when it is told to be, and takes another seat."""
    return partial(worker_living, live)


def in_thread(work, *arguments):
    """What it returns, later: `get()`; and the thread, `thread`."""
    outcome = queue.Queue()
    outcome.thread = threading.Thread(
        target=lambda: outcome.put(work(*arguments, LONG / 3)), daemon=True
    )
    outcome.thread.start()
    return outcome


def move(child):
    child.say("another seat")
    assert child.hear() == "seated"


@pytest.mark.parametrize("role", ["worker", "listener"])
@pytest.mark.parametrize("interval", [0, 1])
def test_its_handler_is_waited_for(worker, opens, role, interval):
    """And who waits sleeps until it is done: the bell is rung for that."""
    child = worker(role=role)
    bus = opens(interval=interval)
    number = bus.post("test", "slow")
    assert child.hear() == "at work"
    move(child)
    assert not bus.wait(number, timeout=0)
    waiting = in_thread(bus.wait, number)
    wait_until_in(waiting.thread, "sleep")
    move(child)
    assert not bus.wait(number, timeout=0)
    child.say()
    assert waiting.get(timeout=LONG) is True


@pytest.mark.parametrize("options", [{"interval": 0}, {"interval": 1}, {"role": "poster"}])
def test_its_answerer_is_waited_for(worker, opens, monkeypatch, options):
    """The asker has looked meanwhile who lives: that is known by more than its slot."""
    child, other = worker(), worker()
    looks = who_looks_who_lives(monkeypatch)
    bus = opens(**options)
    asking = in_thread(bus.ask, "test", "slow", None)
    assert child.hear() == other.hear() == "at work"
    other.say()
    for _ in range(2):
        move(child)
        looks.clear()
        assert looks.wait(LONG)
        looks.clear()
        assert looks.wait(LONG)
    child.say()
    found = asking.get(timeout=LONG)
    assert [found[slot].pid for slot in (0, 1)] == [child.pid, other.pid]
    assert [found[slot].value for slot in (0, 1)] == ["done", "done"]


def test_a_worker_that_dies_on_another_seat_is_not_there(worker, opens):
    child = worker()
    bus = opens(role="poster")
    asking = in_thread(bus.ask, "test", "slow", None)
    assert child.hear() == "at work"
    move(child)
    child.kill()
    assert asking.get(timeout=LONG) == {}

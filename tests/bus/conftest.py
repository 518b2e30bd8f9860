"""What the tests of a bus share."""

from __future__ import annotations

import pytest
from children import ChildOfC

import stdevents


@pytest.fixture
def tiny(name):
    """A bus of 2048 bytes and 8 slots, and what it hands over; `started` is handled."""
    bus = stdevents.Bus(name, interval=0, size=2048)
    bus.poll()
    calls = []
    bus.register(lambda *arguments: calls.append(arguments))
    yield bus, calls
    bus.close()


@pytest.fixture
def fork_in_c(name, watchdog):
    """`fork_in_c(work)` makes such children, of which none outlives the test."""
    children = []

    def fork_in_c(work):
        children.append(ChildOfC(work))
        return children[-1]

    yield fork_in_c
    for child in children:
        child.kill()


@pytest.fixture
def buses():
    """Those that this process opens; a child that is a worker by itself closes its copies."""
    return []


@pytest.fixture
def worker_living(name, fork, buses):
    """`worker_living(live, **options)`: a child that says "open", and goes on until "leave"."""
    children = []

    def live_anew(parent, live, options):
        for bus in buses:  # it is no copy of this process's worker
            bus.close()
        live(parent, name, **options)

    def make(live, **options):
        child = fork(live_anew, live, options)
        children.append(child)
        assert child.hear() == "open"
        return child

    yield make
    for child in children:
        if child.status is None:
            child.say("leave")
            child.wait()


@pytest.fixture
def opens(name, worker, buses):
    """`opens(**options)` is a bus of this process, which is closed before each `worker` leaves."""

    def open_bus(**options):
        buses.append(stdevents.Bus(name, **options))
        return buses[-1]

    yield open_bus
    for bus in buses:
        bus.close()

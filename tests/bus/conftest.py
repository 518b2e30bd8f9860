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

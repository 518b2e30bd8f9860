"""What the tests of a bus share."""

from __future__ import annotations

import pytest

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

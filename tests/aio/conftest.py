"""What the tests of asyncio share."""

from __future__ import annotations

import pytest

from stdevents import aio


@pytest.fixture
def other(bus):
    """A bus on asyncio beside nothing else: the fixture `bus` is what it attaches."""
    return aio.AsyncBus(bus)

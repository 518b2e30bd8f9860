"""`tail` on a terminal: which events no worker has a handler for."""

from __future__ import annotations

import pytest
from inside import OpenBus, Unhandled, before_counts_are_read


@pytest.fixture
def onlooker(name, bus):
    bus.register(lambda *event: None, "cache", "drop")
    onlooker = OpenBus(name)
    yield onlooker
    onlooker.close()


@pytest.mark.parametrize("look", range(1, 5))
def test_a_worker_that_goes_on_during_a_look_is_not_misread(bus, onlooker, look):
    """The count of a moment and the DONE of another: an event that was handled was told."""

    def go_on():
        bus.post("cache", "dorp")
        bus.poll()

    with before_counts_are_read(look, go_on):
        unhandled = Unhandled(onlooker)
        for _ in range(3):
            unhandled.note(bus.post("cache", "drop"), "cache", "drop")
            bus.poll()
            assert unhandled.told() == []


def test_a_busy_moment_at_the_first_look_costs_only_that_look(bus, onlooker):
    unhandled = None

    def look(*event):
        nonlocal unhandled
        unhandled = Unhandled(onlooker)

    bus.register(look, "cache", "load")
    bus.post("cache", "load")
    bus.poll()
    assert unhandled.told() == []
    unhandled.note(bus.post("cache", "dorp"), "cache", "dorp")
    bus.poll()
    assert unhandled.told() == [("cache", "dorp")]

"""`stats()`, called by another thread while one polls: as by an exporter of metrics.

A counter that falls is taken for one that began anew, and what it has by then is added once more.
"""

from __future__ import annotations

import pytest
from steps import at_each, with_steps
from waiting import LONG

import stdevents

# Name and key of events, by polls. Handlers are there for the first two names.
POLLS = [
    [("wanted", None), ("other", None), ("other", None), ("wanted", None), ("other", None)],
    [("other", None), ("once", "key"), ("other", None), ("once", "key"), ("wanted", None)],
    [("once", "key"), ("once", "key"), ("other", "key"), ("wanted", None), ("once", "key")],
    [("answered", None), ("wanted", None), ("other", None), ("answered", None)],
    [("wanted", None), ("other", None), ("answered", None), ("wanted", None)],
    [("wanted", None), ("other", None)] * 50,  # more than there is room for
    [("other", None), ("wanted", None)],
]
WANTED = ("wanted", "once")


@pytest.fixture
def small(name):
    """A bus of so little room that it loses events, with nothing left to handle."""
    with stdevents.Bus(name, interval=0, size=2048, timeout=LONG) as bus:
        bus.poll()
        yield bus


def post(bus, events):
    for event, unique in events:
        source = "stdevents" if event == "answered" else "test"  # to a question of nobody here
        bus.post(source, event, "[1,2]", unique)


def test_no_look_during_a_poll_sees_less_than_the_one_before(small, watchdog):
    """Nor more than was handled; and what comes of it in the end is exact."""
    calls, looks = [], []
    small.register(lambda *_: calls.append(None), "test", *WANTED)

    def look():
        looks.append(small.stats().handled)
        assert looks[-1] <= 1 + len(calls) + 1, "`started`, those before, and the one that is next"

    for events in POLLS:
        post(small, events)
        with_steps(small.poll, look, opcodes=True)
        look()
        assert looks[-1] == 1 + len(calls)
    assert looks == sorted(looks)
    stats = small.stats()
    assert min(stats.lost, stats.ignored, stats.unhandled) > 0
    not_handled = stats.unhandled + stats.lost + stats.ignored + 3  # three answers
    assert stats.handled == stats.last_id - not_handled


def test_no_look_sees_less_than_one_in_its_middle(small, watchdog):
    """Whatever is handled during it, and whoever looks meanwhile, as a signal handler may."""
    small.register(lambda *_: None, "test", *WANTED)
    looks = [0]

    def look():
        looks.append(small.stats().handled)

    def poll_and_look():
        small.poll()
        look()

    for at_step in at_each(poll_and_look):
        post(small, POLLS[0])
        during = len(looks)
        with_steps(small.stats, at_step, opcodes=True)
        post(small, reversed(POLLS[0]))
        with_steps(small.poll, look)
        look()
        stats = small.stats()
        assert stats.handled + stats.unhandled == stats.last_id
        assert looks[during:] == sorted(looks[during:])
        assert looks[during] >= looks[during - 1]

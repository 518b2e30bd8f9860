"""A worker that was lapped is told what it lost; one that joins late begins where it said."""

from __future__ import annotations

import logging
import os
import random

import pytest
from inside import taking
from programs import LATE_WORKER, run
from waiting import LONG

# -- lost ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "lost"), [(7, 0), (8, 0), (64, 0), (65, 65 - 7), (66, 66 - 7), (1000, 1000 - 7)]
)
def test_lapped_by_the_number_of_events(tiny, caplog, count, lost):
    """G3: `lost` is told exactly, in its place, with a WARNING and in the stats.

    Of 32 bytes each: 64 fit, and are read by the last one's slot alone. Once one of them is
    overwritten, the others are found by their slots, of which the first only says where the second
    event begins.
    """
    bus, calls = tiny
    numbers = [str(number).zfill(len(taking(32))) for number in range(count)]
    ids = [bus.post("s", "e", number) for number in numbers]
    bus.poll()
    told = {"first": 2, "last": 1 + lost, "count": lost}
    expected = [(told, "lost", "stdevents", None)] if lost else []
    expected += [(number, "e", "s", os.getpid()) for number in numbers[lost:]]
    assert calls == expected
    assert ids[-1] == bus.stats().last_id == 1 + count
    assert (bus.stats().lost, bus.stats().handled) == (lost, 1 + count - lost)
    warnings = [record for record in caplog.records if record.levelno >= logging.WARNING]
    assert len(warnings) == bool(lost)
    if lost:
        assert f"events 2 to {1 + lost} ({lost}) are lost" in warnings[0].getMessage()
        assert warnings[0].name == "stdevents"


@pytest.mark.parametrize(("length", "lost"), [(48, 0), (49, 1), (1048, 1), (1049, 2), (2048, 2)])
def test_lapped_by_the_size_of_events(tiny, length, lost):
    """G3, R4: to the byte; the two of 1000 begin where `started` ended, in a ring of 2048."""
    bus, calls = tiny
    for size in (1000, 1000, length):
        bus.post("s", "e", taking(size))
    bus.poll()
    sizes = [len(data) for data, event, *_ in calls if event == "e"]
    assert sizes == [len(taking(size)) for size in (1000, 1000, length)[lost:]]
    told = [data for data, event, *_ in calls if event == "lost"]
    assert told == ([{"first": 2, "last": 1 + lost, "count": lost}] if lost else [])
    assert bus.stats().lost == lost


def test_lost_is_told_after_local_events_and_before_the_next_one(tiny):
    """G3: in its place in the order."""
    bus, calls = tiny
    for _ in range(9):
        bus.post("s", "e", taking(256))
    bus.post_local("test", "local")
    bus.poll()
    assert [event for _, event, *_ in calls] == ["local", "lost", *["e"] * 7]


def test_a_handler_that_outruns_the_ring_is_told_of_each_gap(tiny):
    """G3: delivered and lost are all that was posted, in ascending order."""
    bus, calls = tiny
    chance = random.Random(1)

    def post_more(data, *_):
        for _ in range(chance.randint(0, 20)):
            if bus.stats().last_id < 1000:
                bus.post("test", "event", bus.stats().last_id + 1)

    bus.register(post_more, "test", "event")
    while bus.stats().last_id < 1000:
        bus.post("test", "event", bus.stats().last_id + 1)
        bus.poll()
    bus.poll()
    told = [data for data, event, *_ in calls if event == "lost"]
    ids = []
    for data, event, *_ in calls:
        ids += range(data["first"], data["last"] + 1) if event == "lost" else [data]
    assert ids == list(range(2, 1001))
    assert bus.stats().lost == sum(gap["count"] for gap in told) > 0


def test_after_lost_the_worker_goes_on(tiny):
    """G3."""
    bus, calls = tiny
    for _ in range(20):
        bus.post("test", "event")
    bus.poll()
    calls.clear()
    bus.post("test", "next")
    bus.poll()
    assert [event for _, event, *_ in calls] == ["next"]


def test_a_unique_event_that_is_overwritten_before_it_is_claimed_is_lost(tiny):
    """G3, G4: it was read, but no one could see any more that it was claimed: it must not run."""
    bus, calls = tiny
    bus.register(lambda *_: [bus.post("test", "more") for _ in range(8)], "test", "first")
    bus.post("test", "first")
    number = bus.post("test", "one", unique="key")
    bus.post("test", "last")
    bus.poll()
    told = [data for data, event, *_ in calls if event == "lost"]
    assert told == [{"first": number, "last": number, "count": 1}]
    assert [event for _, event, *_ in calls] == ["first", "lost", "last", *["more"] * 8]


def test_more_unique_keys_than_there_is_room_for_are_warned_of(tiny, caplog):
    """G4: each runs once all the same; 8 slots of events are 8 keys."""
    bus, calls = tiny
    bus.configure(timeout=LONG)
    for key in range(8):
        bus.post("test", "event", key, unique=key)
        bus.poll()
    assert caplog.records == []
    bus.post("test", "event", 8, unique=8)
    bus.poll()
    assert [data for data, *_ in calls] == list(range(9))
    (record,) = caplog.records
    assert record.levelname == "WARNING"
    assert "too many unique keys" in record.getMessage()


# -- late joiners ----------------------------------------------------------------------------------


def test_a_late_joiner_gets_no_replay(bus, name):
    bus.post("test", "event", 1)
    assert run(LATE_WORKER, name, "new") == "stdevents started None\n"


def test_a_late_joiner_with_oldest_gets_what_the_ring_still_holds(bus, name):
    bus.post("test", "event", 1)
    bus.post("test", "event", 2)
    assert run(LATE_WORKER, name, "oldest").splitlines() == [
        "stdevents started None",
        "test event 1",
        "test event 2",
        "stdevents started None",
    ]


def test_a_late_joiner_with_oldest_loses_nothing_to_its_own_started(tiny, name):
    """G3: that displaces the oldest of seven, which was there before the joiner was."""
    bus, _ = tiny
    for number in range(30):
        bus.post("test", "event", number)
    held = [f"test event {number}" for number in range(23, 30)]
    assert run(LATE_WORKER, name, "oldest").splitlines() == [*held[1:], "stdevents started None"]

"""What is posted arrives as it was posted, of any size, wherever in the ring it begins."""

from __future__ import annotations

import contextlib
import random

import pytest
from inside import length_of_text, taking

import stdevents

JSON = [
    None,
    True,
    0,
    -1,
    1 << 80,
    1.5,
    1e300,
    "",
    '€ 😀 \0 " \\ \u2028',
    [],
    {},
    [[1], {"a": [None]}],
]

FRAME = length_of_text("s", "e", "")  # what the text around a str takes

# -- what is posted --------------------------------------------------------------------------------


@pytest.mark.parametrize("data", JSON, ids=ascii)
def test_data_arrives_as_it_was_posted(bus, seen, data):
    bus.post("test", "event", data)
    bus.poll()
    assert seen == [("test", "event", data)]


def test_data_goes_through_json(bus, seen):
    bus.post("test", "event", {1: (2, 3), None: 4})
    bus.poll()
    assert seen == [("test", "event", {"1": [2, 3], "null": 4})]


def test_what_is_posted_is_the_data_of_that_moment(bus, seen):
    data = [1]
    bus.post("test", "event", data)
    data.append(2)
    bus.poll()
    assert seen == [("test", "event", [1])]


# -- size and wrap-around --------------------------------------------------------------------------


def test_500_kib_can_be_posted_on_a_full_bus_of_1_mib(bus, seen):
    """As the original; G3: what it displaces is counted."""
    for number in range(5000):
        bus.post("test", "small", [number, "x" * 250])
    bus.post("test", "large", "x" * (500 << 10))
    bus.poll()
    assert seen[-1] == ("test", "large", "x" * (500 << 10))
    (_, lost, told), *delivered = seen
    assert lost == "lost"
    assert told["count"] + len(delivered) == 5001


def test_payloads_of_any_size_survive_the_wrap_around(name):
    """G2, P3, R3: sizes up to that of the ring, at ever other places of it."""
    chance = random.Random(4096)
    received = []
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        bus.register(lambda data, *_: received.append(data), "s")
        bus.poll()
        for _ in range(300):
            posted = []
            room = 4096
            while room > FRAME and len(posted) < 16:
                length = chance.randint(0, room - FRAME)
                text = "".join(chance.choices("aé€😀", k=length)).encode()[:length]
                posted.append(text.decode(errors="ignore"))
                room -= length_of_text("s", "e", posted[-1])
                bus.post("s", "e", posted[-1])
            bus.poll()
            assert received == posted
            received.clear()
        assert bus.stats().lost == 0


def test_a_payload_as_large_as_the_ring_arrives_wherever_it_begins(name):
    """P3, R3, R4: the last byte that fits."""
    received = []
    with contextlib.closing(stdevents.Bus(name, interval=0, size=4096)) as bus:
        bus.register(lambda data, *_: received.append(data), "s")
        for _ in range(3):
            bus.post("s", "e", taking(4096))
            bus.poll()
            bus.post("s", "e", taking(FRAME + 1))
            bus.poll()
        assert received == [taking(4096), "x"] * 3

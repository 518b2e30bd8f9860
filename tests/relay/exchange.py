"""Events that go between two hosts, with and without `unique`, over any server and client."""

from __future__ import annotations

from entries import only


def exchange(a, b, count=20, first=0):
    """Post as much from the first host, and see it come to both; `first` is the first number."""
    numbers = range(first, first + count)
    for number in numbers:
        a.relay.post("test", "event", number)
        a.relay.post("test", "one", number, unique=f"key {number}")
    a.relay.post("test", "end", first)
    see(a, b, numbers)


def see(a, b, numbers):
    """See both have these events, and that of the first number which ends them."""
    for one in (a, b):
        one.wait_for(lambda: ("end", numbers[0]) in one.seen)  # noqa: B023
        seen = [seen for seen in one.seen if seen[0] == "event" and seen[1] >= numbers[0]]
        assert seen == only(numbers)
    ran = [data for one in {a, b} for event, data in one.seen if event == "one"]
    assert sorted(number for number in ran if number >= numbers[0]) == list(numbers)

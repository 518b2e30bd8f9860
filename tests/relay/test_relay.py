"""What comes by a relay: in which order, from where on, and which of it runs."""

from __future__ import annotations

import os
import time

import pytest
from entries import entry_of, only

import stdevents

# -- order -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("server", [None, "127.0.0.1"], indirect=True)
def test_all_hosts_see_the_events_of_all_hosts_in_the_order_of_the_stream(host):
    """Over a unix socket, and over the loopback."""
    hosts = [host(suffix) for suffix in "abc"]
    entries = [hosts[number % 3].relay.post("test", "event", number) for number in range(300)]
    for one in hosts:
        one.until(*only(range(300)))
        assert [origin.entry for _, origin in one.told] == entries
        assert [origin.host for _, origin in one.told[:3]] == ["host a", "host b", "host c"]
        assert {pid for pid, _ in one.told} == {os.getpid()}


def test_what_is_posted_on_a_bus_stays_on_its_host(host):
    a, b = host("a"), host("b")
    a.bus.post("test", "local", 1)
    a.relay.post("test", "event", 2)
    b.until(("event", 2))
    a.until(("local", 1), ("event", 2))
    assert a.told[0] == (os.getpid(), None)


def test_the_origin_is_that_of_the_event_whose_handler_asks(host):
    a = host("a")
    origins = []

    def handler(data, event, source, pid):
        origins.append((data, a.bus.origin()))
        if data == 1:
            a.bus.post_local("test", "event", 2)
            a.bus.post("test", "event", 3)

    a.bus.register(handler, "test")
    entry = a.relay.post("test", "event", 1)
    a.wait_for(lambda: len(origins) == 3)
    assert dict(origins) == {1: stdevents.Origin("host a", entry), 2: None, 3: None}
    assert a.bus.origin() is None


def test_any_data_arrives_as_it_was_posted(host):
    a, b = host("a"), host("b")
    data = [None, True, 1.5, 10**30, "é\n\x00\ud7ff", {"deep": [[{}]]}, "x" * 10_000]
    for one in data:
        a.relay.post("test", "é\n", one, unique=None)
    b.until(*[("é\n", one) for one in data])


# -- where a bus begins ----------------------------------------------------------------------------


def test_a_new_host_begins_with_what_is_posted_from_then_on(host):
    a = host("a")
    a.relay.post("test", "event", 1)
    b = host("b")
    a.relay.post("test", "event", 2)
    b.until(("event", 2))
    a.until(("event", 1), ("event", 2))


def test_a_new_host_may_begin_with_the_oldest_there_is(host, client):
    """And is told of no loss of what was gone long before it."""
    a = host("a")
    for number in range(10):
        a.relay.post("test", "event", number)
    client.xtrim("stream", 4, approximate=False)
    host("b", start="oldest").until(*only(range(6, 10)))


def test_a_new_host_may_begin_after_an_entry(host):
    a = host("a")
    entries = [a.relay.post("test", "event", number) for number in range(5)]
    host("b", start=entries[2]).until(*only((3, 4)))


def test_a_bus_goes_on_where_it_was_whatever_start_says(host, name, server):
    """Also when no relay of it has been there for a while."""
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.relay.close()
    poster = host("b")
    poster.relay.post("test", "event", 2)
    a.relay = stdevents.Relay(a.bus, server.client(), "stream", start="oldest")
    a.relay.post("test", "event", 3)
    a.until(*only((1, 2, 3)))


def test_a_bus_belongs_to_one_stream(host, client):
    a = host("a")
    with pytest.raises(stdevents.StdeventsError, match="another stream than 'other'"):
        stdevents.Relay(a.bus, client, "other")


# -- unique ----------------------------------------------------------------------------------------


def test_an_event_with_unique_runs_on_one_host(host):
    """G4, of all workers of all hosts."""
    hosts = [host(suffix) for suffix in "abc"]
    for number in range(50):
        hosts[0].relay.post("test", "one", number, unique=f"key {number}")
    hosts[0].relay.post("test", "end")
    for one in hosts:
        one.wait_for(lambda: ("end", None) in one.seen)  # noqa: B023
    ran = sorted(data for one in hosts for event, data in one.seen if event == "one")
    assert ran == list(range(50))
    # Counted afterwards.
    hosts[0].wait_for(lambda: sum(one.relay.stats().elsewhere for one in hosts) == 2 * 50)


def test_a_host_without_a_handler_leaves_it_to_the_others(host):
    """As one that only posts: else it would take what it does not run."""
    a, b = host("a"), host("b")
    a.bus.unregister(a.note, "test")
    for number in range(20):
        a.relay.post("test", "one", number, unique=f"key {number}")
    b.until(*[("one", number) for number in range(20)])


def test_a_key_is_held_over_all_hosts_for_the_timeout(host, client):
    timeout = 2.0  # in which Redis has answered both claims, and the bus has handled one
    hosts = [host("a", timeout=timeout), host("b", timeout=timeout)]

    def post(*numbers):
        pipeline = client.pipeline()
        for number in numbers:
            pipeline.xadd("stream", entry_of("one", number, unique="key"))
        pipeline.xadd("stream", entry_of("end", None))
        pipeline.execute()

    post(1, 2)
    for one in hosts:
        one.wait_for(lambda: ("end", None) in one.seen)  # noqa: B023
    handled = time.monotonic()
    hosts[0].wait_for(lambda: not client.keys("*unique:*") and time.monotonic() > handled + timeout)
    post(3)
    for one in hosts:
        one.wait_for(lambda: one.seen.count(("end", None)) == 2)  # noqa: B023
    # By any of them: the second run may be on the first host.
    ran = sorted(seen for one in hosts for seen in one.seen if seen[0] == "one")
    assert ran == [("one", 1), ("one", 3)]


def test_an_event_that_ran_does_not_run_on_a_host_that_comes_late(host, client):
    """By its mark, when its key has long expired."""
    a = host("a", timeout=0.01)
    b = host("b", timeout=0.01)
    b.relay.close()
    a.relay.post("test", "one", 1, unique="key")
    a.until(("one", 1))
    a.wait_for(lambda: not client.keys("*unique:*"))
    b.relay = stdevents.Relay(b.bus, client, "stream")
    a.relay.post("test", "end")
    b.until(("end", None))
    b.wait_for(lambda: b.relay.stats().elsewhere == 1)  # counted afterwards


def test_a_host_that_comes_late_runs_what_others_have_not_come_to(host, client):
    """A newer host, which began further on, decides nothing about what was before."""
    a = host("a")
    a.relay.close()
    b = host("b")
    b.relay.close()
    poster = stdevents.Relay(b.bus, client, "stream")
    poster.close()
    client.xadd("stream", entry_of("one", 1, unique="key"))
    c = host("c")
    c.relay.post("test", "one", 2, unique="other")
    c.until(("one", 2))
    a.relay = stdevents.Relay(a.bus, client, "stream")
    a.until(("one", 1))


def test_marks_go_with_the_entries_that_they_are_for(host, client):
    """Nothing is kept for longer than the stream keeps its entries."""
    a = host("a")
    for number in range(20):
        a.relay.post("test", "one", number, unique=f"key {number}")
    a.wait_for(lambda: len(a.seen) == 20)
    client.xtrim("stream", 0, approximate=False)
    a.relay.post("test", "one", 20, unique="key 20")
    a.wait_for(lambda: len(a.seen) == 21)
    assert client.zcard("{stream}:unique") == 1

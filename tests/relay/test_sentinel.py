"""A master with a replica that Sentinel puts in its place; the client of docs/relay.md."""

from __future__ import annotations

import pytest
from entries import only
from exchange import exchange
from losses import check_told
from page import client_of, needs_page
from server import LOOPBACK, Replica, Sentinel, Server

import stdevents


@pytest.fixture
def server():
    """The master, at first."""
    server = Server(LOOPBACK)
    yield server
    server.remove()


@pytest.fixture
def replica(server):
    replica = Replica(server)
    yield replica
    replica.remove()


@pytest.fixture
def sentinel(server, replica):
    sentinel = Sentinel(server, replica)
    yield sentinel
    sentinel.remove()


@pytest.fixture
def hosts(host, sentinel):
    """Two, which ask Sentinel who the master is."""
    return [host(suffix, client=sentinel.master_client(), buffer=1000) for suffix in "ab"]


def test_events_go_by_way_of_a_sentinel(hosts):
    exchange(*hosts)


@needs_page
def test_the_client_of_the_page_asks_who_the_master_is(host, sentinel):
    addresses = '[("10.0.0.1", 26379), ("10.0.0.2", 26379)]', [(LOOPBACK, sentinel.port)]
    name = "my-master", sentinel.NAME
    with client_of("sentinel.py", addresses=addresses, name=name) as client:
        exchange(*(host(suffix, client=client) for suffix in "ab"), 3)


def test_a_failover_to_a_replica_that_has_all_loses_nothing(hosts, sentinel, server, replica):
    a, b = hosts
    exchange(a, b)
    for one in hosts:
        one.seen.clear()
    for number in range(1000, 1050):
        a.relay.post("test", "event", number)
    replica.wait_until_it_has_all()
    server.kill()
    for number in range(1050, 1100):
        assert a.relay.post("test", "event", number) is None
    sentinel.wait_for_master(replica)
    for one in hosts:
        one.until(*only(range(1000, 1100)))
    exchange(a, b, first=5000)


def post_to_master_alone(host, numbers, replica):
    """Post these while the replica gets nothing."""
    replica.fall_behind()
    for number in numbers:
        assert host.relay.post("test", "event", number) is not None


def promote(replica, sentinel):
    """Have the replica be the master."""
    replica.go_on()
    sentinel.wait_for_master(replica)


@pytest.mark.parametrize("later", [1, 5, 20], ids=["fewer", "as many", "more"])
def test_what_a_replica_did_not_have_is_told_to_all(hosts, sentinel, server, replica, later):
    """To those that had it, that it is not on the stream; however much is posted after it."""
    a, b = hosts
    for number in range(10):
        a.relay.post("test", "event", number)
    for one in hosts:
        one.until(*only(range(10)))
    post_to_master_alone(a, range(10, 15), replica)
    for one in hosts:
        one.until(*only(range(15)))
    server.kill()
    promote(replica, sentinel)
    for number in range(15, 15 + later):
        a.relay.post("test", "event", number)
    for one in hosts:
        one.wait_for(lambda: ("event", 14 + later) in one.seen)  # noqa: B023
        one.wait_for(lambda: any(event == "lost" for event, _ in one.seen))  # noqa: B023
        assert [seen for seen in one.seen if seen[0] == "event"] == only(range(15 + later))


@pytest.mark.parametrize("later", [1, 5, 20], ids=["fewer", "as many", "more"])
def test_it_is_told_to_a_host_that_had_not_come_to_it(hosts, sentinel, server, replica, later):
    """Nothing that it can see is missing: only who posted it knows, and says so to all."""
    a, b = hosts
    for number in range(10):
        a.relay.post("test", "event", number)
    for one in hosts:
        one.until(*only(range(10)))
    b.relay.close()
    post_to_master_alone(a, range(10, 15), replica)
    server.kill()
    promote(replica, sentinel)
    for number in range(15, 15 + later):
        a.relay.post("test", "event", number)
    b.relay = stdevents.Relay(b.bus, sentinel.master_client(), "stream")
    b.wait_for(lambda: ("event", 14 + later) in b.seen)
    b.wait_for(lambda: any(event == "lost" for event, _ in b.seen))
    seen = [data for event, data in b.seen if event == "event"]
    assert seen == [*range(10), *range(15, 15 + later)]


def test_a_buffer_that_is_sent_first_after_a_loss_tells_of_it_as_well(
    hosts, sentinel, server, replica
):
    """The poster has not looked at the stream by itself: its first call is that of the buffer."""
    a, b = hosts
    a.relay.post("test", "event", 0)
    b.until(("event", 0))
    b.relay.close()
    post_to_master_alone(a, range(1, 4), replica)
    server.kill()
    for number in range(4, 10):
        assert a.relay.post("test", "event", number) is None
    promote(replica, sentinel)
    b.relay = stdevents.Relay(b.bus, sentinel.master_client(), "stream")
    b.wait_for(lambda: ("event", 9) in b.seen)
    b.wait_for(lambda: any(event == "lost" for event, _ in b.seen))
    check_told(b, range(10))

"""A cluster of three masters, and the failover of one; the client of docs/relay.md."""

from __future__ import annotations

import json

import pytest
from entries import only
from exchange import exchange
from losses import check_told
from page import client_of, needs_page
from server import Cluster, until
from test_permissions import RULES
from test_seen import run_module

import stdevents


@pytest.fixture
def server():
    """In the place of a server by itself: its `client()` is one of the cluster."""
    cluster = Cluster()
    yield cluster
    cluster.remove()


@pytest.fixture
def replicated():
    cluster = Cluster(replicas=1)
    yield cluster
    cluster.remove()


def test_events_go_through_a_cluster(host):
    exchange(host("a"), host("b"))


@needs_page
def test_the_client_of_the_page_is_one_of_a_cluster(host, server):
    node = server.nodes[0]
    with client_of(
        "cluster.py", address=('"10.0.0.1", 6379', f"{node.address!r}, {node.port}")
    ) as client:
        exchange(*(host(suffix, client=client) for suffix in "ab"), 3)


def test_a_stream_may_be_on_any_master(host, server):
    """Whatever its name is, all that belongs to it is in the same slot."""
    streams = ["one", "two", "{braces}:stream", "a{b}c"]
    for number, stream in enumerate(streams):
        exchange(*(host(f"{suffix}{number}", stream=stream) for suffix in "ab"), 3)
    assert len({server.master_of(stream) for stream in streams}) > 1


def test_a_cluster_without_a_bound_on_its_waits_is_refused(bus, server):
    with pytest.raises(ValueError, match=r"^client: .*socket_timeout"):
        stdevents.Relay(bus, server.client(socket_timeout=None), "stream")


def test_what_is_buffered_comes_when_the_cluster_is_back(host, server):
    """Its only master for the stream is killed and started again; it keeps what it has answered."""
    a, b = host("a", buffer=100), host("b")
    for number in range(10):
        a.relay.post("test", "event", number)
    for one in (a, b):
        one.until(*only(range(10)))
    node = server.master_of("stream")
    node.kill()
    for number in range(10, 20):
        a.relay.post("test", "event", number)
    node.start()
    for one in (a, b):
        one.until(*only(range(20)))


def test_what_is_posted_while_the_stream_moves_to_another_master_waits(host, server):
    """For so long the cluster takes no post, as it says: try again."""
    a, b = host("a", buffer=100), host("b")
    exchange(a, b)
    before = server.master_of("stream")
    after = next(node for node in server.nodes if node is not before)
    source, target = before.client(), after.client()
    names = [node.cluster("myid") for node in (source, target)]
    old, new = (name if isinstance(name, str) else name.decode() for name in names)
    slot = source.cluster("keyslot", "stream")
    target.cluster("setslot", slot, "IMPORTING", old)
    source.cluster("setslot", slot, "MIGRATING", new)
    assert a.relay.post("test", "event", 100) is None
    keys = source.cluster("getkeysinslot", slot, 1000)
    place = after.address, after.port, "", 0, 5000
    source.execute_command("MIGRATE", *place, "KEYS", *keys)
    for node in (target, source):
        node.cluster("setslot", slot, "NODE", new)
    for one in (a, b):
        one.wait_for(lambda: ("event", 100) in one.seen)  # noqa: B023
    assert a.relay.stats().refused == 0
    exchange(a, b, first=200)


def test_after_the_failover_of_a_master_all_goes_on(host, replicated):
    """What is posted meanwhile waits, or is told to be lost: no replica has all at once."""
    clients = [replicated.client() for _ in range(2)]
    a, b = (host(suffix, client=client, buffer=1000) for suffix, client in zip("ab", clients))
    exchange(a, b)
    posted = []

    def post(count):
        for _ in range(count):
            posted.append(len(posted) + 1000)
            a.relay.post("test", "event", posted[-1])

    post(50)
    master = replicated.master_of("stream")
    master.kill()
    post(50)
    replicated.wait_for_master("stream")
    post(50)
    a.wait_for(lambda: not a.relay.stats().buffered)
    a.relay.post("test", "end", -1)
    for one in (a, b):
        one.wait_for(lambda: ("end", -1) in one.seen)  # noqa: B023
        one.seen = [seen for seen in one.seen if seen[0] == "lost" or seen[1] in posted]
        check_told(one, posted)
    exchange(a, b, first=5000)


def test_a_master_that_comes_back_is_a_replica_and_loses_nothing(host, replicated):
    """And may become the master again."""
    a, b = (host(suffix, client=replicated.client(), buffer=1000) for suffix in "ab")
    for number in range(3):
        before = replicated.master_of("stream")
        a.relay.post("test", "event", 2 * number)
        until(lambda: before.info()["slave0"]["offset"] == before.info()["master_repl_offset"])  # noqa: B023
        before.kill()
        a.relay.post("test", "event", 2 * number + 1)
        replicated.wait_for_master("stream")
        before.start()
        until(before.is_linked)
        a.wait_for(lambda: not a.relay.stats().buffered)
        for one in (a, b):
            one.until(*only(range(2 * number + 2)))


@needs_page
def test_the_permissions_of_the_page_are_enough_in_a_cluster(host, server):
    more = ["+cluster|slots", "+command", "+info"]
    for node in server.nodes:
        node.user("a", *RULES, *more)
    a, b = (host(one, client=server.client(username="a", password="a")) for one in "ab")
    exchange(a, b)


def test_the_command_line_finds_the_node_that_has_the_stream(host, server):
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    for node in server.nodes:
        url = f"redis://{node.address}:{node.port}"
        rows = run_module("relay", url, "stream").splitlines()
        assert [json.loads(row)["host"].split("/")[0] for row in rows] == ["host a"]

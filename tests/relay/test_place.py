"""The place of a host, kept in Redis: G3 over a restart of all its workers."""

from __future__ import annotations

import time

import pytest
from children import SECONDS
from entries import entry_of, lost, only
from inside import as_before_redis_7, keep_rarely, reader_of, stopped
from server import until

import stdevents


@pytest.fixture
def restarted(host, client):
    """`restarted(meanwhile)`: a host that has read 1 to 3, has ended, and is there again."""

    def restart(meanwhile, **options):
        first = host("a")
        for number in (1, 2, 3):
            client.xadd("stream", entry_of("event", number), f"{number}-1")
        first.until(*only((1, 2, 3)))
        first.close()
        meanwhile(client)
        return host("a", **options)

    return restart


def post_three(client):
    for number in (4, 5, 6):
        client.xadd("stream", entry_of("event", number), f"{number}-1")


def test_a_host_that_was_away_gets_what_came_meanwhile(restarted):
    restarted(post_three).until(*only((4, 5, 6)))


def test_what_was_trimmed_meanwhile_is_told_with_its_count(restarted, client):
    def meanwhile(client):
        post_three(client)
        client.xtrim("stream", 1, approximate=False)

    restarted(meanwhile).until(lost(count=2, first="3-2", last="6-0"), ("event", 6))


def test_a_host_that_was_set_back_to_the_beginning_has_lost_nothing(restarted):
    """By an operator, and there is nothing before that."""

    def meanwhile(client):
        (group,) = client.xinfo_groups("stream")
        client.xgroup_setid("stream", group["name"], "0")

    restarted(meanwhile).until(*only((1, 2, 3)))


def test_what_was_trimmed_of_all_from_the_beginning_is_told(restarted):
    def meanwhile(client):
        (group,) = client.xinfo_groups("stream")
        client.xgroup_setid("stream", group["name"], "0")
        client.xtrim("stream", 1, approximate=False)

    restarted(meanwhile).until(lost(count=2, first="0-1", last="3-0"), ("event", 3))


def test_a_bus_may_be_closed_before_its_relay(host, client, monkeypatch):
    """Its place is kept all the same: nothing comes once more."""
    keep_rarely(monkeypatch)
    first = host("a")
    for number in (1, 2, 3):
        client.xadd("stream", entry_of("event", number), f"{number}-1")
    first.until(*only((1, 2, 3)))
    first.bus.close()
    until(lambda: [one["last-delivered-id"] for one in client.xinfo_groups("stream")] == [b"3-1"])
    post_three(client)
    host("a").until(*only((4, 5, 6)))


def test_start_new_skips_what_came_meanwhile(restarted, client):
    again = restarted(post_three, start="new")
    again.wait_for(lambda: again.relay.stats().position == "6-1")
    client.xadd("stream", entry_of("event", 7), "7-1")
    again.until(("event", 7))


def test_a_host_that_redis_does_not_know_begins_with_what_is_new(host, client):
    post_three(client)
    a = host("a")
    a.wait_for(lambda: a.relay.stats().position == "6-1")
    client.xadd("stream", entry_of("event", 7), "7-1")
    a.until(("event", 7))


def test_hosts_whose_workers_were_all_killed_begin_where_they_were(
    host, client, server, fork, name
):
    """Nobody has closed anything: the place was kept while they read."""

    def live(parent):
        bus = stdevents.Bus(f"{name}a", interval=0)
        stdevents.Relay(bus, server.client(), "stream", host="host a")
        parent.tell()
        while True:
            bus.poll()

    client.xgroup_create("stream", "other", "0", mkstream=True)  # so that there is a stream
    worker = fork(live)
    worker.hear()
    client.xadd("stream", entry_of("event", 1), "1-1")

    def place():
        groups = {group["name"]: group for group in client.xinfo_groups("stream")}
        return groups.get(f"host a/{name}a".encode(), {}).get("last-delivered-id")

    watching = host("b")
    watching.wait_for(lambda: place() == b"1-1")
    worker.kill()
    client.xadd("stream", entry_of("event", 2), "2-1")
    host("a").until(("event", 2))


def test_the_last_worker_keeps_the_place_of_a_reader_killed_just_now(
    host, server, client, fork, name
):
    """It leaves before it would have noticed; the dead one did not come to keep its place."""
    client.xgroup_create("stream", f"host a/{name}a", "0", mkstream=True)
    a = host("a", relayed=False)
    no_keeper = "~*", "+@all", "-xgroup|setid", "-xgroup|create"

    def live(parent):
        stdevents.Relay(a.bus, server.user("reader", *no_keeper), "stream", host="host a")
        parent.hear()

    reader = fork(live)
    a.wait_for(lambda: reader_of(a.bus) == reader.pid)
    a.join(client)
    client.xadd("stream", entry_of("event", 1), "1-1")
    a.until(("event", 1))
    with stopped(a.relay):  # so that it does not look for a reader in between
        reader.kill()
        a.relay.close()
    (group,) = client.xinfo_groups("stream")
    assert group["last-delivered-id"] == b"1-1"


def test_redis_tells_how_far_each_host_is(host, client):
    """By its own means: consoles and exporters show consumer groups."""
    a, b = host("a"), host("b")
    for one in (a, b):
        one.wait_for(lambda: one.relay.stats().reading)  # noqa: B023
    b.relay.close()
    entry = a.relay.post("test", "event", 1)
    a.until(("event", 1))

    def behind():
        return sorted(
            (group["name"].decode().split("/")[0], group["lag"], group["entries-read"])
            for group in client.xinfo_groups("stream")
        )

    a.wait_for(lambda: behind() == [("host a", 0, 1), ("host b", 1, 0)])
    places = {group["last-delivered-id"].decode() for group in client.xinfo_groups("stream")}
    assert entry in places


def test_a_group_that_was_removed_is_made_again(host, client):
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.wait_for(lambda: client.xinfo_groups("stream"))
    (group,) = client.xinfo_groups("stream")
    assert client.xgroup_destroy("stream", group["name"])
    entry = a.relay.post("test", "event", 2)
    a.until(*only((1, 2)))

    def place():
        return [one["last-delivered-id"].decode() for one in client.xinfo_groups("stream")]

    a.wait_for(lambda: place() == [entry])


def test_before_redis_7_a_place_is_kept_without_a_count(host, client, monkeypatch):
    as_before_redis_7(monkeypatch)
    client.xadd("stream", {"it": "is there"}, "0-1")
    first = host("a")
    first.relay.post("test", "event", 1)
    first.until(("event", 1))
    first.close()
    client.xadd("stream", entry_of("event", 2))
    host("a").until(("event", 2))


def test_a_host_that_leaves_has_claimed_nothing_that_is_not_on_its_bus(host, client):
    """Else nobody would ever handle it."""
    a = host("a", size=4096, overflow="wait", start="oldest", relayed=False)
    pipeline = client.pipeline()
    for number in range(300):
        pipeline.xadd("stream", entry_of("one", number, unique=f"key {number}"))
    pipeline.execute()
    a.join(client)
    deadline = time.monotonic() + SECONDS
    while not a.relay.stats().lag:  # without a poll: its bus is full
        assert time.monotonic() < deadline
    a.relay.close()
    on_its_bus = a.relay.stats().relayed
    assert 0 < on_its_bus < 300
    b = host("b", start="oldest")
    b.wait_for(lambda: len(b.seen) == 300 - on_its_bus)
    b.relay.post("test", "end")
    b.wait_for(lambda: ("end", None) in b.seen)
    assert b.seen[:-1] == [("one", number) for number in range(on_its_bus, 300)]

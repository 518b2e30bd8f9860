"""`Relay.post_many`: several events by one request, all of them or none, one behind the other."""

from __future__ import annotations

import pytest
from entries import only

import stdevents


def events(count):
    return [("test", "event", number) for number in range(count)]


def test_they_come_together_in_their_order(host, client):
    a, b = host("a"), host("b")
    last = a.relay.post_many(events(100))
    assert client.xrevrange("stream", count=1)[0][0].decode() == last
    for one in (a, b):
        one.until(*only(range(100)))
    assert a.relay.stats().posted == 100


def test_others_post_before_or_after_them_and_not_between(host, fork, client):
    a = host("a")

    def post(parent):
        for _ in range(30):
            a.relay.post_many([("test", "child", None)] * 10)

    child = fork(post)
    for _ in range(30):
        a.relay.post_many([("test", "parent", None)] * 10)
    child.result()
    a.wait_for(lambda: len(a.seen) == 600)
    names = [name for name, _ in a.seen]
    assert all(len(set(names[at : at + 10])) == 1 for at in range(0, 600, 10))


def test_it_is_one_request(host, client):
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    a.relay.post("test", "event", 0)  # the script is known from then on
    before = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    a.relay.close()
    b = host("b", relayed=False)
    relay = stdevents.Relay(b.bus, client, "stream")
    relay.post_many([("test", "event", number) for number in range(1, 50)])
    relay.close()
    looks = 2  # of the second relay: where to begin, and what is there
    after = client.info("commandstats")["cmdstat_evalsha"]["calls"]
    assert after - before <= 1 + looks + 1


@pytest.mark.parametrize(
    "bad, error, words",
    [
        (("test", "event"), TypeError, "2 items"),
        (("test", "event", {1}), stdevents.EncodeError, "set"),
        (("", "event", 1), ValueError, "source"),
        (("test", "event", "x" * 5000), stdevents.PayloadTooLarge, "4096"),
    ],
)
def test_one_that_cannot_be_posted_keeps_all_from_it(host, client, bad, error, words):
    a = host("a", size=4096)
    with pytest.raises(error, match=words):
        a.relay.post_many([*events(3), bad])
    assert client.xlen("stream") == 0


@pytest.mark.parametrize(
    "count, data, words, value, limit",
    [
        (4097, None, "4097 events together are more than the 4096 events", 4097, 4096),
        (9, "x" * 500_000, "take 4500171 bytes .* than the 4194304 bytes", 4_500_171, 4 << 20),
    ],
)
def test_more_than_one_request_may_take_are_refused_at_the_call(
    host, client, count, data, words, value, limit
):
    """Redis would stand still for all hosts, for as long as it takes to put them on the stream."""
    a = host("a", buffer=10_000)
    with pytest.raises(stdevents.PayloadTooLarge, match=f"{words}.*post them in several") as caught:
        a.relay.post_many([("test", "event", data)] * count)
    assert (caught.value.size, caught.value.limit) == (value, limit)
    stats = a.relay.stats()
    assert client.xlen("stream") == stats.posted == stats.buffered == 0


def test_as_many_as_one_request_may_take_are_posted(host, client):
    a = host("a", size="8m")
    a.relay.post_many([("test", "event", None)] * 4096)
    a.relay.post_many([("test", "event", "x" * 499_000)] * 8)
    a.relay.post_many([("test", "event", "x" * 5_000_000)])  # as a post may be
    assert client.xlen("stream") == 4096 + 8 + 1


def test_none_are_none(host, client):
    assert host("a").relay.post_many([]) is None
    assert client.xlen("stream") == 0


def test_they_are_a_unique_one_each(host):
    a, b = host("a"), host("b")
    a.relay.post_many([("test", "one", number, f"key {number}") for number in range(20)])
    a.wait_for(lambda: (b.bus.poll(), len(a.seen) + len(b.seen))[1] == 20)
    assert sorted(a.seen + b.seen) == [("one", number) for number in range(20)]


def test_for_a_unique_one_redis_does_not_look_through_all_of_them(host, client):
    """They are all of one millisecond: for thousands that took more than a second."""
    a = host("a", size="4m")
    a.relay.post_many(("test", "one", number, number) for number in range(500))
    a.wait_for(lambda: len(a.seen) == 500)
    assert client.info("commandstats")["cmdstat_zrangebyscore"]["calls"] < 100


def test_while_redis_is_away_all_or_none_are_buffered(host, server):
    a = host("a", buffer=10)
    server.kill()
    assert a.relay.post_many(events(6)) is None
    assert a.relay.stats().buffered == 6
    with pytest.raises(stdevents.RelayError, match="buffer=10 .* 6 do, and 5 more would"):
        a.relay.post_many(events(5))
    assert a.relay.post_many([("test", "last", 6)]) is None
    server.start()
    a.until(*only(range(6)), ("last", 6))


def test_a_request_that_is_sent_twice_is_there_once(host, server, client):
    """The buffer sends again what may have been done already."""
    a = host("a", client=server.client(socket_timeout=0.1), buffer=10)
    a.relay.post("test", "event", 0)
    a.until(("event", 0))
    server.stop()
    try:
        assert a.relay.post_many([("test", "event", 1), ("test", "event", 2)]) is None
    finally:
        server.go_on()
    a.until(*only(range(3)))
    assert client.xlen("stream") == 3

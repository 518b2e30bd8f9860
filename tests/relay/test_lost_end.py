"""A Redis that has lost its newest entries: all hosts are told, and miss nothing that it has."""

from __future__ import annotations

import os
import shutil

import pytest
from entries import entry_of, lost, only
from inside import is_away, stopped

import stdevents


def events_of(host):
    return [seen for seen in host.seen if seen[0] != "lost"]


def losses_of(host):
    return [seen for seen in host.seen if seen[0] == "lost"]


class Rewound:
    """A Redis that forgets all that it was told since `keep`, as a replica that was behind."""

    def __init__(self, server, folder):
        self._server = server
        self._theirs = os.path.join(server.folder, "appendonlydir")
        self._kept = folder / "kept"

    def keep(self):
        self._server.kill()
        shutil.copytree(self._theirs, self._kept)
        self._server.start()

    def rewind(self):
        self._server.kill()
        shutil.rmtree(self._theirs)
        shutil.copytree(self._kept, self._theirs)
        self._server.start()


@pytest.fixture
def rewound(server, tmp_path):
    return Rewound(server, tmp_path)


def reconnect(relay, *arguments):
    """Post, once more where the connection was lost with the server."""
    while True:
        try:
            return relay.post(*arguments)
        except stdevents.RelayError:
            continue


def put(client, name, number, entry):
    client.xadd("stream", entry_of(name, number), entry)


def test_as_many_new_entries_as_were_lost_hide_nothing(host, server, client, rewound):
    """Redis counts 3 entries before and after, and the last id has grown."""
    a = host("a")
    put(client, "event", 1, "1-1")
    a.until(("event", 1))
    rewound.keep()
    put(client, "event", 2, "2-1")
    put(client, "event", 3, "3-1")
    a.until(*only((1, 2, 3)))
    with stopped(a.relay):  # else it may see what is between
        rewound.rewind()
        put(client, "new", 2, "2-5")
        put(client, "new", 3, "5-1")
    a.wait_for(lambda: ("new", 3) in a.seen)
    assert events_of(a) == [*only((1, 2, 3)), ("new", 2), ("new", 3)]
    assert losses_of(a) == [lost()]


def test_an_entry_with_the_id_of_another_is_told_and_delivered(host, server, client, rewound):
    a = host("a")
    put(client, "event", 1, "1-1")
    a.until(("event", 1))
    rewound.keep()
    put(client, "event", 2, "2-1")
    a.until(*only((1, 2)))
    with stopped(a.relay):
        rewound.rewind()
        put(client, "new", 2, "2-1")
    a.wait_for(lambda: ("new", 2) in a.seen)
    assert events_of(a) == [*only((1, 2)), ("new", 2)]
    assert losses_of(a) == [lost()]


def test_ids_of_a_replica_whose_clock_is_behind_are_delivered_too(host, server, client, rewound):
    a = host("a")
    put(client, "event", 1, "1-1")
    a.until(("event", 1))
    rewound.keep()
    put(client, "event", 100, "100-1")
    a.until(*only((1, 100)))
    numbers = range(2, 27)
    with stopped(a.relay):
        rewound.rewind()
        for number in numbers:
            put(client, "event", number, f"{number}-1")
    put(client, "end", 0, "101-1")
    a.wait_for(lambda: ("end", 0) in a.seen)
    assert events_of(a) == [*only((1, 100, *numbers)), ("end", 0)]
    assert losses_of(a) == [lost()]


def test_a_poster_that_finds_its_last_entry_gone_tells_all_hosts(
    host, server, client, rewound, caplog
):
    """Also those that were behind: of what they missed they see no trace on the stream."""
    a, b = host("a"), host("b")
    first = a.relay.post("test", "event", 1)
    for one in (a, b):
        one.until(("event", 1))
    b.relay.close()
    rewound.keep()
    second = reconnect(a.relay, "test", "event", 2)
    a.until(*only((1, 2)))
    rewound.rewind()
    reconnect(a.relay, "test", "event", 3)
    b.relay = stdevents.Relay(b.bus, server.client(), "stream")
    b.until(("event", 1), lost(last=second), ("event", 3))
    assert f"what was posted to stream 'stream' up to {second}" in caplog.text
    assert first < second


def test_one_loss_is_told_by_one_poster_also_when_others_post_later(host, client):
    """All of them find it out. Each host would drop its caches as often as there are posters."""
    a, *posters = hosts = [host(suffix) for suffix in "abc"]
    for one in posters:
        one.relay.post("test", "event", 1)
    for one in hosts:
        one.until(("event", 1), ("event", 1))
    client.flushall()
    for one in hosts:
        one.wait_for(lambda: losses_of(one) == [lost()])  # noqa: B023  its own
    posters[0].relay.post("test", "new", 1)
    over = client.time()[0] + 2
    a.wait_for(lambda: client.time()[0] >= over)
    posters[1].relay.post("test", "new", 2)
    a.wait_for(lambda: ("new", 2) in a.seen)
    assert len(losses_of(a)) == 2


def test_a_second_loss_is_told_as_the_first_one_was(host, server, client, rewound):
    a = host("a")
    a.relay.post("test", "event", 1)
    client.flushall()
    a.relay.post("test", "event", 2)
    a.wait_for(lambda: ("event", 2) in a.seen)
    rewound.keep()
    third = reconnect(a.relay, "test", "event", 3)
    a.wait_for(lambda: ("event", 3) in a.seen)
    rewound.rewind()
    reconnect(a.relay, "test", "event", 4)
    a.wait_for(lambda: ("event", 4) in a.seen)
    assert lost(last=third) in losses_of(a)


def test_what_others_write_where_it_is_noted_keeps_no_loss_from_being_told(host, client):
    a = host("a")
    first = a.relay.post("test", "event", 1)
    a.until(("event", 1))
    client.flushall()
    client.set("{stream}:told", "no id")
    a.relay.post("test", "event", 2)
    a.wait_for(lambda: ("event", 2) in a.seen)
    assert lost(last=first) in losses_of(a)


def test_a_poster_whose_entries_are_there_tells_nothing(host, server, client):
    """Not after a restart that kept everything, and not after posts that failed."""
    a = host("a")
    a.relay.post("test", "event", 1)
    server.kill()
    with pytest.raises(stdevents.RelayError):
        a.relay.post("test", "event", 2)
    server.start()
    reconnect(a.relay, "test", "event", 3)
    a.wait_for(lambda: ("event", 3) in a.seen)
    assert losses_of(a) == []


def test_the_buffer_tells_it_too(host, server, client, rewound):
    a = host("a", buffer=10)
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    rewound.keep()
    a.wait_for(lambda: a.relay.stats().away_since is None)
    a.relay.post("test", "event", 2)
    a.wait_for(lambda: ("event", 2) in a.seen)
    rewound.rewind()
    server.kill()
    a.relay.post("test", "event", 3)
    server.start()
    a.wait_for(lambda: ("event", 3) in a.seen)
    assert losses_of(a)


def test_a_buffer_that_was_filled_while_redis_was_away_tells_it_too(host, server, client, rewound):
    """What is posted then is asked after nevertheless; a host that was behind sees no trace."""
    b = host("b")
    put(client, "event", 1, "1-1")
    b.until(("event", 1))
    b.relay.close()
    rewound.keep()
    a = host("a", buffer=10)
    second = a.relay.post("test", "event", 2)
    a.wait_for(lambda: a.relay.stats().reading)
    rewound.rewind()
    server.kill()
    a.wait_for(lambda: is_away(a.relay))
    assert a.relay.post("test", "event", 3) is None
    server.start()
    a.wait_for(lambda: ("event", 3) in a.seen)
    b.relay = stdevents.Relay(b.bus, server.client(), "stream")
    b.until(("event", 1), lost(last=second), ("event", 3))


def test_a_lost_end_of_which_all_that_is_new_was_trimmed_is_told(host, client, rewound):
    """Redis has as many less as it had before: only the place of the host has gone back, too."""
    a = host("a")
    for number in range(1, 6):
        put(client, "event", number, f"{number}-1")
    a.until(*only(range(1, 6)))
    wait_until_kept(a, client, "5-1")
    rewound.keep()
    for number in range(6, 11):
        put(client, "event", number, f"{number}-1")
    a.wait_for(lambda: len(events_of(a)) == 10)
    wait_until_kept(a, client, "10-1")
    with stopped(a.relay):
        rewound.rewind()
        for number in range(20, 30):
            put(client, "event", number, f"{number}-1")
        client.xtrim("stream", 5, approximate=False)
    a.wait_for(lambda: ("event", 29) in a.seen)
    assert losses_of(a) == [lost()]


def wait_until_kept(host, client, entry):
    """Until Redis knows the place of the host."""

    def place():
        return [one["last-delivered-id"].decode() for one in client.xinfo_groups("stream")]

    host.wait_for(lambda: place() == [entry])


def test_a_host_of_two_workers_gets_over_a_redis_that_forgot_all(host, client, server, fork):
    """All that the bus has of the stream is looked for there, in less time than a reader has."""
    a = host("a", size="4m")
    a.relay.close()
    for base in range(0, 4000, 500):
        pipeline = client.pipeline()
        for number in range(base, base + 500):
            pipeline.xadd("stream", entry_of("event", number))
        pipeline.execute()
    a.relay = stdevents.Relay(a.bus, server.client(), "stream", start="oldest")
    before = client.info("commandstats")

    def work(parent):
        relay = stdevents.Relay(a.bus, server.client(), "stream")
        parent.tell()
        parent.hear()
        relay.close()

    worker = fork(work)
    worker.hear()
    client.xadd("stream", entry_of("last", None))
    a.wait_for(lambda: ("last", None) in a.seen)
    client.flushall()
    client.xadd("stream", entry_of("new", None))
    a.wait_for(lambda: ("new", None) in a.seen)
    assert losses_of(a) == [lost()]
    after = client.info("commandstats")
    scripts = [one["cmdstat_evalsha"]["calls"] for one in (before, after)]
    assert scripts[1] - scripts[0] < 200  # not one for each of 4,000
    worker.say()
    worker.result()


def test_a_host_that_was_restarted_sees_a_lost_end_as_well(host, server, client, rewound):
    """What its place in Redis does not say, the look before has."""
    put(client, "event", 1, "1-1")
    rewound.keep()
    put(client, "event", 100, "100-1")
    first = host("a", start="oldest")
    first.until(*only((1, 100)))
    first.close()
    again = host("a")
    again.wait_for(lambda: again.relay.stats().reading)
    with stopped(again.relay):
        rewound.rewind()
        put(client, "event", 2, "2-1")
        put(client, "event", 101, "101-1")
    again.wait_for(lambda: ("event", 101) in again.seen)
    again.relay.post("test", "end")
    again.wait_for(lambda: ("end", None) in again.seen)
    assert losses_of(again) == [lost()]

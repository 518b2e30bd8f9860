"""A Redis that has lost its newest entries: all hosts are told, and miss nothing that it has."""

from __future__ import annotations

import os
import shutil

import pytest
from entries import entry_of, lost, only
from inside import stopped

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

"""Another worker reads when the reader has died, hangs, or cannot reach Redis any more."""

from __future__ import annotations

import os
import time

import pytest
from entries import entry_of
from inside import connections_in_use, reader_of

import stdevents


@pytest.fixture
def workers(host, server, fork):
    """`workers(count)`: a host that does not read, and so many workers of it that may."""

    def start(count, work=None, **options):
        watching = host("a", relayed=False)

        def live(parent):
            relay = stdevents.Relay(watching.bus, server.client(**options), "stream", host="host a")
            parent.tell()
            while True:
                if work is not None:
                    work(parent, relay)
                watching.bus.poll()
                time.sleep(0.01)

        crew = [fork(live) for _ in range(count)]
        for worker in crew:
            worker.hear()
        watching.wait_for(lambda: reader_of(watching.bus))
        return watching, {worker.pid: worker for worker in crew}

    return start


def test_another_worker_takes_over_when_the_reader_is_killed(workers, client):
    watching, crew = workers(3)
    for number in range(3):
        entry = client.xadd("stream", entry_of("event", number))
        watching.wait_for(lambda: ("event", number) in watching.seen)  # noqa: B023
        assert entry
        if len(crew) > 1:
            crew.pop(reader_of(watching.bus)).kill()
    assert len(watching.seen) == 3


def test_a_successor_that_has_the_dead_readers_slot_is_not_taken_for_it(workers, fork, server):
    """A master forks a new worker as soon as one has died."""
    watching, crew = workers(2)
    for number in range(3):
        victim = crew.pop(reader_of(watching.bus))
        victim.kill()

        def live(parent):
            stdevents.Relay(watching.bus, server.client(), "stream", host="host a")
            parent.tell()
            while True:
                watching.bus.poll()
                time.sleep(0.01)

        successor = fork(live)
        successor.hear()
        crew[successor.pid] = successor
        server.client().xadd("stream", entry_of("event", number))
        watching.wait_for(lambda: ("event", number) in watching.seen)  # noqa: B023
        assert reader_of(watching.bus) in crew


def test_nobody_says_that_it_reads_where_redis_stands_still(workers, server, client, caplog):
    """As when its machine is frozen: connections stay, and nothing comes."""

    def tell(parent, relay):
        stats = relay.stats()
        if stats.away_since:
            assert not stats.reading
            parent.tell("away")
            while relay.stats().away_since:
                time.sleep(0.01)
            parent.tell("back")

    watching, crew = workers(2, tell, socket_timeout=0.5)
    reader = crew[reader_of(watching.bus)]
    server.stop()
    try:
        assert reader.hear() == "away"
    finally:
        server.go_on()
    assert reader.hear() == "back"
    client.xadd("stream", entry_of("event", 1))
    watching.wait_for(lambda: ("event", 1) in watching.seen)


def test_nobody_reads_who_tries_again_to_reach_redis(host, server):
    """It is elected for that, and waits for an answer that does not come."""
    server.stop()
    try:
        a = host("a", client=server.client(socket_timeout=2))
        a.wait_for(lambda: reader_of(a.bus))
        stats = a.relay.stats()
        assert stats.away_since
        assert not stats.reading
    finally:
        server.go_on()
    a.wait_for(lambda: a.relay.stats().reading)


def test_a_fork_does_not_wait_for_a_redis_that_stands_still(host, server, fork):
    a = host("a", client=server.client(socket_timeout=30))
    a.wait_for(lambda: a.relay.stats().reading)
    server.stop()
    try:
        begun = time.monotonic()
        for _ in range(5):
            assert fork(lambda parent: os.getpid()).result() != os.getpid()
        # Not a time that it may take, but less than the one that the client would wait.
        assert time.monotonic() - begun < 30
    finally:
        server.go_on()


def test_a_relay_without_a_bound_on_its_waits_is_refused(host, server):
    with pytest.raises(ValueError, match="socket_timeout, so a Redis that stands still"):
        host("a", client=server.client(socket_timeout=None))


def test_a_relay_closed_during_a_long_step_gives_its_connection_back(host, server):
    """Whoever closes it does not wait for a Redis that stands still."""
    client = server.client(socket_timeout=1)
    a = host("a", client=client)
    a.wait_for(lambda: a.relay.stats().reading)
    server.stop()
    try:
        a.wait_for(lambda: not a.relay.stats().reading)
        a.relay.close()
    finally:
        server.go_on()
    a.wait_for(lambda: not connections_in_use(client))

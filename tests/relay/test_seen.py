"""How far a host is can be seen: by `stats`, by `status`, and from Redis alone."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import pytest
from children import SECONDS
from entries import entry_of, only
from inside import name_of, stopped
from programs import PYTHONPATH

STREAM = "stream"


def run_module(*arguments, status=0):
    """What the command line says, wherever it says it."""
    done = subprocess.run(
        [sys.executable, "-m", "stdevents", *arguments],  # redis-py leaves sockets to the collector
        env={**os.environ, "PYTHONPATH": PYTHONPATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=SECONDS,
    )
    assert done.returncode == status, done.stdout
    return done.stdout


@pytest.fixture
def at_address(server):
    return f"unix://{server.path}"


def test_stats_tell_how_far_the_host_is_and_who_reads(host, client):
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    assert a.relay.stats().position is not None
    entry = a.relay.post("test", "event", 1)
    a.until(("event", 1))
    stats = a.relay.stats()
    assert (stats.stream, stats.position, stats.lag) == (STREAM, entry, 0)
    assert (stats.reader, stats.away_since) == (os.getpid(), None)


def test_every_worker_of_the_host_is_told(host, fork, client):
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    stats = fork(lambda parent: tuple(a.relay.stats())).result()
    ours = a.relay.stats()
    assert stats[-3:] == (ours.position, ours.lag, os.getpid())


def test_the_lag_is_what_has_come_and_was_not_read(host, client):
    a = host("a", overflow="wait", size=4096)
    a.wait_for(lambda: a.relay.stats().reading)
    pipeline = client.pipeline()
    for number in range(200):
        pipeline.xadd(STREAM, entry_of("event", number))
    pipeline.execute()
    deadline = time.monotonic() + SECONDS
    while not a.relay.stats().lag:  # without a poll, which would have it read more
        assert time.monotonic() < deadline
    assert 0 < a.relay.stats().lag < 200
    a.until(*only(range(200)))
    a.wait_for(lambda: a.relay.stats().lag == 0)


def test_it_is_told_since_when_redis_is_away(host, server):
    a = host("a")
    a.wait_for(lambda: a.relay.stats().reading)
    server.kill()
    a.wait_for(lambda: a.relay.stats().away_since)
    assert not a.relay.stats().reading
    out = run_module("status", name_of(a.bus), "--json")
    assert json.loads(out)["relay"]["away_since"] == int(a.relay.stats().away_since)
    assert "not read since" in run_module("status", name_of(a.bus))
    server.start()
    a.wait_for(lambda: a.relay.stats().away_since is None and a.relay.stats().reading)
    assert json.loads(run_module("status", name_of(a.bus), "--json"))["relay"]["away_since"] is None


def test_a_closed_bus_is_nowhere_in_the_stream(host):
    a = host("a")
    a.bus.close()
    stats = a.relay.stats()
    assert (stats.position, stats.lag, stats.reader) == (None, None, None)


def test_status_has_a_line_for_it(host):
    a = host("a")
    entry = a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.wait_for(lambda: a.relay.stats().position == entry)
    line = f"relay    {STREAM} at {entry}, 0 behind, read by {os.getpid()}"
    assert line in run_module("status", name_of(a.bus))
    b = host("b", relayed=False)
    assert "relay" not in run_module("status", name_of(b.bus))


def test_redis_alone_tells_of_all_hosts(host, client, at_address):
    a, b = host("a"), host("b")
    for one in (a, b):
        one.wait_for(lambda: one.relay.stats().reading)  # noqa: B023
    groups = [f"host {suffix}/{name_of(one.bus)}" for suffix, one in (("a", a), ("b", b))]
    a.wait_for(lambda: len(client.xinfo_groups(STREAM)) == 2)
    with stopped(b.relay):
        entry = a.relay.post("test", "event", 1)
        a.until(("event", 1))
        place = {"name": groups[0].encode(), "last-delivered-id": entry.encode()}
        a.wait_for(lambda: place.items() <= client.xinfo_groups(STREAM)[0].items())
        rows = run_module("relay", at_address, STREAM).splitlines()
    told = [(row["host"], row["behind"], row["gone"]) for row in map(json.loads, rows)]
    assert told == [(groups[0], 0, 0), (groups[1], 1, 0)]


def test_what_is_gone_before_a_host_comes_to_it_is_seen(host, client, at_address):
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    a.close()
    for number in range(10):
        client.xadd(STREAM, entry_of("event", number))
    client.xtrim(STREAM, 4, approximate=False)
    row = json.loads(run_module("relay", at_address, STREAM))
    assert (row["behind"], row["gone"]) == (10, 6)


def test_a_host_that_is_gone_for_good_is_removed(host, client, at_address):
    a = host("a")
    a.relay.post("test", "event", 1)
    a.until(("event", 1))
    group = f"host a/{name_of(a.bus)}"
    a.close()
    assert run_module("relay", at_address, STREAM, "--remove", group) == f"{group}: removed\n"
    assert client.xinfo_groups(STREAM) == []
    assert "no host" in run_module("relay", at_address, STREAM, "--remove", group, status=1)


def test_a_stream_that_is_not_there_and_a_redis_that_is_not_are_told(server, at_address):
    assert "no stream 'other'" in run_module("relay", at_address, "other", status=1)
    server.kill()
    assert "ConnectionError" in run_module("relay", at_address, STREAM, status=1)
    server.start()


@pytest.mark.parametrize("option", ["foo=1", "ssl=true", "single_connection_client=true"])
def test_a_url_that_no_client_takes_is_told_in_one_line(option):
    told = run_module("relay", f"redis://:secret@localhost?{option}", STREAM, status=2)
    assert told.startswith("stdevents: relay: the URL has what no client takes: ")
    assert told.count("\n") == 1 and "secret" not in told


def test_a_url_may_say_what_other_programs_need(host, at_address):
    """As that answers are decoded."""
    host("a")
    row = json.loads(run_module("relay", f"{at_address}?decode_responses=true", STREAM))
    assert row["host"].startswith("host a/")

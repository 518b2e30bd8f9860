"""Two hosts with several workers each, while readers are killed and Redis is restarted, at random.

What each bus was given is compared with the stream itself, entry for entry.
"""

from __future__ import annotations

import json
import random
import signal
import time
from collections import Counter

import redis
from entries import entry_of
from inside import place_in_stream, reader_of
from test_workers import hasty, work  # noqa: F401  hasty is a fixture

import stdevents

NAME = "readers killed, Redis restarted"
MOST_SECONDS = 1800  # of a long campaign
WORKERS = 3  # on each host
POSTERS = 2  # each is a host of its own, of which nobody is killed


def post_all(parent, name, server, count, seed):
    """Post so many events, whatever becomes of Redis, and wait until it has all of them."""
    signal.alarm(MOST_SECONDS)
    chance = random.Random(seed)
    bus = stdevents.Bus(name, interval=0)
    relay = stdevents.Relay(bus, server.client(), "stream", maxlen=None, buffer=count)
    for number in range(count):
        unique = f"{seed} {number}" if chance.random() < 0.1 else None
        relay.post("test", "event", [seed, number], unique=unique)
        time.sleep(chance.random() / 500)
    while relay.stats().buffered:
        time.sleep(0.01)
    relay.close()
    bus.close()


def compare(campaign, expected, seen):
    """Count what is missing, what is there too often, and what is out of order."""
    missing, surplus = Counter(expected) - Counter(seen), Counter(seen) - Counter(expected)
    campaign.count("lost", sum(missing.values()))
    campaign.count("duplicated", sum(surplus.values()))
    if not (missing or surplus):
        campaign.count("reordered", sum(one != other for one, other in zip(expected, seen)))


def test_readers_killed_and_redis_restarted_at_random(
    host,
    name,
    server,
    client,
    fork,
    campaign,
    hasty,  # noqa: F811
):
    """Lost, duplicated, reordered: nothing, on no host."""
    count = campaign.size(200, 10_000)
    watching = {suffix: host(suffix, relayed=False, size="4m", timeout=0.001) for suffix in "ab"}
    crews = {suffix: [] for suffix in watching}

    def reinforce():
        for suffix, crew in crews.items():
            while len(crew) < WORKERS:
                crew.append(fork(work, watching[suffix].bus, server, MOST_SECONDS))

    reinforce()
    for crew in crews.values():
        for worker in crew:
            worker.hear()
    for one in watching.values():
        one.wait_for(lambda: place_in_stream(one.bus))  # noqa: B023
    posters = [
        fork(post_all, f"{name}-poster-{seed}", server, count, seed) for seed in range(POSTERS)
    ]
    while client_has(client) < POSTERS * count or not campaign.counts["restarts of Redis"]:
        campaign.progress(NAME, client_has(client))
        time.sleep(campaign.random.random() / 20)
        suffix = campaign.random.choice("ab")
        reader = reader_of(watching[suffix].bus)
        for victim in [worker for worker in crews[suffix] if worker.pid == reader]:
            victim.kill()
            crews[suffix].remove(victim)
            campaign.count("readers killed")
            if campaign.counts["readers killed"] % 4 == 0:
                server.kill()
                server.start()
                campaign.count("restarts of Redis")
        reinforce()
        for one in watching.values():
            one.bus.poll()
    for poster in posters:
        poster.result()
    campaign.progress(NAME, POSTERS * count)
    client.xadd("stream", entry_of("end", None))
    for one in watching.values():
        one.wait_for(lambda: ("end", None) in one.seen)  # noqa: B023
    check(campaign, client, watching, count)
    campaign.end(NAME, POSTERS * count)


def client_has(client):
    """How many entries the stream has; none where that cannot be asked just now."""
    try:
        return client.xlen("stream")
    except redis.ConnectionError:
        return 0


def check(campaign, client, watching, count):
    """Compare what was posted, the stream, and what each host was given."""
    entries, unique, posted = [], set(), []
    for entry, fields in client.xrange("stream"):
        parts = json.loads(fields[b"event"])
        if parts[1] == "event":
            posted.append(tuple(parts[2]))
            entries.append(entry.decode())
            if len(parts) > 3:
                unique.add(entry.decode())
    expected = [(seed, number) for seed in range(POSTERS) for number in range(count)]
    compare(campaign, expected, sorted(posted, key=lambda post: post[0]))
    plain = [entry for entry in entries if entry not in unique]
    ran = Counter()
    for one in watching.values():
        told = [
            origin.entry for (event, _), (_, origin) in zip(one.seen, one.told) if event == "event"
        ]
        campaign.count("lost", sum(event == "lost" for event, _ in one.seen))
        compare(campaign, plain, [entry for entry in told if entry not in unique])
        ran.update(entry for entry in told if entry in unique)
        campaign.count("delivered", len(told))
    # A reader that was killed meanwhile is followed by one of the same host, which goes on with it.
    compare(campaign, sorted(unique), sorted(ran.elements()))
    campaign.count("unique", len(unique))

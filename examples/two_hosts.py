"""One cache on two hosts: an entry that one of them drops is dropped by all workers of both.

    pip install stdevents[redis]
    python3 two_hosts.py redis://10.0.0.1 set price 1     # on one host, and
    python3 two_hosts.py redis://10.0.0.1                 # on another one, which goes on

The first starts, changes an entry, and tells all hosts; the second shows what it hears, until
Ctrl-C. On one machine two hosts are two buses: give one of them another name, by BUS=other.
"""

from __future__ import annotations

import logging
import os
import sys
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

import stdevents

cache: dict[str, str] = {}
news = stdevents.event_list("cache", "drop")


@stdevents.on(news._source, news.drop)
def drop(data, event, source, pid):
    """Some worker of some host has changed the entry."""
    cache.pop(data["key"], None)
    print(f"dropped {data['key']}, says process {pid} of {stdevents.origin().host}", flush=True)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    """Nobody knows which entries are stale: from this bus, or from the stream."""
    cache.clear()
    print("dropped all", flush=True)


def main(url, *change):
    """The command line."""
    logging.basicConfig(level=logging.INFO)
    bus = stdevents.configure(os.environ.get("BUS", "two-hosts"))
    # How long a post may take while Redis is away is up to the client.
    client = redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0))
    relay = stdevents.Relay(bus, client, "two-hosts", buffer=1000)
    if change:
        key = change[1]
        relay.post(news._source, news.drop, {"key": key})
    try:
        while not change:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    relay.close()
    stdevents.close()


if __name__ == "__main__":
    main(*sys.argv[1:])

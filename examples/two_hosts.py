"""One cache on two hosts: an entry that one of them drops is dropped by all workers of both.

    pip install ".[redis]"
    python examples/two_hosts.py redis://10.0.0.1           # on one host, and then
    python examples/two_hosts.py redis://10.0.0.1 price     # on another one

The first shows what it hears, until Ctrl-C; the second tells all hosts that an entry has changed.
On one machine two hosts are two buses: give one of them another name, by BUS=other.
"""

from __future__ import annotations

import argparse
import logging
import os
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
    origin = stdevents.origin()  # None: it was posted on this host, for this host
    host = origin.host if origin else "this host"
    print(f"dropped {data['key']}, says process {pid} of {host}", flush=True)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    """Nobody knows which entries are stale: from this bus, or from the stream."""
    cache.clear()
    print("dropped all", flush=True)


def connect(url):
    """To Redis. How long a post may take while it is away is up to the client."""
    return redis.Redis.from_url(url, socket_timeout=2, retry=Retry(NoBackoff(), 0))


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description="Tell all hosts what to drop, or listen.")
    parser.add_argument("client", metavar="redis://HOST", type=connect)
    parser.add_argument("key", nargs="?", help="an entry that has changed; without one, listen")
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO)
    bus = stdevents.configure(os.environ.get("BUS", "two-hosts"))
    # A buffer is of use to a process that goes on.
    buffer = 1000 if arguments.key is None else 0
    relay = stdevents.Relay(bus, arguments.client, "two-hosts", buffer=buffer)
    if arguments.key is not None:
        relay.post(news._source, news.drop, {"key": arguments.key})
    try:
        while arguments.key is None:
            time.sleep(1)
    except KeyboardInterrupt:
        pass
    relay.close()
    stdevents.close()


if __name__ == "__main__":
    main()

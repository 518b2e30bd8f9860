"""Caches of a process, and the three lines that drop an entry from all of them.

pip install .
python examples/cache.py
"""

from __future__ import annotations

import functools
import os
import time

import stdevents

users = {7: "Ada"}


@functools.lru_cache(maxsize=None)
def rate(currency):
    return time.monotonic_ns()  # something that takes long


# A dict: drop the entry.
@stdevents.on("users", "changed")
def drop_user(data, event, source, pid):
    users.pop(data["id"], None)


# functools.lru_cache: it can only be cleared as a whole.
@stdevents.on("rates", "changed")
def drop_rates(data, event, source, pid):
    rate.cache_clear()


# A worker that was too slow may have missed either.
@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    users.clear()
    rate.cache_clear()


def main():
    stdevents.configure("my-app")
    rate("EUR")
    child = os.fork()  # its caches, its handlers and its place on the bus are its own
    if child == 0:
        while users or rate.cache_info().currsize:
            time.sleep(0.01)
        print(f"the child {os.getpid()} has dropped both", flush=True)
        os._exit(0)
    stdevents.post("users", "changed", {"id": 7})
    stdevents.post("rates", "changed")
    os.waitpid(child, 0)
    stdevents.poll()
    print(f"the parent {os.getpid()} has dropped both: {users}, {rate.cache_info().currsize}")


if __name__ == "__main__":
    main()

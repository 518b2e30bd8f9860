"""Pools whose workers are all told to drop what they have cached, by any start method.

pip install .
python examples/pool.py [fork | spawn | forkserver]
"""

from __future__ import annotations

import multiprocessing
import os
import sys
import time
from concurrent.futures import ProcessPoolExecutor

import stdevents

WORKERS = 3
cache = {}


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    cache.pop(data["item"], None)


def price(item):
    """Who looked, and was it in that one's cache?"""
    time.sleep(0.02)  # so that each worker gets something to do
    cached = item in cache
    cache[item] = 2.50
    return os.getpid(), cached


def until_all_had(cached, map_over):
    """Look up a price until each worker had it cached, or each one had not."""
    workers = set()
    while len(workers) < WORKERS:
        answers = map_over(price, ["tea"] * 2 * WORKERS)
        workers |= {pid for pid, was in answers if was == cached}
    return workers


def show(kind, map_over):
    before = until_all_had(True, map_over)
    stdevents.post("prices", "changed", {"item": "tea"})
    after = until_all_had(False, map_over)
    assert after == before
    print(f"{kind}: {len(after)} workers had it cached, and have dropped it", flush=True)


def main(method="spawn"):
    # In the parent, too: it posts, and a wrong name or option raises here, not in each worker.
    stdevents.configure("my-app")
    context = multiprocessing.get_context(method)
    # The comma makes it a tuple; without it, Pool starts one worker after the other, for ever.
    with context.Pool(WORKERS, stdevents.configure, ("my-app",)) as pool:
        show(f"Pool, {method}", pool.map)
        pool.close()
        pool.join()
    options = {"initializer": stdevents.configure, "initargs": ("my-app",)}
    with ProcessPoolExecutor(WORKERS, context, **options) as executor:
        show(f"ProcessPoolExecutor, {method}", executor.map)


if __name__ == "__main__":
    main(*sys.argv[1:])

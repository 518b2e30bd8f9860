"""A pool whose workers are all told to drop what they have cached, by any start method.

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


def fill(barrier_of_all):
    """Have a price in the cache, in each worker: so each waits until all are here."""
    cache["tea"] = 2.50
    barrier.wait()
    return os.getpid()


def is_dropped(number):
    while "tea" in cache:
        time.sleep(0.01)
    barrier.wait()
    return os.getpid()


def initialize(the_barrier):
    """A wrong call here does not stay in the worker: see run_executor."""
    global barrier
    barrier = the_barrier
    stdevents.configure("my-app")


def run(kind, pool, call):
    filled = set(call(fill, range(WORKERS)))
    with stdevents.Bus("my-app") as bus:
        bus.post("prices", "changed", {"item": "tea"})
    dropped = set(call(is_dropped, range(WORKERS)))

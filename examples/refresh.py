"""N workers notice that something is out of date, and one of them fetches it for all.

pip install .
python examples/refresh.py
"""

from __future__ import annotations

import multiprocessing
import os
import time

import stdevents

WORKERS = 4
cache = {}


@stdevents.on("rates", "expired")
def refresh(data, event, source, pid):
    # One worker is here for all. If it dies here, the next `expired` after `timeout` seconds does.
    print(f"worker {os.getpid()} fetches them", flush=True)
    time.sleep(0.2)  # the costly part
    stdevents.post("rates", "fresh", {"EUR": 1.08, "by": os.getpid()})


@stdevents.on("rates", "fresh")
def keep(data, event, source, pid):
    cache.update(data)


def work(start):
    stdevents.configure("my-app", timeout=5)
    start.wait()  # all of them at the same time
    if "EUR" not in cache:
        stdevents.post("rates", "expired", unique="rates")
    while "EUR" not in cache:
        time.sleep(0.01)
    start.wait()  # nobody leaves before all have it
    stats = stdevents.stats()
    print(f"worker {os.getpid()}: fresh by {cache['by']}, {stats.ignored} left to it", flush=True)
    stdevents.close()


def main():
    start = multiprocessing.Barrier(WORKERS)
    workers = [multiprocessing.Process(target=work, args=(start,)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()

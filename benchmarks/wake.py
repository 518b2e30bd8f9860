"""How long until the last of 4 sleeping workers has an event; by stdevents, pipes and ZeroMQ."""

from __future__ import annotations

import time
from statistics import median, quantiles
from time import perf_counter

from common import Figure, children, data_of, main
from ours import Loop
from peers import Connections, ZeroMQ

WORKERS = 4
EVERY = 0.005  # seconds
EVENTS = {"tiny": 5, "quick": 200, "full": 500}  # a round
ROUNDS = {"tiny": 1, "quick": 6, "full": 15}


def hear(line, transport, number):
    """Note when each event came."""
    heard = []
    transport.open(number, lambda data: heard.append(perf_counter()))
    line.tell()
    transport.take()
    line.tell(heard)
    line.hear()
    transport.leave()


def latencies(kind, count):
    """Seconds, of each event, until the last of them had it."""
    transport, sent = kind(WORKERS, count, 60, 1), []
    try:
        with children(WORKERS, hear, transport) as processes:
            transport.connect()
            time.sleep(0.2)  # until all sleep
            for number in range(count):
                time.sleep(EVERY)
                data = {**data_of(60), "n": number}
                sent.append(perf_counter())
                transport.send([data])
            heard = zip(*(process.hear() for process in processes))
            return sorted(max(times) - start for times, start in zip(heard, sent))
    finally:
        transport.close()


def ninety_nine(times):
    """The 99th percentile."""
    return quantiles(times, n=100)[-1]


def measure(size):
    """Median, and 99th percentile, of several rounds of each, in turns."""
    kinds = [Loop, Connections, *([ZeroMQ] if ZeroMQ.is_here() else [])]
    rounds = [[latencies(kind, EVENTS[size]) for kind in kinds] for _ in range(ROUNDS[size])]
    ours, *others = zip(*rounds)
    goals = {(Connections, median): 0.95, (ZeroMQ, ninety_nine): 1.0}
    for kind, theirs in zip(kinds[1:], others):
        for what, of in (("median", median), ("99th percentile", ninety_nine)):
            mine, its = [of(times) for times in ours], [of(times) for times in theirs]
            yield Figure(
                f"wake the last of {WORKERS} workers, {what}", kind.title,
                min(mine) / min(its), median(mine) / median(its), goals.get((kind, of)),
                ours=f"{min(mine) * 1e6:.0f} µs", theirs=f"{min(its) * 1e6:.0f} µs",
            )  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)

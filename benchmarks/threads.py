"""Two threads of one process beside one: what a Python without the GIL makes of posts and polls."""

from __future__ import annotations

import contextlib
import threading
from statistics import median
from time import perf_counter

from common import Figure, data_of, main, name

import stdevents

THREADS = 2
ROUNDS = {"tiny": 1, "quick": 5, "full": 25}
EVENTS = {"tiny": 50, "quick": 5_000, "full": 10_000}  # of each thread
DATA = data_of(60)


def post(bus, count):
    """Post so often."""
    for _ in range(count):
        bus.post("cache", "drop", DATA)


def handle(bus, count):
    """Handle what was posted."""
    bus.poll()


def measure(size):
    """A figure for each: buses of their own share nothing but the interpreter."""
    with contextlib.ExitStack() as closing:
        buses = [
            closing.enter_context(stdevents.Bus(name() + str(number), size="8m", interval=0))
            for number in range(THREADS)
        ]
        for bus in buses:
            bus.register(lambda *_: None, "cache", "drop")
        yield compared("posts, each thread to a bus of its own", post, buses, size)
        yield compared("posts, all to one bus", post, [buses[0]] * THREADS, size)
        yield compared("handled, each thread on a bus of its own", handle, buses, size)


def compared(what, work, buses, size):
    """Of all threads at once, and of one, in turns."""
    one, all_of_them = [], []
    for _ in range(ROUNDS[size]):
        one.append(rate(work, buses[:1], EVENTS[size]))
        all_of_them.append(rate(work, buses, EVENTS[size]))
    return Figure(
        f"{what}, a second, of {THREADS} threads",
        "of 1 thread",
        max(all_of_them) / max(one),
        median(all_of_them) / median(one),
        ours=f"{max(all_of_them):,.0f}",
        theirs=f"{max(one):,.0f}",
    )


def rate(work, buses, count):
    """Events a second, of a thread for each bus."""
    for bus in set(buses):
        bus.poll()
        if work is handle:
            post(bus, count)
    ends, begin = [], threading.Barrier(len(buses) + 1)

    def run(bus):
        begin.wait()
        work(bus, count)
        ends.append(perf_counter())

    threads = [threading.Thread(target=run, args=(bus,)) for bus in buses]
    for thread in threads:
        thread.start()
    begin.wait()
    start = perf_counter()
    for thread in threads:
        thread.join()
    return len(buses) * count / (max(ends) - start)


if __name__ == "__main__":
    main(measure, __doc__)

"""How long until the last of 4 sleeping workers has an event; and a byte through a pipe each."""

from __future__ import annotations

import os
import threading
import time
from statistics import median, quantiles
from time import perf_counter

from common import Figure, children, main, name

import stdevents

WORKERS = 4
EVERY = 0.005  # seconds
EVENTS = {"tiny": 5, "quick": 400, "full": 2000}


def hear_events(line, bus_name, count, number):
    """As a worker with a loop of its own, note when each event came."""
    heard, all_heard = [], threading.Event()

    def note(data, event, source, pid):
        heard.append(perf_counter())
        if len(heard) == count:
            all_heard.set()

    stdevents.register(note, "wake")
    stdevents.configure(bus_name, interval=10)
    line.tell()
    all_heard.wait()
    line.tell(heard)
    line.hear()


def hear_bytes(line, pipes, count, number):
    """The same of bytes."""
    line.tell()
    heard = []
    for _ in range(count):
        os.read(pipes[number][0], 1)
        heard.append(perf_counter())
    line.tell(heard)
    line.hear()


def latencies(processes, count, send):
    """Seconds, of each event, until the last of them had it."""
    sent = []
    for _ in range(count):
        time.sleep(EVERY)
        sent.append(perf_counter())
        send()
    heard = zip(*(process.hear() for process in processes))
    return sorted(max(times) - start for times, start in zip(heard, sent))


def measure(size):
    """Median, and 99th percentile."""
    count = EVENTS[size]
    bus_name = name()
    with children(WORKERS, hear_events, bus_name, count) as processes:
        stdevents.configure(bus_name, interval=0)
        time.sleep(0.2)  # until they have handled each other's `started`, and sleep
        events = latencies(processes, count, lambda: stdevents.post("wake", "up", 1))
        stdevents.close()
    pipes = [os.pipe() for _ in range(WORKERS)]
    with children(WORKERS, hear_bytes, pipes, count) as processes:
        bytes_ = latencies(processes, count, lambda: [os.write(end, b"!") for _, end in pipes])
    for pair in pipes:
        for end in pair:
            os.close(end)
    yield figure("wake the last of 4 workers, median", median, events, bytes_, 2.0)
    yield figure("wake, 99th percentile", lambda times: quantiles(times, n=100)[-1], events, bytes_)


def figure(what, of, events, bytes_, goal=None):
    """Both, and in microseconds."""
    more = f"{of(events) * 1e6:.0f} µs, and a byte {of(bytes_) * 1e6:.0f} µs"
    ratio = of(events) / of(bytes_)
    return Figure(what, "a byte through a pipe each", ratio, ratio, goal, more=more)


if __name__ == "__main__":
    main(measure, __doc__)

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
EVENTS = {"tiny": 5, "quick": 200, "full": 500}  # a round
ROUNDS = {"tiny": 1, "quick": 6, "full": 12}


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
    """Median, and 99th percentile, of several rounds of both."""
    rounds = [(of_events(EVENTS[size]), of_bytes(EVENTS[size])) for _ in range(ROUNDS[size])]
    yield figure("wake the last of 4 workers, median", median, rounds, 2.0)
    yield figure("wake, 99th percentile", lambda times: quantiles(times, n=100)[-1], rounds)


def of_events(count):
    """Latencies of so many events on a bus of their own."""
    bus_name = name()
    with children(WORKERS, hear_events, bus_name, count) as processes:
        stdevents.configure(bus_name, interval=0)
        time.sleep(0.2)  # until they have handled each other's `started`, and sleep
        found = latencies(processes, count, lambda: stdevents.post("wake", "up", 1))
        stdevents.close()
    return found


def of_bytes(count):
    """The same of bytes."""
    pipes = [os.pipe() for _ in range(WORKERS)]
    with children(WORKERS, hear_bytes, pipes, count) as processes:
        found = latencies(processes, count, lambda: [os.write(end, b"!") for _, end in pipes])
    for pair in pipes:
        for end in pair:
            os.close(end)
    return found


def figure(what, of, rounds, goal=None):
    """The best round of each, and the medians of all rounds; also in microseconds."""
    events, bytes_ = zip(*((of(events), of(bytes_)) for events, bytes_ in rounds))
    more = f"{min(events) * 1e6:.0f} µs, and a byte {min(bytes_) * 1e6:.0f} µs"
    best, middle = min(events) / min(bytes_), median(events) / median(bytes_)
    return Figure(what, "a byte through a pipe each", best, middle, goal, more=more)


if __name__ == "__main__":
    main(measure, __doc__)

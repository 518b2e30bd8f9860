"""A burst of events to 4 workers: what it takes by each transport that is installed."""

from __future__ import annotations

import json
import sys
import time
from time import perf_counter, process_time
from typing import NamedTuple

import transports
from common import Figure, children, cpu_of, data_of, main

from stdevents._cli.bench import seconds

WORKERS = 4
EVENTS = {"tiny": 100, "quick": 5000, "full": 20_000}
ROUNDS = {"tiny": 1, "quick": 2, "full": 3}
LENGTHS = (60, 4096)
# The original, on LuaJIT: CPU for one event to 4 workers, and for encoding and decoding it once.
LUA = 14 / 3.6


class Run(NamedTuple):
    """One burst."""

    cpu: float  # seconds, of poster, workers and servers together
    wall: float  # seconds, until the last worker had the last event
    workers_that_lost: int


def be_worker(line, transport, count, number):
    """Get all events, and tell when and at which cost."""
    events = transport.receive(number, count)
    next(events)
    line.tell()
    line.hear()
    before = process_time()
    numbers = list(events)
    line.tell((process_time() - before, perf_counter(), numbers == list(range(count))))
    line.hear()


def burst(kind, count, length):
    """Post them all, and wait until they are there."""
    transport = kind(WORKERS, count * max(512, length + 256) + (1 << 20))
    data = [{**data_of(length), "n": number} for number in range(count)]
    try:
        with children(WORKERS, be_worker, transport, count) as processes:
            transport.connect()
            for process in processes:
                process.say()
            time.sleep(0.1)  # until all of them wait
            servers = sum(map(cpu_of, transport.servers))
            before, start = process_time(), perf_counter()
            for one in data:
                transport.send(one)
            transport.flush()
            told = [process.hear() for process in processes]
            cpu = process_time() - before + sum(map(cpu_of, transport.servers)) - servers
        cpus, ends, whole = zip(*told)
        return Run(cpu + sum(cpus), max(ends) - start, whole.count(False))
    finally:
        transport.close()


def json_of(length):
    """Seconds of CPU for encoding and decoding one event."""
    event = ["cache", "drop", {**data_of(length), "n": 1}]
    return min(seconds(lambda: json.loads(json.dumps(event))) for _ in range(100))


def compared(kinds, count, length, rounds, report):
    """`{kind: its best run, by CPU and by time}`."""
    best = {}
    for _ in range(rounds):
        for kind in kinds:
            try:
                run = burst(kind, count, length)
            except Exception as error:
                report(f"{kind.title}: {type(error).__name__}: {error}")
                continue
            cpu, wall = best.get(kind, (run.cpu, run.wall))
            best[kind] = min(cpu, run.cpu), min(wall, run.wall)
            if run.workers_that_lost:
                report(f"{kind.title}: {run.workers_that_lost} workers did not get all in order")
    return best


def measure(size, rates=None):
    """Ours against the best of the others; `rates` gets those of all, for the chart."""
    there = [kind for kind in transports.OTHERS if kind.is_here()]
    for kind in transports.OTHERS:
        if kind not in there:
            say(f"{kind.title}: not installed, left out")
    for length in LENGTHS:
        count = EVENTS[size]
        best = compared([*transports.OURS, *there], count, length, ROUNDS[size], say)
        for kind, (cpu, wall) in best.items():
            if rates is not None:
                rates.setdefault(length, {})[kind.title] = count / cpu, count / wall
        for index, what in enumerate(("CPU second", "second")):
            others = {kind: best[kind][index] for kind in there if kind in best}
            fastest = min(others, key=others.get)
            for ours in transports.OURS:
                ratio = others[fastest] / best[ours][index]
                more = f"{count / best[ours][index]:,.0f} and {count / others[fastest]:,.0f}"
                yield Figure(
                    f"events to {WORKERS} workers a {what}, {length} bytes: {ours.title}",
                    f"the best other, {fastest.title}",
                    ratio, ratio, 1.5, at_least=True, more=more,
                )  # fmt: skip
        if length == LENGTHS[0]:
            for ours in transports.OURS:
                cpu, both = best[ours][0] / count, json_of(length)
                more = f"{cpu * 1e6:.1f} µs, and {both * 1e6:.1f} µs"
                yield Figure(
                    f"CPU for an event to {WORKERS} workers: {ours.title}",
                    "json.dumps + json.loads; the original on LuaJIT: 3.89",
                    cpu / both, cpu / both, LUA, more=more,
                )  # fmt: skip


def say(what):
    """Aside, to standard error."""
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main(measure, __doc__)

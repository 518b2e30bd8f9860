"""Bursts of events to 4 workers: CPU and time by each transport that is installed.

One event at a time, and a hundred at once; of 60 bytes, and of 4 KiB.
"""

from __future__ import annotations

import json
import sys
import time
from statistics import median
from time import perf_counter, process_time

from common import Figure, children, cpu_of, data_of, main
from ours import OURS, Fileno, Loop
from peers import PEERS

from stdevents._cli.bench import seconds

WORKERS = 4
ROUNDS = {"tiny": 1, "quick": 3, "full": 15}
# Of a message: its events, and those of a burst. The fewest are enough to last 0.1 s.
BATCHES = {1: {"tiny": 100, "quick": 8000, "full": 12_000},
           100: {"tiny": 200, "quick": 20_000, "full": 30_000}}  # fmt: skip
LENGTHS = (60, 4096)
SHORTER = 4  # times fewer events, of the larger ones
# How many times the best peer's frugality, and events a second.
GOALS = {(60, 1): 1.5, (60, 100): 3.0, (4096, 1): 1.1, (4096, 100): 1.1}
# The original, on LuaJIT: CPU for one event to 4 workers, and for encoding and decoding it once.
LUA = 14 / 3.6


def be_worker(line, transport, number):
    """Take bursts for as long as there are any, and tell when each was there, and its cost."""
    numbers = []
    transport.open(number, lambda data: numbers.append(data["n"]))
    line.tell()
    while line.hear():
        before = process_time()
        transport.take()
        told = process_time() - before, perf_counter(), numbers == list(range(transport.count))
        numbers.clear()
        line.tell(told)
    transport.leave()


def bursts(kind, count, length, batch):
    """Seconds of all CPU, and until the last worker had the last event; of a warm burst."""
    # Each with strings of its own: of one that many events share, pickle would send a reference.
    data = [json.loads(json.dumps({**data_of(length), "n": number})) for number in range(count)]
    messages = [data[first : first + batch] for first in range(0, count, batch)]
    transport = kind(WORKERS, count, length, batch)
    try:
        with children(WORKERS, be_worker, transport) as processes:
            transport.connect()
            for _ in ("cold", "warm"):
                for process in processes:
                    process.say("a burst comes")
                time.sleep(0.05)  # until all of them wait
                servers = sum(map(cpu_of, transport.servers))
                before, start = process_time(), perf_counter()
                for some in messages:
                    transport.send(some)
                cpus, ends, whole = zip(*(process.hear() for process in processes))
                cpu = process_time() - before + sum(map(cpu_of, transport.servers)) - servers
        return cpu + sum(cpus), max(ends) - start, all(whole)
    finally:
        transport.close()


def compare(size):
    """For each length and batch: `{title: its microseconds of CPU an event, events a second}`."""
    there = [*OURS, *(kind for kind in PEERS if kind.is_here())]
    for kind in PEERS:
        if kind not in there:
            say(f"{kind.title}: not installed, left out")
    compared = []
    for length in LENGTHS:
        for batch, counts in BATCHES.items():
            count = counts[size] // (SHORTER if length > LENGTHS[0] else 1)
            rows = in_turns(there, max(1, count // batch) * batch, length, batch, ROUNDS[size])
            compared.append({"length": length, "batch": batch, "rows": rows})
    return compared


def in_turns(kinds, count, length, batch, rounds):
    """The bursts of all, a round after the other; of each its best round and the median."""
    runs = {kind: [] for kind in kinds}
    for _ in range(rounds):
        for kind in kinds:
            events = max(1, count // kind.takes_long) if batch == 1 else count
            try:
                cpu, wall, whole = bursts(kind, events, length, batch)
            except Exception as error:
                say(f"{kind.title}: {type(error).__name__}: {error}")
                continue
            if whole:
                runs[kind].append((cpu * 1e6 / events, events / wall))
            else:
                say(f"{kind.title}: not all workers got all in order; the round does not count")
    return {kind.title: row_of(kind, *zip(*runs[kind])) for kind in kinds if runs[kind]}


def row_of(kind, cpu, rate):
    """What is known of one transport."""
    return {
        "cpu": [min(cpu), median(cpu)],
        "rate": [max(rate), median(rate)],
        "ordered": kind.ordered,
        "slow": kind.slow,
        "ours": kind in OURS,
    }


def figures(compared):
    """Ours against the best of the others: as many at once; and a batch against one at a time."""
    alone = {one["length"]: one["rows"] for one in compared if one["batch"] == 1}
    for one in compared:
        length, batch, rows = one["length"], one["batch"], one["rows"]
        goal = GOALS[length, batch]
        for title in (Loop.title, Fileno.title):
            how = "one at a time" if batch == 1 else f"{batch} at once"
            what = f"{length} bytes, {how}: {title}"
            yield from against_best(what, rows[title], rows, "the best other", goal)
            if batch > 1 and length == LENGTHS[0]:
                other = "the best other, one at a time"
                yield from against_best(what, rows[title], alone[length], other, goal)


def against_best(what, ours, rows, other, goal):
    """CPU, and events a second."""
    others = {name: row for name, row in rows.items() if not row["ours"]}
    peer = min(others, key=lambda name: others[name]["cpu"][0])
    frugality = [theirs / mine for mine, theirs in zip(ours["cpu"], others[peer]["cpu"])]
    yield Figure(
        f"events to {WORKERS} workers for a CPU second, {what}", f"{other}, {peer}",
        *frugality, goal, at_least=True,
        ours=f"{ours['cpu'][0]:.1f} µs", theirs=f"{others[peer]['cpu'][0]:.1f} µs",
    )  # fmt: skip
    peer = max(others, key=lambda name: others[name]["rate"][0])
    speed = [mine / theirs for mine, theirs in zip(ours["rate"], others[peer]["rate"])]
    yield Figure(
        f"events to {WORKERS} workers a second, {what}", f"{other}, {peer}",
        *speed, goal, at_least=True,
        ours=f"{ours['rate'][0]:,.0f}", theirs=f"{others[peer]['rate'][0]:,.0f}",
    )  # fmt: skip


def against_json(compared):
    """CPU of the whole way of an event, against encoding and decoding it once."""
    event = ["cache", "drop", {**data_of(LENGTHS[0]), "n": 1}]
    pairs = [seconds(lambda: json.loads(json.dumps(event))) * 1e6 for _ in range(100)]
    best, middle = compared[0]["rows"][Loop.title]["cpu"]
    yield Figure(
        f"CPU for an event to {WORKERS} workers, post to handlers",
        "json.dumps + json.loads; the original, on LuaJIT, took 3.89 of its own",
        best / min(pairs), middle / median(pairs), LUA,
        ours=f"{best:.1f} µs", theirs=f"{min(pairs):.1f} µs",
    )  # fmt: skip


def measure(size):
    """All figures."""
    compared = compare(size)
    yield from figures(compared)
    yield from against_json(compared)


def say(what):
    """Aside, to standard error."""
    print(what, file=sys.stderr)


if __name__ == "__main__":
    main(measure, __doc__)

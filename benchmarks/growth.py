"""Posts and deliveries at ten and a hundred times the events, and of larger ones."""

from __future__ import annotations

import json
from statistics import median
from time import perf_counter

from common import Figure, data_of, main, name

import stdevents

# Events of the smallest burst; the others are 10 and 100 times as many.
BURST = {"tiny": 3, "quick": 500, "full": 2000}
ROUNDS = {"tiny": 1, "quick": 3, "full": 7}
TIMES = (10, 100)
FLAT = 1.1  # times what one of the smallest burst costs
LENGTHS = (4 << 10, 256 << 10)


def burst(bus, count, data):
    """Seconds for one post, and for one delivery."""
    start = perf_counter()
    for _ in range(count):
        bus.post("cache", "drop", data)
    posted = perf_counter()
    bus.poll()
    return (posted - start) / count, (perf_counter() - posted) / count


def json_pair(count, data):
    """Seconds for writing JSON, and for reading it."""
    start = perf_counter()
    for _ in range(count):
        text = json.dumps(["cache", "drop", data])
    written = perf_counter()
    for _ in range(count):
        json.loads(text)
    return (written - start) / count, (perf_counter() - written) / count


def measure(size):
    """A figure for each."""
    bus = stdevents.Bus(name(), size=256 * 110 * BURST[size] + (1 << 20), interval=0)
    bus.register(lambda data, event, source, pid: None, "cache")
    try:
        yield from of_events(bus, size)
        yield from of_bytes(bus, size)
    finally:
        bus.close()


def of_events(bus, size):
    """Each burst against the smallest."""
    few, data, rounds = BURST[size], data_of(60), range(ROUNDS[size])
    runs = {n: [] for n in (1, *TIMES)}
    for _ in rounds:
        for n, of_this in runs.items():
            of_this.append(burst(bus, n * few, data))
    for times in TIMES:
        for index, what in enumerate(("post", "delivery")):
            one, many = ([run[index] for run in runs[n]] for n in (1, times))
            what, against = f"{what}, of {times * few:,} in a burst", f"of {few:,}"
            yield Figure(
                what, against, min(many) / min(one), median(many) / median(one), FLAT,
                ours=f"{min(many) * 1e6:.2f} µs", theirs=f"{min(one) * 1e6:.2f} µs",
            )  # fmt: skip


def of_bytes(bus, size):
    """Each size against JSON of it; and what a byte costs, of the larger ones."""
    a_byte = {}
    for length in LENGTHS:
        data, count = data_of(length), max(1, min(BURST[size], (1 << 20) // length))
        pairs = [(burst(bus, count, data), json_pair(count, data)) for _ in range(3 * ROUNDS[size])]
        for index, (what, against) in enumerate((("post", "dumps"), ("delivery", "loads"))):
            ours = [pair[0][index] for pair in pairs]
            theirs = [pair[1][index] for pair in pairs]
            a_byte[what, length] = min(ours) * 1e9 / length, median(ours) * 1e9 / length
            yield Figure(
                f"{what} of {length >> 10} KiB, in a burst", f"json.{against} of it",
                min(ours) / min(theirs), median(ours) / median(theirs),
                ours=f"{min(ours) * 1e6:.1f} µs", theirs=f"{min(theirs) * 1e6:.1f} µs",
            )  # fmt: skip
    few, many = LENGTHS
    for what in ("post", "delivery"):
        yield Figure(
            f"{what}, a byte, of {many >> 10} KiB", f"of {few >> 10} KiB",
            *(large / small for large, small in zip(a_byte[what, many], a_byte[what, few])), FLAT,
            ours=f"{a_byte[what, many][0]:.2f} ns", theirs=f"{a_byte[what, few][0]:.2f} ns",
        )  # fmt: skip


if __name__ == "__main__":
    main(measure, __doc__)

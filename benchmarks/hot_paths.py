"""The hot paths, as `python -m stdevents bench` measures them; and those of events of 4 KiB."""

from __future__ import annotations

import json
import tempfile
from fcntl import LOCK_EX, LOCK_UN, flock
from statistics import median

from common import Figure, data_of, main, name

import stdevents
from stdevents._cli import bench as _bench

GOALS = {_bench.POST: 1.25, _bench.DELIVER: 0.5, _bench.UNWANTED: 0.4, _bench.IDLE: 3.0}
ROUNDS = {"tiny": 1, "quick": 60, "full": 300}
CALLS = 100  # of a round, of 4 KiB


def measure(size):
    """A figure for each path."""
    for path, row in _bench.measure(ROUNDS[size]).items():
        what, against = path.split(" / ")
        ours = row["microseconds"]
        yield Figure(
            what, against.strip("()"), row["best"], row["median"], GOALS[path],
            ours=f"{ours:.2f} µs", theirs=f"{ours / row['best']:.2f} µs",
        )  # fmt: skip
    yield from of_four_kibibytes(ROUNDS[size])


def of_four_kibibytes(rounds):
    """A post, and a delivery to one handler."""
    data = data_of(4096)
    text = json.dumps(["cache", "drop", data])
    bus = stdevents.Bus(name(), size="4m", interval=0)
    bus.register(lambda data, event, source, pid: None, "cache", "drop")
    posts, dumps, polls, loads = [], [], [], []
    try:
        with tempfile.TemporaryFile() as file:

            def dump_and_lock():
                json.dumps(["cache", "drop", data])
                flock(file, LOCK_EX)
                flock(file, LOCK_UN)

            for _ in range(rounds):
                posts.append(_bench.seconds(lambda: bus.post("cache", "drop", data), CALLS))
                polls.append(_bench.seconds(bus.poll, 1) / CALLS)
                dumps.append(_bench.seconds(dump_and_lock, CALLS))
                loads.append(_bench.seconds(lambda: json.loads(text), CALLS))
    finally:
        bus.close()
    yield compared("post, 4 KiB", "json.dumps + flock pair", posts, dumps, 1.25)
    yield compared("deliver to one handler, 4 KiB", "json.loads", polls, loads, 1.3)


def compared(what, against, ours, theirs, goal):
    """The best round of each, and the medians."""
    best, middle = min(ours) / min(theirs), median(ours) / median(theirs)
    ours, theirs = (f"{min(times) * 1e6:.2f} µs" for times in (ours, theirs))
    return Figure(what, against, best, middle, goal, ours=ours, theirs=theirs)


if __name__ == "__main__":
    main(measure, __doc__)

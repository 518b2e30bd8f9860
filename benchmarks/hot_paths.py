"""The hot paths, as `python -m stdevents bench` measures them."""

from __future__ import annotations

from common import Figure, main

from stdevents._cli import bench as _bench

GOALS = {_bench.POST: 1.0, _bench.DELIVER: 1.0, _bench.UNWANTED: 0.4, _bench.IDLE: 4.0}
ROUNDS = {"tiny": 1, "quick": 60, "full": 300}


def measure(size):
    """A figure for each path."""
    for path, row in _bench.measure(ROUNDS[size]).items():
        what, against = path.split(" / ")
        yield Figure(what, against.strip("()"), row["best"], row["median"], goal=GOALS[path])


if __name__ == "__main__":
    main(measure, __doc__)

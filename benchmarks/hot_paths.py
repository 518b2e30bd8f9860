"""The hot paths, as ratios to the standard library's own calls, measured in the same run.

    python3 benchmarks/hot_paths.py [--rounds N] [--json]

Each round times every path and its yardstick once; a ratio is best of all rounds against best of
all rounds, and median against median. Needs nothing but the package.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import tempfile
from fcntl import LOCK_EX, LOCK_UN, flock
from pathlib import Path
from statistics import median
from time import perf_counter

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import stdevents

EVENTS = 2000
DATA = {"key": "user:12345", "version": 17, "by": "worker 3", "hot": True}  # 60 bytes


def seconds(call):
    """How long `EVENTS` calls take."""
    start = perf_counter()
    for _ in range(EVENTS):
        call()
    return perf_counter() - start


class Paths:
    """The timed paths, each beside its yardstick."""

    def __init__(self, bus, lock_file):
        self.bus = bus
        self.lock_file = lock_file
        self.text = json.dumps(["cache", "drop", DATA])
        self.word = memoryview(bytearray(8)).cast("Q")
        bus.register(lambda data, event, source, pid: None, "cache", "drop")

    def dump_and_lock(self):
        """The yardstick of a post."""
        json.dumps(["cache", "drop", DATA])
        flock(self.lock_file, LOCK_EX)
        flock(self.lock_file, LOCK_UN)

    def load(self):
        """The yardstick of a delivery."""
        json.loads(self.text)

    def post_unwanted(self):
        """An event that no handler wants."""
        self.bus.post("other", "drop", DATA)

    def post(self):
        """An event that one handler wants."""
        self.bus.post("cache", "drop", DATA)

    def deliver(self):
        """How long it takes to deliver all that was posted."""
        start = perf_counter()
        self.bus.poll()
        return perf_counter() - start

    def round(self):
        """Each path's time, and its yardstick's."""
        load, dump = seconds(self.load), seconds(self.dump_and_lock)
        word, nothing = seconds(lambda: self.word[0]), seconds(self.bus.poll)
        post, deliver = seconds(self.post), self.deliver()
        seconds(self.post_unwanted)
        return {
            "post / (json.dumps + flock pair)": (post, dump),
            "deliver to one handler / json.loads": (deliver, load),
            "deliver to no handler / json.loads": (self.deliver(), load),
            "poll that finds nothing / reading a word": (nothing, word),
        }


def measure(rounds):
    """`{path: {"best": ratio, "median": ratio, "microseconds": best of one call}}`."""
    with tempfile.TemporaryFile() as file:
        bus = stdevents.Bus(f"benchmark-{os.getpid()}", size="4m", interval=0)
        try:
            paths = Paths(bus, file.fileno())
            results = [paths.round() for _ in range(rounds)]
        finally:
            bus.close()
    table = {}
    for path in results[0]:
        timed, yardstick = zip(*(result[path] for result in results))
        table[path] = {
            "best": min(timed) / min(yardstick),
            "median": median(timed) / median(yardstick),
            "microseconds": min(timed) / EVENTS * 1e6,
        }
    return table


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=100, help="how often (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    table = measure(options.rounds)
    if options.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"{'':42}{'best':>8}{'median':>8}{'µs':>8}")
    for path, row in table.items():
        print(f"{path:42}{row['best']:8.2f}{row['median']:8.2f}{row['microseconds']:8.2f}")


if __name__ == "__main__":
    main()

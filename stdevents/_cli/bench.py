"""`bench`: the hot paths as ratios to the standard library's own calls, in the same run.

Each round times every path and its yardstick once. A ratio is best of all rounds against best of
all rounds, and median against median: so what else the machine does counts little.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import tempfile
from fcntl import LOCK_EX, LOCK_UN, flock
from statistics import median
from time import perf_counter
from typing import TYPE_CHECKING, Any, Callable, Dict

from .._bus.bus import Bus
from .._bus.settings import count
from .terminal import PROGRAM

if TYPE_CHECKING:
    from argparse import ArgumentParser

HELP = "how long the hot paths take, as ratios to the standard library"
MORE = "Each ratio is one within this run; takes some ten seconds."
EXAMPLE = "bench"

BURST = 2000  # events that are posted, and then delivered
CALLS = 250  # of anything else; few, so that some rounds are not interrupted
DATA = {"key": "user:12345", "version": 17, "by": "worker 3", "hot": True}  # 60 bytes

# Of one path: how it compares with its yardstick, and how long it took, in microseconds.
Figures = Dict[str, Dict[str, float]]

POST = "post / (json.dumps + flock pair)"
DELIVER = "deliver to one handler / json.loads"
UNWANTED = "deliver to no handler / json.loads"
IDLE = "poll that finds nothing / reading a word"


def add_arguments(parser: ArgumentParser) -> None:
    add = parser.add_argument
    add("--rounds", type=int, default=100, help="how often (default: %(default)s)")
    add("--json", dest="as_json", action="store_true", help="the figures as JSON")


def main(rounds: int, as_json: bool) -> int:
    figures = measure(count("--rounds", rounds, least=1))
    if as_json:
        print(json.dumps({**machine(), "figures": figures}, indent=1))
        return 0
    for word, value in machine().items():
        print(f"{word}: {value}")
    print(f"{'':42}{'best':>8}{'median':>8}{'µs':>8}")
    for path, row in figures.items():
        print(f"{path:42}{row['best']:8.2f}{row['median']:8.2f}{row['microseconds']:8.2f}")
    return 0


def machine() -> dict[str, str]:
    return {
        "python": f"{platform.python_implementation()} {platform.python_version()}",
        "machine": f"{platform.machine()}, {os.cpu_count()} cores, {platform.system()}",
        "command": " ".join([PROGRAM, *sys.argv[1:]]),
    }


def measure(rounds: int) -> Figures:
    with tempfile.TemporaryFile() as file:
        bus = Bus(f"bench-{os.getpid()}", size="1m", interval=0)
        try:
            paths = _Paths(bus, file.fileno())
            timed = [paths.round() for _ in range(rounds)]
        finally:
            bus.close()
    return {path: _compare(*zip(*(one[path] for one in timed))) for path in timed[0]}


def _compare(path: tuple[float, ...], yardstick: tuple[float, ...]) -> dict[str, float]:
    return {
        "best": min(path) / min(yardstick),
        "median": median(path) / median(yardstick),
        "microseconds": min(path) * 1e6,
    }


def seconds(call: Callable[[], Any], calls: int = CALLS) -> float:
    start = perf_counter()
    for _ in range(calls):
        call()
    return (perf_counter() - start) / calls


class _Paths:
    """The timed paths, each beside its yardstick."""

    def __init__(self, bus: Bus, lock_file: int) -> None:
        self.bus = bus
        self.lock_file = lock_file
        self.text = json.dumps(["cache", "drop", DATA])
        self.word = memoryview(bytearray(8)).cast("Q")
        bus.register(lambda data, event, source, pid: None, "cache", "drop")

    def dump_and_lock(self) -> None:
        json.dumps(["cache", "drop", DATA])
        flock(self.lock_file, LOCK_EX)
        flock(self.lock_file, LOCK_UN)

    def deliver(self, source: str) -> float:
        """How long the delivery of one event takes, in a burst."""
        for _ in range(BURST):
            self.bus.post(source, "drop", DATA)
        return seconds(self.bus.poll, 1) / BURST

    def round(self) -> dict[str, tuple[float, float]]:
        load = seconds(lambda: json.loads(self.text))
        post = seconds(lambda: self.bus.post("cache", "drop", DATA)), seconds(self.dump_and_lock)
        self.bus.poll()
        return {
            POST: post,
            DELIVER: (self.deliver("cache"), load),
            UNWANTED: (self.deliver("other"), load),
            IDLE: (seconds(self.bus.poll), seconds(lambda: self.word[0])),
        }

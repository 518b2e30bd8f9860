"""What the benchmarks share: a figure, children that are timed, a command line.

Every program here has `measure(size)`, which yields its figures; `size` is "tiny" (does it run?),
"quick" or "full". Each figure is a ratio to something that was measured in the same run.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import multiprocessing
import os
import sys
import time
import traceback
from pathlib import Path
from typing import NamedTuple

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import stdevents

SIZES = ("tiny", "quick", "full")
SECONDS = 60  # after which a child counts as hanging


class Figure(NamedTuple):
    """One line of the table: a ratio."""

    what: str
    against: str
    best: float
    median: float
    goal: float | None = None
    at_least: bool = False  # the goal is a lower bound
    ours: str = ""  # what was measured, in units
    theirs: str = ""  # and beside it

    @property
    def met(self):
        """Is the goal met? None if there is none."""
        if self.goal is None:
            return None
        return self.best >= self.goal if self.at_least else self.best <= self.goal

    @property
    def goal_text(self):
        """As the table says it."""
        return "" if self.goal is None else f"{'≥' if self.at_least else '≤'} {self.goal:g}"


def data_of(length):
    """An event's data that takes about so many bytes of JSON; the smallest takes 60."""
    data = {"key": "user:12345", "version": 17, "by": "worker 3", "hot": True}
    return {**data, "text": "x" * (length - 70)} if length > 70 else data


def table(figures):
    """The figures as a table in Markdown."""
    yield "| what | against | best | median | goal | | measured | beside it |"
    yield "|---|---|---|---|---|---|---|---|"
    for one in figures:
        met = {None: "", True: "met", False: "missed"}[one.met]
        row = one.what, one.against, f"{one.best:.2f}", f"{one.median:.2f}", one.goal_text, met
        yield f"| {' | '.join((*row, one.ours, one.theirs))} |"


def main(measure, about):
    """The command line of one program."""
    parser = argparse.ArgumentParser(description=about.split("\n")[0])
    parser.add_argument("size", choices=SIZES, nargs="?", default="quick")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    figures = list(measure(options.size))
    if options.json:
        print(json.dumps([one._asdict() for one in figures], indent=1))
    else:
        print("\n".join(table(figures)))


class Child:
    """A forked process that does `work(pipe, *arguments)`, and what its end says."""

    def __init__(self, work, *arguments):
        self._pipe, theirs = multiprocessing.Pipe()
        self.pid = os.fork()
        if not self.pid:
            self._pipe.close()
            _live(theirs, work, arguments)
        theirs.close()

    def hear(self):
        """Wait for the next thing that it says."""
        if not self._pipe.poll(SECONDS):
            raise TimeoutError(f"process {self.pid} says nothing for {SECONDS} s")
        kind, what = self._pipe.recv()
        if kind == "failed":
            raise RuntimeError(what)
        return what

    def say(self, what=None):
        """Have it go on."""
        self._pipe.send(what)

    def end(self):
        """Kill it, if it is alive still."""
        with contextlib.suppress(ProcessLookupError, ChildProcessError):
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)


def _live(pipe, work, arguments):
    try:
        work(Line(pipe), *arguments)
        stdevents.close()
    except BaseException:
        pipe.send(("failed", traceback.format_exc()))
    os._exit(0)


class Line:
    """A child's line to its parent."""

    def __init__(self, pipe):
        self._pipe = pipe

    def tell(self, what=None):
        """Say something."""
        self._pipe.send(("told", what))

    def hear(self):
        """Wait for the next thing that the parent says."""
        return self._pipe.recv()


@contextlib.contextmanager
def children(count, work, *arguments):
    """So many processes that have said that they are ready."""
    all_of_them = []
    try:
        for number in range(count):
            child = Child(work, *arguments, number)
            all_of_them += [child]  # at once, to be ended if the next one cannot be made
        for child in all_of_them:
            child.hear()
        yield all_of_them
        for child in all_of_them:
            child.say()
            os.waitpid(child.pid, 0)
    finally:
        for child in all_of_them:
            child.end()


def cpu_of(pid):
    """The seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def name():
    """The name of a bus that nobody else has."""
    return f"bench-{os.getpid()}-{time.monotonic_ns() % 10**9}"

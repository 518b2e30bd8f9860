"""What a person sees: commands on a terminal, which is a pseudo-terminal here."""

from __future__ import annotations

import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

import pytest
from programs import PACKAGE_PARENT

import stdevents

SECONDS = 30


class Screen:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, *arguments):
        self._mine, its = pty.openpty()
        environment = {**os.environ, "PYTHONPATH": str(PACKAGE_PARENT), "TERM": "xterm"}
        environment.pop("NO_COLOR", None)
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stdevents", *arguments],
            stdin=its, stdout=its, stderr=its, env=environment, cwd="/",
        )  # fmt: skip
        os.close(its)
        self.text = ""

    def until(self, pattern):
        """Read on until there is something like this; returns the match."""
        deadline = time.monotonic() + SECONDS
        while not re.search(pattern, self.text):
            left = max(0, deadline - time.monotonic())
            ready, _, _ = select.select([self._mine], [], [], left)
            assert ready, f"no {pattern!r} on the screen: {self.text!r}"
            self.text += os.read(self._mine, 1 << 16).decode()
        return re.search(pattern, self.text)

    def close(self):
        self.process.kill()
        self.process.wait()
        os.close(self._mine)


@pytest.fixture
def screen():
    screens = []

    def start(*arguments):
        screens.append(Screen(*arguments))
        return screens[-1]

    yield start
    for each in screens:
        each.close()


def test_tail_is_in_colour_and_nothing_in_an_event_steers_the_terminal(screen, bus, name):
    tail = screen("tail", name, "--oldest")
    tail.until("started")
    bus.post("ca\x1bche", "drop", {"key": "\x1b[2J"}, unique="one")
    line = tail.until(r"drop.*\n")
    line = tail.text[tail.text.rindex("\n", 0, line.start()) :]
    assert "\x1b[36mca?che\x1b[0m \x1b[1mdrop\x1b[0m" in line
    assert r'{"key": "\u001b[2J"}' in line
    assert f"unique 'one'  of {os.getpid()}" in line


def test_tail_shows_a_gap_in_red(screen, name):
    bus = stdevents.Bus(name, interval=0, size="4k")
    tail = screen("tail", name, "--oldest")
    bus.post("test", "tick")
    tail.until("tick")
    tail.process.send_signal(signal.SIGSTOP)
    os.waitpid(tail.process.pid, os.WUNTRACED)
    for _ in range(20):
        bus.post("test", "tick")
    tail.process.send_signal(signal.SIGCONT)
    lost = tail.until(r"\x1b\[31mevents (\d+) to (\d+) \((\d+)\) are lost here\x1b\[0m")
    first, last, count = map(int, lost.groups())
    assert (first, count) == (3, last - 2) and count > 0
    bus.close()


def test_a_watch_shows_how_many_events_come_in_a_second(screen, bus, name):
    watch = screen("status", name, "--watch")
    watch.until("last id")
    for _ in range(7):
        bus.post("test", "tick")
    watch.until(r"last id  8, \d+\.\d events/s")
    watch.until("Ctrl-C ends")

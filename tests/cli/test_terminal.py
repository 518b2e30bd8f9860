"""What a person sees: commands on a terminal, which is a pseudo-terminal here."""

from __future__ import annotations

import fcntl
import io
import os
import re
import select
import signal
import struct
import subprocess
import sys
import termios
import time

import pytest
from commands import stop, terminal
from inside import (
    Row,
    Status,
    Terminal,
    head_of,
    in_colour,
    lock_file_of,
    worker_line,
    workers_in,
)
from programs import PACKAGE_PARENT, start

import stdevents

SECONDS = 30
ESCAPE = re.compile("\x1b\\[[?0-9;]*[A-Za-z]")

# 30 workers; all but one have not handled anything.
CROWD = """
import os, sys, stdevents
bus = stdevents.Bus(sys.argv[1], interval=0, size="4k", wait_max=30)  # they are many
alive, living = os.pipe()
come, there = os.pipe()
for _ in range(29):
    if not os.fork():
        os.close(living)
        os.write(there, b"!")
        os.read(alive, 1)  # until their parent closes it, or has ended
        bus.close()
        os._exit(0)
for _ in range(29):
    os.read(come, 1)
for _ in range(20):
    bus.post("test", "tick")
bus.poll()
print("open", flush=True)
sys.stdin.read()
os.close(living)
for _ in range(29):
    os.wait()
bus.close()
"""


class Screen:
    """A command on a terminal of its own, and all that it has written there."""

    def __init__(self, *arguments, columns=80, lines=24, **environment):
        self._mine, its = terminal()
        fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", lines, columns, 0, 0))
        environment = {"PYTHONPATH": str(PACKAGE_PARENT), "TERM": "xterm", **environment}
        inherited = {
            name: value
            for name, value in os.environ.items()
            if name not in ("NO_COLOR", "COLUMNS", "LINES")
        }
        self.process = subprocess.Popen(
            [sys.executable, "-m", "stdevents", *arguments],
            stdin=its,
            stdout=its,
            stderr=its,
            env={**inherited, **environment},
            cwd="/",
        )
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

    def start(*arguments, **options):
        screens.append(Screen(*arguments, **options))
        return screens[-1]

    yield start
    for each in screens:
        each.close()


@pytest.fixture
def crowd(name):
    """30 workers on the bus `name`."""
    process = start(CROWD, name)
    try:
        assert process.stdout.readline() == "open\n"
        yield
        assert process.communicate(timeout=SECONDS)[1] == ""
    finally:
        process.kill()
        process.wait()


def line_of(screen, pattern):
    """The line on which there is something like this, when it is whole."""
    found = screen.until(f"{pattern}.*\n")
    return screen.text[screen.text.rindex("\n", 0, found.start()) + 1 : found.end()]


# -- tail ------------------------------------------------------------------------------------------


def test_tail_is_in_colour_and_nothing_in_an_event_steers_the_terminal(screen, bus, name):
    tail = screen("tail", name, "--oldest")
    tail.until("started")
    bus.post("ca\x1bc\u202ehe", "drop", {"key": "\x1b[2J\x9b\u202e"}, unique="one")
    line = line_of(tail, "drop")
    assert "\x1b[36mca?c?he\x1b[0m \x1b[1mdrop\x1b[0m" in line
    assert r'{"key": "\u001b[2J\u009b\u202e"}' in line
    assert f"unique 'one'  by {os.getpid()}\x1b" in line


def test_tail_shows_the_words_of_all_languages(screen, bus, name):
    tail = screen("tail", name, "--oldest", PYTHONIOENCODING="utf-8")
    tail.until("started")
    bus.post("Zürich", "ünï", ["ключ", "鍵", "🔑"])
    line = ESCAPE.sub("", line_of(tail, "ünï"))
    event = f'      2  Zürich ünï ["ключ", "鍵", "🔑"]  by {os.getpid()}'
    assert re.fullmatch(rf"\d\d:\d\d:\d\d {re.escape(event)}\r\n", line)


def test_tail_goes_on_where_the_terminal_cannot_show_a_character(screen, bus, name):
    tail = screen("tail", name, "--oldest", PYTHONIOENCODING="ascii")
    tail.until("started")
    bus.post("ünï", "drop", "ключ")
    assert r'\xfcn\xef drop "\u043a\u043b\u044e\u0447"' in ESCAPE.sub("", line_of(tail, "drop"))


def test_tail_says_of_which_host_an_event_from_a_relay_is():
    line = {"id": 7, "source": "cache", "event": "drop", "data": None, "pid": 12, "host": "web2"}
    event = "      7  cache drop  by 12 of web2"
    assert in_colour(Terminal(io.StringIO()), line, None) == f"         {event}"
    now = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, -1))
    assert in_colour(Terminal(io.StringIO()), line, now) == f"03:04:05 {event}"


def test_tail_shows_a_gap_in_red(screen, name):
    with stdevents.Bus(name, interval=0, size="4k") as bus:  # also where there is no terminal
        tail = screen("tail", name, "--oldest")
        bus.post("test", "tick")
        tail.until("tick")
        stop(tail.process, name)
        for _ in range(20):
            bus.post("test", "tick", "x" * 300)
        tail.process.send_signal(signal.SIGCONT)
        lost = tail.until(r"\x1b\[31mevents (\d+) to (\d+) \((\d+)\) are lost here\x1b\[0m")
        first, last, count = map(int, lost.groups())
        assert (first, count) == (3, last - 2) and count > 0


# -- status ----------------------------------------------------------------------------------------

OFTEN = ("--every", "0.1")


def test_a_watch_shows_how_many_events_come_in_a_second(screen, bus, name):
    watch = screen("status", name, *OFTEN)
    watch.until("so far")
    for _ in range(7):
        bus.post("test", "tick")
    watch.until(r"events   8 so far, \d+\.\d a second")
    watch.until("Ctrl-C ends")


@pytest.mark.parametrize("lines", [13, 24, 50])
def test_a_watch_of_many_workers_fits_on_the_screen(screen, crowd, name, lines):
    watch = screen("status", name, *OFTEN, lines=lines)
    drawn = watch.until("(?s)\x1b\\[2J(.*)Ctrl-C ends.*\x1b\\[J").group(1)
    rows = ESCAPE.sub("", drawn).split("\r\n")
    assert rows[0] == f"bus {name}"
    assert "workers  30\x1b[31m, 29 losing events" in drawn
    assert len(rows) < lines
    assert max(map(len, rows)) <= 80
    shown = sum("losing" in row for row in rows[8:] if "more" not in row)
    assert len(rows) == 40 or f"more, {29 - shown} of them losing events" in drawn


def test_a_watch_is_cut_off_at_a_narrow_screen_and_never_wrapped(screen, crowd, name):
    """The terminal cuts it off; what matters most is within the first 40 columns."""
    watch = screen("status", name, *OFTEN, columns=40)
    drawn = watch.until("(?s)\x1b\\[2J(.*Ctrl-C ends.*)\x1b\\[J").group(1)
    assert drawn.startswith("\x1b[?7l")
    assert drawn.endswith("\x1b[?7h")
    lapped = [row for row in ESCAPE.sub("", drawn).split("\r\n") if "% losing" in row]
    assert lapped
    assert all("100% losing" in row[:40] for row in lapped)


def test_a_watch_has_no_colours_where_they_are_not_wanted(screen, bus, name):
    watch = screen("status", name, *OFTEN, NO_COLOR="1")
    watch.until("Ctrl-C ends(?s:.*)Ctrl-C ends")
    assert "\x1b[H" in watch.text
    assert re.search("\x1b\\[[0-9;]*m", watch.text) is None


def test_a_watch_writes_line_below_line_on_a_terminal_that_can_do_no_more(screen, bus, name):
    watch = screen("status", name, *OFTEN, TERM="dumb")
    watch.until("Ctrl-C ends(?s:.*)Ctrl-C ends")
    assert "\x1b" not in watch.text


def rows_of(shares, losing=()):
    """Workers that have so much still to read; the first of them lose so many events."""
    losing = [*losing, *[0] * len(shares)]
    return [
        Row(100 + slot, slot, 1, 1, 0, share, losing[slot], 0, 0, "")
        for slot, share in enumerate(shares)
    ]


def status(shares, losing=(), last_id=1):
    """A bus with such workers."""
    return Status("bus", 0, "drop", 4096, 0, 16, 1, last_id, rows_of(shares, losing))


@pytest.mark.parametrize(
    ("room", "pids", "more"),
    [
        (5, [100, 101, 102, 103, 104], []),
        (4, [101, 103, 104], ["  and 2 more, none of them losing events"]),
        (1, [], ["  and 5 more, none of them losing events"]),
        (-3, [], ["  and 5 more, none of them losing events"]),
    ],
)
def test_where_there_is_no_room_for_all_those_furthest_behind_are_shown(room, pids, more):
    lines = workers_in(Terminal(io.StringIO()), status([0, 0.3, 0, 0.1, 1]), room)
    assert [int(line.split()[0]) for line in lines[: len(pids)]] == pids
    assert lines[len(pids) :] == more


@pytest.mark.parametrize(("room", "losing"), [(1, 3), (2, 2), (4, 0)])
def test_those_that_are_not_shown_are_said_to_lose_events(room, losing):
    """Not that they were no further behind than those that are, which lose events as well."""
    lines = workers_in(Terminal(io.StringIO()), status([1, 1, 1, 0.5, 0], [7, 9, 8]), room)
    words = f"{losing} of them losing events" if losing else "none of them losing events"
    assert lines[-1] == f"  and {6 - room} more, {words}"
    if room > 1:
        assert {int(line.split()[0]) for line in lines[:-1]} <= {100, 101, 102}
        assert lines[0].split()[:3] == ["101" if room == 2 else "100", "100%", "losing"]


@pytest.mark.parametrize(("last_id", "which"), [(1, "all 1"), (2, "the last 1")])
def test_a_full_ring_is_told_in_words_and_by_no_bar(last_id, which):
    """It is full from then on, which is as it should be."""
    lines = head_of(Terminal(io.StringIO()), status([0], last_id=last_id))
    assert f"  keeps    {which}, in 0 bytes of 4.0 KiB" in lines
    assert not [line for line in lines if "%" in line]


def test_a_worker_that_joined_more_than_a_day_ago_has_the_date():
    terminal = Terminal(io.StringIO())
    for since, shown in ((time.time() - 3600, "%H:%M:%S"), (time.time() - 90000, "%Y-%m-%d")):
        row = Row(4194304, 1, 10**9, 10**6, int(since), 1.0, 1, 999999, 10**8 - 1, "x" * 40)
        line = worker_line(terminal, row)
        assert line.endswith(time.strftime(f"  {shown}", time.localtime(int(since))).rjust(12))
        assert len(line) <= 80


@pytest.mark.parametrize(("columns", "whole"), [(60, "unhandled"), (80, "since"), (200, "since")])
def test_the_columns_fit_in_the_width_that_there_is(screen, bus, name, columns, whole):
    """In a narrow window without the last one, which says least."""
    watch = screen("status", name, *OFTEN, columns=columns)
    drawn = ESCAPE.sub("", watch.until("(?s)\x1b\\[2J(.*Ctrl-C ends.*)\x1b\\[J").group(1))
    (above,) = [row for row in drawn.split("\r\n") if "unhandled" in row]
    (row,) = [row for row in drawn.split("\r\n") if f" {os.getpid()} " in row]
    end = above.index(whole) + len(whole)
    assert end <= columns
    if whole == "unhandled":
        assert row[:columns].rstrip()[-1] == "0"
        assert len(row[:end].rstrip()) == end
    else:
        assert len(row) == len(above) <= columns


# -- both ------------------------------------------------------------------------------------------


def test_tail_says_what_it_follows_and_how_to_end_it(screen, bus, name):
    tail = screen("tail", name)
    tail.until("Ctrl-C ends.*\n")
    assert ESCAPE.sub("", tail.text) == f"following {name}, 1 worker; Ctrl-C ends\r\n"


def test_tail_waits_for_a_bus_that_is_not_there_yet(screen, name):
    tail = screen("tail", name)
    tail.until(f"stdevents: no bus '{name}': it exists while a worker has it open.*; waiting for")
    with stdevents.Bus(name, interval=0):
        tail.until(f"following {name}, 1 worker; Ctrl-C ends")
        tail.until("started")
        assert "again" not in tail.text


def test_tail_needs_no_lock_to_tell_what_was_handled(screen, bus, name):
    """G5: who stops it by Ctrl-Z must not find that it had the lock."""
    tail = screen("tail", name)
    tail.until("following")
    bus.post("cache", "dorp")
    with open(lock_file_of(name)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        bus.poll()
        tail.until("no worker has a handler for cache dorp")


def test_tail_tells_which_events_no_worker_has_a_handler_for(screen, bus, name):
    """A misspelt name. Not where it was handled together with one that has a handler."""
    bus.register(lambda *event: None, "cache", "drop")
    tail = screen("tail", name)
    tail.until("following")
    told = "no worker has a handler for cache dorp"
    for event in ("drop", *["dorp"] * 50):
        number = bus.post("cache", event)
        bus.poll()
        tail.until(f"\\D{number}\\D.*{event}.* by {os.getpid()}")
        if told in tail.text:
            break
    tail.until(told)
    assert "for cache drop" not in tail.text

"""A command that runs, and what it prints."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal

import pytest
from inside import lock_file_of

import stdevents


def work(parent, bus_name, options):
    """Be a worker that polls, or posts an event, when it is told to, until it is to leave."""
    parent.close_other_files()  # else a command's pipes would stay open
    bus = stdevents.Bus(bus_name, interval=0, **options)
    bus.poll()
    handled = []
    bus.register(lambda data, event, source, pid: handled.append((event, data)), "test")
    parent.tell()
    for event in iter(parent.hear, "leave"):
        if event == "poll":
            bus.poll()
        else:
            bus.post(*event)
        parent.tell(handled)
        handled.clear()
    bus.close()


class Worker:
    """A forked child that does `work`."""

    def __init__(self, child):
        self.pid = child.pid
        self._child = child
        child.hear()

    def post(self, *event):
        self._child.say(event)
        self._child.hear()

    def poll(self):
        """What it handles: pairs of event and data."""
        self._child.say("poll")
        return self._child.hear()

    def leave(self):
        """Leave the bus and end, unless it has done so."""
        if self._child.status is None:
            self._child.say("leave")
            self._child.result()

    def kill(self):
        self._child.kill()


class Program:
    """A running program of its own."""

    def __init__(self, process):
        self.process = process
        self._ended = None

    def line(self):
        """The next line that it prints; the test fails if there is none."""
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.end()}"
        return line.rstrip("\n")

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def end(self):
        """Wait for its end: (status, what it printed since, errors)."""
        if self._ended is None:
            out, err = self.process.communicate()
            self._ended = self.process.returncode, out, err
        return self._ended

    def close(self, stream):
        """Close our end of one of its standard streams."""
        getattr(self.process, stream).close()
        setattr(self.process, stream, None)


def wait_until_open(process, path):
    """Wait until the process has the file open, or has ended."""
    while process.poll() is None:
        for number in os.listdir(f"/proc/{process.pid}/fd"):
            with contextlib.suppress(OSError):  # it is closed by now
                if os.path.samefile(f"/proc/{process.pid}/fd/{number}", path):
                    return


def stop(process, name):
    """Stop it and wait until it stands still; not while it has the lock of the bus `name`."""
    with open(lock_file_of(name)) as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(process.pid, os.WUNTRACED)[1])


def terminal():
    """Both ends of a terminal; the test is skipped where there is none to be had."""
    try:
        return os.openpty()
    except OSError as error:
        pytest.skip(f"no terminal: {error}")


def lines_of(out):
    return [json.loads(line) for line in out.splitlines()]

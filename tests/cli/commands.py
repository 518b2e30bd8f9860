"""A command that runs, and what it prints."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import signal
import threading

import pytest
from inside import lock_file_of

SECONDS = 30  # until a program that hangs is killed


# A worker that does what the lines of its standard input say, until there are no more.
WORKER = """
import json, sys, stdevents
name, options = sys.argv[1], json.loads(sys.argv[2])
bus = stdevents.Bus(name, interval=0, **options)
bus.poll()
@bus.on("test")
def handle(data, event, source, pid):
    print(json.dumps([event, data]), flush=True)
print("open", flush=True)
for line in sys.stdin:
    command = json.loads(line)
    if command == "poll":
        bus.poll()
    else:
        bus.post(*command)
    print("done", flush=True)
bus.close()
"""


class Program:
    """A running program, which is killed if it hangs."""

    def __init__(self, process):
        self.process = process
        self._ended = None
        self._killer = threading.Timer(SECONDS, process.kill)
        self._killer.start()

    def line(self):
        """The next line that it prints; the test fails if there is none."""
        line = self.process.stdout.readline()
        assert line, f"it ended: {self.end()}"
        return line.rstrip("\n")

    def say(self, line):
        """Give it a line, and return those that it prints until it has done it."""
        print(line, file=self.process.stdin, flush=True)
        return list(iter(self.line, "done"))

    def signal(self, number):
        self.process.send_signal(number)
        return self

    def end(self):
        """Wait for its end: (status, what it printed since, errors)."""
        if self._ended is None:
            out, err = self.process.communicate()
            self._killer.cancel()
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

"""Real servers for a test: started on a socket, asked by HTTP, stopped, and their log read."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException
from pathlib import Path

import pytest

import stdevents

PATIENCE = 60.0  # seconds after which what is waited for is not coming, on the slowest machine
SECRET = "what no log may have"  # in an event
FAILED = re.compile(
    r"event callback failed; source=(prices|cache), event=(changed|delete), pid=\d+"
)
BIN = Path(sys.executable).parent
EXAMPLES = Path(__file__).parent.parent.parent / "examples"
PACKAGE_PARENT = str(Path(stdevents.__file__).parent.parent)


def wait_until(condition, what):
    """Wait for `condition()` to be true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    return pytest.fail(f"waited {PATIENCE:g} s in vain: {what() if callable(what) else what}")


def environment(**more):
    """That of a program which imports the package that is tested.

    Without what else is set for Python outside: unbuffered, a line is several writes, and those
    of several processes are mixed.
    """
    outside = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
    return {**outside, "PYTHONPATH": PACKAGE_PARENT, **more}


class Process:
    """A program that runs beside the test; its output is kept."""

    def __init__(self, folder, *command, **more):
        self.folder = folder
        self.log_file = folder / "log"
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BIN / command[0]), *map(str, command[1:])],
                cwd=folder,
                env=environment(**more),
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    @property
    def pid(self):
        return self.process.pid

    def log(self):
        return self.log_file.read_text(errors="replace")

    def failures(self, file="log"):
        """How often its log tells of a handler that failed."""
        log = (self.folder / file).read_text(errors="replace")
        assert SECRET not in log  # G6
        return len(FAILED.findall(log))

    def send(self, number):
        self.process.send_signal(number)

    def end(self):
        """Wait for its end, which has to come by itself; its exit status."""
        try:
            return self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            return pytest.fail(f"does not end; its log:\n{self.log()}")

    def stop(self, number=signal.SIGTERM):
        """End it as an operator would, which it has to take without complaints."""
        self.send(number)
        self.end()
        for complaint in (
            "Traceback",
            "Exception ignored",
            "ResourceWarning",
            "DeprecationWarning",
        ):
            assert complaint not in self.log(), self.log()

    def kill(self):
        """End it, and all that it has started, whatever has happened."""
        try:
            os.killpg(self.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
        self.process.wait()


class Connection(HTTPConnection):
    """To a socket in the file system: a port may be another's by the time a server binds it."""

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.host)


class Server(Process):
    """A web server with several workers, on the {socket} of its command."""

    def __init__(self, folder, *command, **more):
        self._place = tempfile.TemporaryDirectory(prefix="stdevents-")  # short: a socket's path
        self.socket = f"{self._place.name}/http"
        self._counting = threading.Lock()
        self.requests = 0
        self.answers = Counter()  # of each worker, by its pid
        command = [part.replace("{socket}", self.socket) for part in command]
        super().__init__(folder, *command, **more)

    def read(self, path, data=None):
        """The text that a worker answers to a GET, or to a PUT of `data`."""
        connection = Connection(self.socket, timeout=PATIENCE)
        with self._counting:
            self.requests += 1
        try:
            headers = {"Host": "127.0.0.1", "Connection": "close"}
            connection.request("GET" if data is None else "PUT", path, data, headers)
            reply = connection.getresponse()
            text = reply.read().decode()
        finally:
            connection.close()
        assert reply.status == 200, f"{reply.status} {text}; the log:\n{self.log()}"
        return text

    def ask(self, path, data=None):
        """What a worker answers to a GET, or to a PUT of `data`, as JSON."""
        answer = json.loads(self.read(path, data))
        with self._counting:
            self.answers[answer["pid"]] += 1
        return answer

    def wait(self, path):
        """Wait until it answers."""

        def answers():
            assert self.process.poll() is None, self.log()
            try:
                return self.read(path)
            except (OSError, HTTPException):
                return None

        return wait_until(answers, lambda: f"an answer; the log:\n{self.log()}")

    def crowd(self, path, count=24):
        """The answers to so many GETs, eight at a time, so that all workers get some."""
        with ThreadPoolExecutor(8) as pool:
            return list(pool.map(self.ask, [path] * count))

    def until_all(self, path, workers, accept):
        """Ask until so many workers, by their pids, have answered as `accept` wants it."""
        accepted = {}

        def all_have():
            for answer in self.crowd(path):
                if accept(answer):
                    accepted[answer["pid"]] = answer
            return len(accepted) >= workers

        what = f"{workers} workers at {path}"
        wait_until(all_have, lambda: f"{what}; only {accepted}; {self.log()}")
        assert len(accepted) == workers, accepted
        return set(accepted)

    def change_price(self, item, workers):
        """Have each worker cache a price, change it at one, and see that each has dropped it.

        Returns the pids of the workers.
        """
        path = f"/prices/{item}"
        self.ask(path, "2.50")
        warm = {"price": "2.50", "cached": True}
        before = self.until_all(path, workers, lambda answer: warm.items() <= answer.items())
        self.ask(path, "3.20")
        after = self.until_all(path, workers, lambda answer: answer["price"] == "3.20")
        assert after == before
        return after

    def always_fresh(self, item, workers, rounds=10):
        """Change a price again and again; each request that begins after the answer must know it.

        Returns the pids of the workers.
        """
        path = f"/prices/{item}"
        everybody = self.until_all(path, workers, lambda answer: True)
        for count in range(rounds):
            price = f"{count}.50"
            self.ask(path, price)

            def knows(answer, price=price):
                assert answer["price"] == price
                return True

            assert self.until_all(path, workers, knows) == everybody
        return everybody

    def tells_failures(self, path, witness, workers, file="log"):
        """Have a handler fail in each worker, see that the log of the server tells it, and end it.

        Its log has tracebacks then, as it has to.
        """
        witness.make_handlers_fail()

        def told():
            self.crowd(path)  # where there is no loop, a worker polls at a request
            return self.failures(file) >= workers

        wait_until(told, lambda: f"{workers} failures in {file}; {self.log()}")
        self.send(signal.SIGTERM)
        self.end()
        assert self.failures(file) == workers

    def kill(self):
        super().kill()
        self._place.cleanup()


class Load:
    """Requests without a break until the end of the `with`: mostly reads, some changes."""

    def __init__(self, server, item="tea"):
        self._server = server
        self._path = f"/prices/{item}"
        self._over = False
        self.answers = []
        self.failures = []  # of connections

    def __enter__(self):
        self._pool = ThreadPoolExecutor(4)
        self._threads = [self._pool.submit(self._run, number) for number in range(4)]
        return self

    def __exit__(self, *_):
        self._over = True
        for thread in self._threads:
            thread.result()
        self._pool.shutdown()

    def _run(self, number):
        count = 0
        while not self._over:
            count += 1
            price = f"{count}.00" if not number and count % 10 == 0 else None
            try:
                self.answers.append(self._server.ask(self._path, price))
            except (OSError, HTTPException) as error:
                self.failures.append(error)

    def pids(self):
        """The workers that have answered."""
        return {answer["pid"] for answer in list(self.answers)}

"""Real servers for a test: started on a free port, asked by HTTP, stopped, and their log read."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

import stdevents

PATIENCE = 20.0  # seconds after which what is waited for is not coming
BIN = Path(sys.executable).parent


def wait_until(condition, what):
    """Wait for `condition()` to be true, and return it."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.02)
    return pytest.fail(f"waited {PATIENCE:g} s in vain: {what() if callable(what) else what}")


class Process:
    """A program that runs beside the test; its output is kept."""

    def __init__(self, folder, *command, **environment):
        self.log_file = folder / "log"
        package = str(Path(stdevents.__file__).parent.parent)
        with self.log_file.open("wb") as log:
            self.process = subprocess.Popen(
                [str(BIN / command[0]), *map(str, command[1:])],
                cwd=folder,
                env={**os.environ, "PYTHONPATH": package, **environment},
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

    def send(self, number):
        self.process.send_signal(number)

    def stop(self, number=signal.SIGTERM):
        """End it as an operator would; it has to end by itself, and without complaints."""
        self.send(number)
        try:
            self.process.wait(PATIENCE)
        except subprocess.TimeoutExpired:
            pytest.fail(f"does not end; its log:\n{self.log()}")
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


class Server(Process):
    """A web server with several workers, at a free port; the command's {port} and {address}."""

    def __init__(self, folder, *command, **environment):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            port = free.getsockname()[1]
        places = {"{port}": str(port), "{address}": f"127.0.0.1:{port}"}
        self.url = f"http://127.0.0.1:{port}"
        self.requests = 0
        super().__init__(folder, *(places.get(part, part) for part in command), **environment)

    def ask(self, path, data=None):
        """What a worker answers to a GET, or to a PUT of `data`."""
        self.requests += 1
        body = None if data is None else data.encode()
        request = urllib.request.Request(
            self.url + path, body, method="GET" if body is None else "PUT"
        )
        with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
            return json.load(answer)

    def wait(self, path):
        """Wait until it answers."""

        def answers():
            assert self.process.poll() is None, self.log()
            try:
                return self.ask(path)
            except (OSError, urllib.error.URLError):
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


class Load:
    """Requests without a break until the end of the `with`: mostly reads, some changes."""

    def __init__(self, server, item="tea"):
        self._server = server
        self._path = f"/prices/{item}"
        self._over = False
        self.answers = []
        self.failures = []

    def __enter__(self):
        self._pool = ThreadPoolExecutor(4)
        self._threads = [self._pool.submit(self._run, number) for number in range(4)]
        return self

    def __exit__(self, *_):
        self._over = True
        self._pool.shutdown()

    def _run(self, number):
        count = 0
        while not self._over:
            count += 1
            price = f"{count}.00" if not number and count % 10 == 0 else None
            try:
                self.answers.append(self._server.ask(self._path, price))
            except OSError as error:
                self.failures.append(error)

    def pids(self):
        """The workers that have answered."""
        return {answer["pid"] for answer in list(self.answers)}

"""A real redis-server of a test: on a unix socket, or at an address; all of it persisted."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

OPTIONS = {
    "save": "",
    "appendonly": "yes",
    # The kernel has it before each reply, which is enough for a kill. With "everysec" a reply may
    # come up to two seconds before that, while a disk is slow.
    "appendfsync": "no",
    "maxmemory-policy": "noeviction",
}
SECONDS = 60  # in which it has to be there
TRIES = 10  # a port that was free may be another's before the server has it


class Server:
    """Started at once; `kill` and `start` restart it, with all that it had.

    With an `address` its clients reach it there, without one by a socket in the file system.
    """

    def __init__(self, address=None, port=None, prefix=(), **options):
        self.folder = tempfile.mkdtemp(prefix="stdevents-redis-")  # short: a socket's path
        self.path = os.path.join(self.folder, "socket")
        self._address = address
        self._fixed_port = port if address else 0  # 0: it listens at none
        self._prefix = prefix
        self._options = {**OPTIONS, **options}
        self._process = None
        self._clients = []
        self.start()

    def start(self):
        """Start it, and wait until it answers."""
        for _ in range(TRIES):
            self._port = _free_port() if self._fixed_port is None else self._fixed_port
            if self._starts():
                return
        raise AssertionError("redis-server has ended at once")

    def _starts(self):
        bind = ["--bind", self._address] if self._address else []
        arguments = [*bind, "--port", str(self._port), "--unixsocket", self.path]
        options = [
            part for option in self._options.items() for part in (f"--{option[0]}", option[1])
        ]
        self._process = subprocess.Popen(
            [*self._prefix, "redis-server", *arguments, "--dir", self.folder, *options],
            stdout=subprocess.DEVNULL,
        )
        deadline = time.monotonic() + SECONDS
        with self.client(unix_socket_path=self.path) as client:
            while self._process.poll() is None:
                try:
                    client.ping()
                    return True
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server does not start"
                    time.sleep(0.01)
        return False

    def client(self, **options):
        """A new client; unless it is told otherwise, it tries nothing twice."""
        place = {"unix_socket_path": self.path}
        if self._address and "unix_socket_path" not in options:
            place = {"host": self._address, "port": self._port}
        client = redis.Redis(
            **{"retry": Retry(NoBackoff(), 0), "socket_timeout": 5, **place, **options}
        )
        self._clients.append(client)
        return client

    def kill(self):
        """As suddenly as can be."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Have it stand still: connections stay, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)
        assert os.WIFSTOPPED(os.waitpid(self._process.pid, os.WUNTRACED)[1])

    def go_on(self):
        """After a stop."""
        self._process.send_signal(signal.SIGCONT)

    def remove(self):
        """End it, and remove what it has kept."""
        for client in self._clients:
            client.close()
        self.kill()
        shutil.rmtree(self.folder)


def _free_port():
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        return unused.getsockname()[1]

"""A real redis-server of a test: on a unix socket and on the loopback, all of it persisted."""

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
SECONDS = 30  # in which it has to be there


class Server:
    """Started at once; `kill` and `start` restart it, with all that it had."""

    def __init__(self, prefix=(), address="127.0.0.1", port=None, **options):
        self.folder = tempfile.mkdtemp(prefix="stdevents-redis-")  # short: a socket's path
        self.path = os.path.join(self.folder, "socket")
        self.address = address
        self.port = port or _free_port()
        self._prefix = prefix
        self._options = {**OPTIONS, **options}
        self._process = None
        self._clients = []
        self.start()

    def start(self):
        """Start it, and wait until it answers."""
        options = [f"--{key}={value}" for key, value in self._options.items()]
        arguments = ["--bind", self.address, "--port", str(self.port), "--unixsocket", self.path]
        # One argument each, since an empty value is one, too.
        pairs = [part for option in options for part in option.split("=", 1)]
        self._process = subprocess.Popen(
            [*self._prefix, "redis-server", *arguments, "--dir", self.folder, *pairs],
            stdout=subprocess.DEVNULL,
        )
        with self.client() as client:
            deadline = time.monotonic() + SECONDS
            while True:
                try:
                    client.ping()
                    return
                except redis.ConnectionError:
                    assert time.monotonic() < deadline, "redis-server does not start"
                    assert self._process.poll() is None, "redis-server has ended"
                    time.sleep(0.01)

    def client(self, tcp=False, **options):
        """A new client; unless it is told otherwise, it tries nothing twice."""
        place = (
            {"host": self.address, "port": self.port} if tcp else {"unix_socket_path": self.path}
        )
        client = redis.Redis(**{"retry": Retry(NoBackoff(), 0), **place, **options})
        self._clients.append(client)
        return client

    def kill(self):
        """As suddenly as can be."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Have it stand still: connections stay, and nobody answers."""
        self._process.send_signal(signal.SIGSTOP)

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

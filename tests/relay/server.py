"""Real servers of a test: one by itself, with TLS or a replica, a Sentinel, a cluster.

Each keeps its data in a folder of its own, and is waited for by asking it. The program is
redis-server, or what the environment variable STDEVENTS_REDIS_SERVER names (valkey-server, say).
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

import pytest
import redis
from redis.backoff import NoBackoff
from redis.cluster import RedisCluster
from redis.retry import Retry
from redis.sentinel import Sentinel as SentinelClient

PROGRAM = os.environ.get("STDEVENTS_REDIS_SERVER", "redis-server")
LOOPBACK = "127.0.0.1"
OPTIONS = {
    "save": "",
    "appendonly": "yes",
    # The kernel has it before each reply, which is enough for a kill. With "everysec" a reply may
    # come up to two seconds before that, while a disk is slow.
    "appendfsync": "no",
    "maxmemory-policy": "noeviction",
    # A replica gets all at once, not only after five seconds in which another one could come.
    "repl-diskless-sync-delay": "0",
}
SECONDS = 60  # in which it has to be there
TIMEOUT = 5  # seconds for which a client waits for an answer
TRIES = 10  # a port that was free may be another's before the server has it
# No port that the kernel gives to a connection; a node of a cluster has the one 10000 further on.
PORTS = range(12_000, 22_000)
AWAY = (redis.ConnectionError, redis.TimeoutError)


def require(*programs):
    """Skip the test where a program is not there."""
    for program in programs:
        if shutil.which(program) is None:
            pytest.skip(f"there is no {program} here")


def until(condition):
    """Ask until it is so. While a server does not answer, it is not."""
    deadline = time.monotonic() + SECONDS
    while True:
        with contextlib.suppress(*AWAY):
            if condition():
                return
        assert time.monotonic() < deadline, "what is waited for does not come"
        time.sleep(0.01)


def stop(process):
    """Stop a process of ours, which may be stopped already, and wait until it stands still."""
    process.send_signal(signal.SIGSTOP)
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)


class Server:
    """Started at once; `kill` and `start` restart it, with all that it had, at the same place.

    With an `address` its clients reach it there, without one by a socket in the file system. `tls`
    is a Certificate, with which it and its clients show who they are. `before` stands before the
    program, as a command that runs it.
    """

    def __init__(self, address=None, port=None, before=(), tls=None, **options):
        require(PROGRAM)
        self.folder = tempfile.mkdtemp(prefix="stdevents-redis-")  # short: a socket's path
        self.path = os.path.join(self.folder, "socket")
        self.address = address
        self.port = port if address else 0  # 0: it listens at none
        self._before = before
        self._tls = tls
        self._options = {**OPTIONS, **(tls.options if tls else {}), **options}
        self._process = None
        self._clients = []
        self._ask = self.client(unix_socket_path=self.path)
        self.start()

    def start(self, **options):
        """Start it, and wait until it answers. It has these options from then on, too."""
        self._options.update(options)
        for _ in range(TRIES):
            port = _free_port() if self.port is None else self.port
            if self._starts(port):
                self.port = port
                return
        raise AssertionError(f"{PROGRAM} has ended at once")

    def _starts(self, port):
        arguments = ["--bind", self.address] if self.address else []
        arguments += ["--port", "0", "--tls-port"] if self._tls else ["--port"]
        arguments += [str(port), "--unixsocket", self.path, "--dir", self.folder]
        for option, value in self._options.items():
            arguments += [f"--{option}", *(value.split() or [""])]
        return self._runs(*self._before, PROGRAM, *arguments)

    def _runs(self, *command):
        self._process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        until(lambda: not self.is_running() or self._ask.ping())
        return self.is_running()

    def is_running(self):
        """Was it not killed?"""
        return self._process.poll() is None

    def client(self, **options):
        """A new client; unless it is told otherwise, it tries nothing twice."""
        if "protocol" in options and redis.__version__ < "5":
            pytest.skip(f"redis-py {redis.__version__} has no choice of the protocol")
        place = {"unix_socket_path": self.path}
        if self.address and "unix_socket_path" not in options:
            place = {"host": self.address, "port": self.port}
            if self._tls:
                place.update(self._tls.of_client)
        given = {"retry": Retry(NoBackoff(), 0), "socket_timeout": TIMEOUT, **place, **options}
        client = redis.Redis(**given)
        self._clients.append(client)
        return client

    def user(self, name, *rules, **options):
        """A client of a user who may do what the rules of ACL SETUSER say, and no more."""
        self._ask.execute_command("ACL", "SETUSER", name, "reset", "on", f">{name}", *rules)
        return self.client(username=name, password=name, **options)

    def info(self):
        """What it tells of itself."""
        return self._ask.info()

    def is_linked(self):
        """Is it a replica that gets what its master has?"""
        info = self.info()
        return info["role"] == "slave" and info["master_link_status"] == "up"

    def has(self, key):
        """Is it the node of a cluster that may be asked for this key?"""
        try:
            self._ask.exists(key)
        except redis.ResponseError:  # it is another's
            return False
        return self.info()["role"] == "master"

    def kill(self):
        """As suddenly as can be."""
        self._process.kill()
        self._process.wait()

    def stop(self):
        """Have it stand still: connections stay, and nobody answers."""
        stop(self._process)

    def go_on(self):
        """After a stop."""
        self._process.send_signal(signal.SIGCONT)

    def remove(self):
        """End it, and remove what it has kept."""
        for client in self._clients:
            client.close()
            client.connection_pool.disconnect()  # which close() does not do in redis-py 4
        self.kill()
        shutil.rmtree(self.folder)


GATE = """
import os, socket, sys, threading

def pass_on(source, sink):
    try:
        while data := source.recv(65536):
            sink.sendall(data)
    except OSError:
        pass
    for end in (source, sink):
        try:
            end.shutdown(socket.SHUT_RDWR)
        except OSError:
            pass

door = socket.socket(socket.AF_UNIX)
door.bind(sys.argv[1])
door.listen(100)
print("open", flush=True)
while True:
    inner, outer = socket.socket(socket.AF_UNIX), door.accept()[0]
    try:
        inner.connect(sys.argv[2])
    except OSError:
        outer.close()
        continue
    for way in ((inner, outer), (outer, inner)):
        threading.Thread(target=pass_on, args=way, daemon=True).start()
"""


class Gate:
    """A way to a server. While it is shut nothing comes through, and nobody is told of that.

    So it is where a cable was cut, or a firewall forgets a connection.
    """

    def __init__(self, server):
        self.path = f"{server.path}-{random.randrange(10**9)}"
        self._server = server
        self._process = subprocess.Popen(
            [sys.executable, "-c", GATE, self.path, server.path], stdout=subprocess.PIPE, text=True
        )
        assert self._process.stdout.readline() == "open\n"

    def client(self, **options):
        """A new client on this side of it."""
        return self._server.client(unix_socket_path=self.path, **options)

    def shut(self):
        """Let nothing through from now on."""
        stop(self._process)

    def open(self):
        """Let all through, also what came meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def remove(self):
        """Cut all that goes through it, which those on both sides see."""
        self._process.kill()
        self._process.communicate()


class Certificate:
    """One that server and clients have both, and trust nothing else."""

    def __init__(self, folder):
        require("openssl")
        key, of = os.path.join(folder, "key.pem"), os.path.join(folder, "certificate.pem")
        make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2"
        more = "subjectAltName=IP:127.0.0.1", "keyUsage=critical,digitalSignature,keyCertSign"
        arguments = [part for one in more for part in ("-addext", one)]
        arguments += ["-subj", "/CN=stdevents", "-keyout", key, "-out", of]
        subprocess.run([*make.split(), *arguments], check=True, capture_output=True)
        self.options = {"tls-cert-file": of, "tls-key-file": key, "tls-ca-cert-file": of}
        #: options of a client that shows nothing
        self.of_stranger = {"ssl": True, "ssl_ca_certs": of}
        self.of_client = {**self.of_stranger, "ssl_certfile": of, "ssl_keyfile": key}


class Replica(Server):
    """It has all that its master has, from the time at which it is made."""

    def __init__(self, master, **options):
        self._master = master
        super().__init__(master.address, replicaof=f"{master.address} {master.port}", **options)
        until(self.is_linked)

    def wait_until_it_has_all(self):
        """What its master has now."""
        offset = self._master.info()["master_repl_offset"]
        until(lambda: self.info()["slave_repl_offset"] >= offset)

    def fall_behind(self):
        """Have it get nothing more, and stand still until `go_on`."""
        self.wait_until_it_has_all()
        self.stop()
        # Else it would find what the master has sent meanwhile.
        self._master.client().execute_command("CLIENT", "KILL", "TYPE", "replica")


class Sentinel(Server):
    """One that looks after a master with a replica, and puts the replica in its place."""

    NAME = "the-master"

    def __init__(self, master, replica):
        self._master = master
        super().__init__(LOOPBACK)
        until(lambda: int(self._ask.sentinel_master(self.NAME)["num-slaves"]) == 1)
        self._watched = SentinelClient([(LOOPBACK, self.port)], socket_timeout=TIMEOUT)

    def _starts(self, port):
        master, file = self._master, os.path.join(self.folder, "sentinel.conf")
        with open(file, "w") as lines:  # it writes down there what it finds out
            lines.write(
                f"bind {LOOPBACK}\nport {port}\nunixsocket {self.path}\ndir {self.folder}\n"
                f"sentinel monitor {self.NAME} {master.address} {master.port} 1\n"
                f"sentinel down-after-milliseconds {self.NAME} 500\n"
                f"sentinel failover-timeout {self.NAME} 1000\n"
            )
        return self._runs(PROGRAM, file, "--sentinel")

    def master_client(self, **options):
        """A client of whoever is the master."""
        given = {"retry": Retry(NoBackoff(), 0), "socket_timeout": TIMEOUT, **options}
        client = self._watched.master_for(self.NAME, **given)
        self._clients.append(client)
        return client

    def wait_for_master(self, server):
        """Wait until this one is the master, for all that ask."""
        until(lambda: self._port_of_master() == server.port and server.info()["role"] == "master")

    def _port_of_master(self):
        return self._watched.discover_master(self.NAME)[1]

    def remove(self):
        """End it; the servers that it looks after are others'."""
        self._clients += self._watched.sentinels
        super().remove()


class Cluster:
    """Masters that share the keys, each with so many replicas."""

    SLOTS = 16_384

    def __init__(self, masters=3, replicas=0):
        options = {
            "cluster-enabled": "yes",
            "cluster-node-timeout": "1000",  # milliseconds until a node is taken to be dead
            "cluster-replica-validity-factor": "0",  # any replica may take its place
        }
        self._clients = []
        self.nodes = []
        try:
            for _ in range(masters * (1 + replicas)):
                self.nodes.append(Server(LOOPBACK, **options))
            self._join(masters)
        except BaseException:
            self.remove()
            raise

    def _join(self, masters):
        asks = [node.client() for node in self.nodes]
        for number, (ask, node) in enumerate(zip(asks, self.nodes)):
            ask.cluster("set-config-epoch", number + 1)
            if number < masters:
                bounds = (self.SLOTS * at // masters for at in (number, number + 1))
                ask.cluster("addslots", *range(*bounds))
            asks[0].cluster("meet", node.address, node.port)
        until(lambda: all(len(ask.cluster("nodes")) == len(asks) for ask in asks))
        for number, ask in enumerate(asks[masters:]):
            ask.cluster("replicate", asks[number % masters].cluster("myid"))
        until(lambda: all(self._is_ready(ask, masters) for ask in asks))
        until(lambda: all(node.is_linked() for node in self.nodes[masters:]))

    def _is_ready(self, ask, masters):
        known = ask.cluster("nodes").values()
        if sum("master" in node["flags"] for node in known) != masters:
            return False
        return ask.cluster("info")["cluster_state"] == "ok"

    def client(self, **options):
        """A new client of the whole cluster."""
        running = next(node for node in self.nodes if node.is_running())
        given = {"socket_timeout": TIMEOUT, **options}
        client = RedisCluster(running.address, running.port, **given)
        self._clients.append(client)
        return client

    def master_of(self, key):
        """The server that has the key, and may be asked for it."""
        having = [node for node in self.nodes if node.is_running() and node.has(key)]
        return having[0] if having else None

    def wait_for_master(self, key):
        """Wait until there is one that has the key, when the one before was killed."""
        until(lambda: self.master_of(key) is not None)

    def remove(self):
        """End all of it."""
        for client in self._clients:
            client.close()
        for node in self.nodes:
            node.remove()


def _free_port():
    while True:
        port = random.choice(PORTS)
        with socket.socket() as unused, contextlib.suppress(OSError):
            unused.bind((LOOPBACK, port))
            return port

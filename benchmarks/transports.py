"""Ways to get one event to several processes, each as its documentation shows it.

A transport is made before its workers are forked. `receive(number, count)` is a generator in a
worker: it yields None when it is connected, and then each event; `connect` and `send` are its
poster's. `servers` are the processes that it needs besides.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import tempfile
import threading
import time

from common import name

import stdevents


class Transport:
    """What most of them have in common."""

    needs = ""  # a module that may not be there
    ordered = False  # do all workers get the events of several posters in one order?
    servers = ()

    def __init__(self, workers, room):
        self.workers = workers
        self.room = room  # bytes that all events take together, at most
        self.folder = tempfile.mkdtemp()

    @classmethod
    def is_here(cls):
        """Is what it needs installed?"""
        return not cls.needs or importlib.util.find_spec(cls.needs) is not None

    def connect(self):
        """Be the poster."""

    def flush(self):
        """Have all that was sent go out."""

    def close(self):
        """Leave nothing."""
        shutil.rmtree(self.folder)


class Stdevents(Transport):
    """One post an event; the workers' own loops wake, and handlers count."""

    title = "stdevents"
    ordered = True

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.bus_name = name()
        self.bus = stdevents.Bus()

    def receive(self, number, count):
        """The handler runs in the loop's thread, and this one waits for the last event."""
        received, done = [], threading.Event()

        def handle(data, event, source, pid):
            received.append(data["n"])
            if len(received) == count:
                done.set()

        self.bus.register(handle, "cache")
        self.bus.configure(self.bus_name, size=self.room, wait_max=30)
        yield None
        done.wait()
        yield from received
        self.bus.close()

    def connect(self):
        self.bus.configure(self.bus_name, size=self.room, interval=0, wait_max=30)

    def send(self, data):
        self.bus.post("cache", "drop", data)

    def close(self):
        self.bus.close()
        super().close()


class StdeventsMany(Stdevents):
    """The same with `post_many`, a hundred events at once."""

    title = "stdevents, post_many of 100"

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.waiting = []

    def send(self, data):
        self.waiting.append(("cache", "drop", data))
        if len(self.waiting) == 100:
            self.flush()

    def flush(self):
        self.bus.post_many(self.waiting)
        self.waiting.clear()


class Queues(Transport):
    """A multiprocessing.Queue for each worker."""

    title = "multiprocessing.Queue each"

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.queues = [multiprocessing.Queue() for _ in range(workers)]

    def receive(self, number, count):
        yield None
        for _ in range(count):
            yield self.queues[number].get()["n"]

    def send(self, data):
        for queue in self.queues:
            queue.put(data)


class ManagerQueues(Queues):
    """Queues of one multiprocessing.Manager."""

    title = "Manager().Queue each"

    def __init__(self, workers, room):
        Transport.__init__(self, workers, room)
        self.manager = multiprocessing.Manager()
        self.servers = (self.manager._process.pid,)
        self.queues = [self.manager.Queue() for _ in range(workers)]

    def close(self):
        self.manager.shutdown()
        super().close()


class Pipes(Transport):
    """A pipe for each worker, with JSON lines."""

    title = "pipe each, JSON lines"

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.pipes = [os.pipe() for _ in range(workers)]

    def receive(self, number, count):
        yield None
        with open(self.pipes[number][0], "rb", closefd=False) as lines:
            for _ in range(count):
                yield json.loads(lines.readline())[2]["n"]

    def send(self, data):
        line = json.dumps(["cache", "drop", data]).encode() + b"\n"
        for _, end in self.pipes:
            left = line
            while left:
                left = left[os.write(end, left) :]

    def close(self):
        for pair in self.pipes:
            for end in pair:
                os.close(end)
        super().close()


class Redis(Transport):
    """Redis publish and subscribe, by a unix socket."""

    title = "Redis pub/sub"
    needs = "redis"
    ordered = True

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.socket = f"{self.folder}/redis.sock"
        # Its default would throw a subscriber out that is 32 MB behind.
        command = ["redis-server", "--port", "0", "--unixsocket", self.socket, "--save", "",
                   "--client-output-buffer-limit", "pubsub 0 0 0"]  # fmt: skip
        self.server = subprocess.Popen(command, stdout=subprocess.DEVNULL, cwd=self.folder)
        self.servers = (self.server.pid,)
        while not os.path.exists(self.socket):
            time.sleep(0.01)

    @classmethod
    def is_here(cls):
        return super().is_here() and shutil.which("redis-server") is not None

    def _client(self):
        import redis

        return redis.Redis(unix_socket_path=self.socket)

    def receive(self, number, count):
        subscriber = self._client().pubsub(ignore_subscribe_messages=False)
        subscriber.subscribe("cache")
        subscriber.get_message(timeout=30)
        yield None
        for _ in range(count):
            message = subscriber.get_message(timeout=60)
            yield json.loads(message["data"])[2]["n"]

    def connect(self):
        self.client = self._client()

    def send(self, data):
        self.client.publish("cache", json.dumps(["cache", "drop", data]))

    def close(self):
        self.server.terminate()
        self.server.wait()
        super().close()


class ZeroMQ(Transport):
    """ZeroMQ PUB and SUB, by ipc; no high-water mark, since events beyond it are dropped."""

    title = "ZeroMQ PUB/SUB"
    needs = "zmq"

    def receive(self, number, count):
        import zmq

        socket = zmq.Context().socket(zmq.SUB)
        socket.set_hwm(0)
        socket.subscribe(b"")
        socket.connect(f"ipc://{self.folder}/socket")
        yield None
        for _ in range(count):
            yield json.loads(socket.recv())[2]["n"]

    def connect(self):
        import zmq

        # XPUB is PUB that tells who has subscribed; verbose: each, not only the first.
        self.socket = zmq.Context().socket(zmq.XPUB)
        self.socket.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.socket.set_hwm(0)
        self.socket.bind(f"ipc://{self.folder}/socket")
        for _ in range(self.workers):
            self.socket.recv()

    def send(self, data):
        self.socket.send(json.dumps(["cache", "drop", data]).encode())

    def close(self):
        self.socket.close()
        super().close()


class Iceoryx(Transport):
    """iceoryx2 publish and subscribe, of slices of bytes; a worker looks every half millisecond."""

    title = "iceoryx2"
    needs = "iceoryx2"

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.service = name()

    def _open(self):
        import ctypes

        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self.iceoryx2 = iceoryx2
        self.node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        of_bytes = self.node.service_builder(iceoryx2.ServiceName.new(self.service))
        of_bytes = of_bytes.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        of_bytes = of_bytes.subscriber_max_buffer_size(1024).enable_safe_overflow(False)
        of_bytes = of_bytes.max_subscribers(self.workers)
        return of_bytes.open_or_create()

    def receive(self, number, count):
        subscriber = self._open().subscriber_builder().buffer_size(1024).create()
        yield None
        left = count
        while left:
            sample = subscriber.receive()
            if sample is None:
                time.sleep(0.0005)
                continue
            yield json.loads(bytes(sample.payload().as_memory_view()))[2]["n"]
            sample.delete()
            left -= 1
        del sample, subscriber, self.node  # their files go with them

    def connect(self):
        import ctypes

        builder = self._open().publisher_builder().initial_max_slice_len(8192)
        wait = self.iceoryx2.BackpressureStrategy.RetryUntilDelivered
        self.publisher = builder.backpressure_strategy(wait).create()
        self.memmove = ctypes.memmove

    def send(self, data):
        text = json.dumps(["cache", "drop", data]).encode()
        sample = self.publisher.loan_slice_uninit(len(text))
        self.memmove(sample.payload_ptr, text, len(text))
        sample.assume_init().send()

    def close(self):
        del self.publisher, self.node
        super().close()


class SQLite(Transport):
    """A table that all workers look into, a row an event; no fsync."""

    title = "SQLite table"
    ordered = True

    def __init__(self, workers, room):
        super().__init__(workers, room)
        self.path = f"{self.folder}/events.db"
        with contextlib.closing(self._open()) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE events (id INTEGER PRIMARY KEY, event TEXT)")

    def _open(self):
        database = sqlite3.connect(self.path, timeout=60, isolation_level=None)
        database.execute("PRAGMA synchronous = OFF")
        return database

    def receive(self, number, count):
        database = self._open()
        yield None
        last = received = 0
        while received < count:
            rows = database.execute("SELECT id, event FROM events WHERE id > ?", (last,)).fetchall()
            for row, text in rows:
                yield json.loads(text)[2]["n"]
                last = row
            received += len(rows)
            if not rows:
                time.sleep(0.002)

    def connect(self):
        self.database = self._open()

    def send(self, data):
        event = json.dumps(["cache", "drop", data])
        self.database.execute("INSERT INTO events (event) VALUES (?)", (event,))

    def close(self):
        self.database.close()
        super().close()


OURS = [Stdevents, StdeventsMany]
OTHERS = [Queues, ManagerQueues, Pipes, Redis, ZeroMQ, Iceoryx, SQLite]

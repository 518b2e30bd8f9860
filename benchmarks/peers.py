"""What a user would take instead: as its documentation shows it, and set to lose nothing.

An event is one JSON text to them, made and read once, and a batch one text of a hundred: for each
of them that is less work than a hundred messages.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import multiprocessing
import os
import shutil
import sqlite3
import subprocess
import time

from common import name
from transports import GROWS, WAITS, Texts, Transport

PIPE_SIZE = 1 << 20  # bytes, the most that Linux gives without privileges
LOOK_EVERY = 0.0005  # seconds, where nothing wakes a worker; as ours in a burst


class Queues(Transport):
    """A multiprocessing.Queue for each worker. They pickle, so the events need no JSON."""

    title = "multiprocessing.Queue each"
    slow = GROWS

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.queues = self.made()

    def made(self):
        return [multiprocessing.Queue() for _ in range(self.workers)]

    def open(self, number, note):
        self.queue, self.note = self.queues[number], note

    def take(self):
        left = self.count
        while left:
            some = self.queue.get()
            for data in some:
                self.note(data)
            left -= len(some)

    def send(self, some):
        for queue in self.queues:
            queue.put(some)


class ManagerQueues(Queues):
    """Queues of one multiprocessing.Manager, which is a process of its own."""

    title = "Manager().Queue each"
    takes_long = 20

    def made(self):
        self.manager = multiprocessing.Manager()
        self.servers = (self.manager._process.pid,)
        return [self.manager.Queue() for _ in range(self.workers)]

    def close(self):
        self.manager.shutdown()
        super().close()


class FasterFifo(Texts):
    """A queue of faster-fifo for each worker, emptied as far as it is filled."""

    title = "faster-fifo queue each"
    needs = "faster_fifo"
    slow = WAITS

    def __init__(self, *sizes):
        super().__init__(*sizes)
        import faster_fifo

        self.queues = [
            faster_fifo.Queue(self.room, loads=bytes, dumps=bytes) for _ in range(self.workers)
        ]

    def listen(self, number):
        self.queue = self.queues[number]

    def take(self):
        left = self.count
        while left:
            for text in self.queue.get_many(timeout=60):
                left -= self.hand_over(text)

    def send(self, some):
        text = self.text_of(some).encode()
        for queue in self.queues:
            queue.put(text)


class Pipes(Texts):
    """A pipe for each worker, with JSON lines."""

    title = "pipe each, JSON lines"
    slow = WAITS

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.pipes = [os.pipe() for _ in range(self.workers)]
        for _, end in self.pipes:
            enlarge(end)

    def listen(self, number):
        lines = open(self.pipes[number][0], "rb", PIPE_SIZE, closefd=False)  # noqa: SIM115
        self.receive = lines.readline

    def send(self, some):
        line = self.text_of(some).encode() + b"\n"
        for _, end in self.pipes:
            left = line
            while left:
                left = left[os.write(end, left) :]

    def close(self):
        for pair in self.pipes:
            for end in pair:
                os.close(end)
        super().close()


class Connections(Texts):
    """A multiprocessing.Pipe for each worker."""

    title = "multiprocessing.Pipe each"
    slow = WAITS

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.pipes = [multiprocessing.Pipe(duplex=False) for _ in range(self.workers)]
        for _, end in self.pipes:
            enlarge(end.fileno())

    def listen(self, number):
        self.receive = self.pipes[number][0].recv_bytes

    def send(self, some):
        text = self.text_of(some).encode()
        for _, end in self.pipes:
            end.send_bytes(text)

    def close(self):
        for pair in self.pipes:
            for end in pair:
                end.close()
        super().close()


class Redis(Texts):
    """Redis publish and subscribe, by a unix socket."""

    title = "Redis pub/sub"
    needs = "redis"
    takes_long = 5
    ordered = True

    def __init__(self, *sizes):
        super().__init__(*sizes)
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

    def client(self):
        import redis

        return redis.Redis(unix_socket_path=self.socket)

    def listen(self, number):
        self.subscriber = self.client().pubsub(ignore_subscribe_messages=False)
        self.subscriber.subscribe("cache")
        self.subscriber.get_message(timeout=30)

    def receive(self):
        return self.subscriber.get_message(timeout=60)["data"]

    def connect(self):
        self.publish = self.client().publish

    def send(self, some):
        self.publish("cache", self.text_of(some))

    def close(self):
        self.server.terminate()
        self.server.wait()
        super().close()


class ZeroMQ(Texts):
    """ZeroMQ PUB and SUB, by ipc, with high-water marks that hold more than a burst."""

    title = "ZeroMQ PUB/SUB"
    needs = "zmq"

    def socket(self, kind):
        import zmq

        socket = zmq.Context().socket(getattr(zmq, kind))
        socket.set_hwm(2 * self.count + 1000)  # their room comes back in lots
        return socket

    def listen(self, number):
        self.subscriber = self.socket("SUB")
        self.subscriber.subscribe(b"")
        self.subscriber.connect(f"ipc://{self.folder}/socket")
        self.receive = self.subscriber.recv

    def connect(self):
        import zmq

        # XPUB is PUB that tells who has subscribed; verbose: each, not only the first.
        self.publisher = self.socket("XPUB")
        self.publisher.setsockopt(zmq.XPUB_VERBOSE, 1)
        self.publisher.bind(f"ipc://{self.folder}/socket")
        for _ in range(self.workers):
            self.publisher.recv()

    def send(self, some):
        self.publisher.send(self.text_of(some).encode())

    def close(self):
        self.publisher.close()
        super().close()


class Iceoryx(Texts):
    """iceoryx2 publish and subscribe, of slices of bytes."""

    title = "iceoryx2"
    needs = "iceoryx2"
    slow = WAITS

    def __init__(self, workers, count, length, batch):
        super().__init__(workers, count, length, batch)
        self.service = name()
        self.longest = batch * (length + 256)
        self.buffer = max(16, min(1024, (64 << 20) // self.longest))  # messages

    def opened(self):
        import iceoryx2

        iceoryx2.set_log_level(iceoryx2.LogLevel.Error)
        self.iceoryx2 = iceoryx2
        self.node = iceoryx2.NodeBuilder.new().create(iceoryx2.ServiceType.Ipc)
        of_bytes = self.node.service_builder(iceoryx2.ServiceName.new(self.service))
        of_bytes = of_bytes.publish_subscribe(iceoryx2.Slice[ctypes.c_uint8])
        of_bytes = of_bytes.subscriber_max_buffer_size(self.buffer).enable_safe_overflow(False)
        return of_bytes.max_subscribers(self.workers).open_or_create()

    def listen(self, number):
        self.subscriber = self.opened().subscriber_builder().buffer_size(self.buffer).create()

    def take(self):
        left, receive = self.count, self.subscriber.receive
        while left:
            sample = receive()
            if sample is None:
                time.sleep(LOOK_EVERY)
                continue
            left -= self.hand_over(bytes(sample.payload().as_memory_view()))
            sample.delete()

    def leave(self):
        del self.subscriber, self.node  # their files go with them

    def connect(self):
        builder = self.opened().publisher_builder().initial_max_slice_len(self.longest)
        wait = self.iceoryx2.BackpressureStrategy.RetryUntilDelivered
        self.publisher = builder.backpressure_strategy(wait).create()

    def send(self, some):
        text = self.text_of(some).encode()
        sample = self.publisher.loan_slice_uninit(len(text))
        ctypes.memmove(sample.payload_ptr, text, len(text))
        sample.assume_init().send()

    def close(self):
        del self.publisher, self.node
        super().close()


class SQLite(Texts):
    """A table in memory, a row a message; workers look at its data_version, and then into it."""

    title = "SQLite table, data_version"
    ordered = True
    slow = GROWS

    def __init__(self, *sizes):
        super().__init__(*sizes)
        self.last = 0
        with contextlib.closing(self.opened()) as database:
            database.execute("PRAGMA journal_mode = WAL")
            database.execute("CREATE TABLE messages (id INTEGER PRIMARY KEY, text TEXT)")

    def opened(self):
        database = sqlite3.connect(f"{self.folder}/events.db", timeout=60, isolation_level=None)
        database.execute("PRAGMA synchronous = OFF")
        return database

    def listen(self, number):
        self.database, self.version = self.opened(), None

    def take(self):
        left, query = self.count, self.database.execute
        while left:
            version = query("PRAGMA data_version").fetchone()
            if version == self.version:
                time.sleep(LOOK_EVERY)
                continue
            self.version = version  # before the look: what comes later changes it again
            rows = query("SELECT id, text FROM messages WHERE id > ?", (self.last,)).fetchall()
            for self.last, text in rows:
                left -= self.hand_over(text)

    def connect(self):
        self.database = self.opened()

    def send(self, some):
        self.database.execute("INSERT INTO messages (text) VALUES (?)", (self.text_of(some),))

    def close(self):
        self.database.close()
        super().close()


def enlarge(end):
    """Have a pipe hold as much as it may."""
    with contextlib.suppress(AttributeError, OSError):  # Python 3.10, Linux
        fcntl.fcntl(end, fcntl.F_SETPIPE_SZ, PIPE_SIZE)


PEERS = (
    Connections, Pipes, Queues, ManagerQueues, FasterFifo, ZeroMQ, Iceoryx, Redis, SQLite,
)  # fmt: skip

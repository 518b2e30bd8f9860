"""The relay beside redis-py's own XADD and XREAD, in the same run, with a redis-server of its own.

    python3 benchmarks/relay.py [--rounds N] [--json]

    rate      a stream is read to its end: by XREAD of 256 entries each, and by a reader of the
              relay, which also checks each event, and has it on the bus
    post      one XADD, and one post of a process that does not read; and one event of 50 that are
              posted together
    latency   from an XADD until another connection's XREAD has it, and from a post until a
              handler of another host has it: both are woken, by Redis, and by Redis and the bus

Needs redis-py, and a redis-server on the PATH; nothing of it is written to a disk.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import select
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from statistics import median

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import redis

import stdevents
from stdevents._bus.bus import life_of
from stdevents._relay import reader as _reader
from stdevents._relay import stream as _stream

ROOT = Path(__file__).resolve().parent.parent
ENTRIES = 20_000
BATCH = _reader.ENTRIES
POSTS = 500
MANY = 50  # that are posted together
DATA = {"key": "user:12345", "version": 17, "by": "worker 3", "hot": True}  # 60 bytes
FIELDS = {
    "v": 1,
    "host": "host",
    "pid": 4711,
    "event": json.dumps(["cache", "drop", DATA], separators=(",", ":")),
}


# A worker without a relay, on whose bus there is a poster that never reads.
WORKER = """
import sys, stdevents
with stdevents.Bus(sys.argv[1], interval=0):
    print(flush=True)
    sys.stdin.read()
"""


class Paths:
    """What is timed, each beside its yardstick; all of it in seconds for one."""

    def __init__(self, folder):
        self.client = redis.Redis(unix_socket_path=f"{folder}/socket", socket_timeout=5)
        self.bus = stdevents.Bus(f"benchmark-{os.getpid()}", size="16m", interval=0)
        pipeline = self.client.pipeline(transaction=False)
        for _ in range(ENTRIES):
            pipeline.xadd("full", FIELDS)
        pipeline.execute()

    def read(self):
        """The yardstick of a reader."""
        start, position, count = time.perf_counter(), "0-0", 0
        while True:
            answer = self.client.xread({"full": position}, count=BATCH)
            if not answer:
                break
            entries = answer[0][1] if isinstance(answer, list) else answer[b"full"][0]
            count += len(entries)
            position = entries[-1][0]
        assert count == ENTRIES
        return (time.perf_counter() - start) / ENTRIES

    def relay(self):
        """A reader of the relay, on a bus of its own."""
        bus = stdevents.Bus(f"benchmark-{os.getpid()}-reader", size="16m", interval=0)
        life, counts = life_of(bus), Counter()
        stream = _stream.Stream(self.client, "full")
        seat = life.state.seat
        reader = _reader.Reader(seat, life.handlers, stream, "host", "oldest", counts)
        assert reader.elect()
        start = time.perf_counter()
        while reader.read():
            pass
        taken = time.perf_counter() - start
        assert counts["relayed"] == ENTRIES
        bus.close()
        return taken / ENTRIES

    def posts(self):
        """One XADD, one post, and one of many."""
        name = f"benchmark-{os.getpid()}-poster"
        worker = subprocess.Popen(
            [sys.executable, "-c", WORKER, name],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
        )
        worker.stdout.readline()
        bus = stdevents.Bus(name, interval=0, role="poster")
        relay = stdevents.Relay(bus, self.client, "posts", maxlen=100_000)
        relay.post("cache", "drop", DATA)
        start = time.perf_counter()
        for _ in range(POSTS):
            self.client.xadd("bare", FIELDS, maxlen=100_000, approximate=True)
        between = time.perf_counter()
        for _ in range(POSTS):
            relay.post("cache", "drop", DATA)
        end = time.perf_counter()
        for _ in range(POSTS // MANY):
            relay.post_many([("cache", "drop", DATA)] * MANY)
        after = time.perf_counter()
        relay.close()
        bus.close()
        worker.communicate()
        return (between - start) / POSTS, (end - between) / POSTS, (after - end) / POSTS

    def bare_latency(self):
        """From XADD to XREAD in another thread, which is waiting for it."""
        arrived, ready = [], threading.Semaphore(0)
        last = self.client.xadd("bare", FIELDS)

        def read():
            position = last
            for _ in range(POSTS // 5):
                ready.release()
                answer = self.client.xread({"bare": position}, block=0)
                arrived.append(time.perf_counter())
                entries = answer[0][1] if isinstance(answer, list) else answer[b"bare"][0]
                position = entries[-1][0]

        thread = threading.Thread(target=read)
        thread.start()
        sent = []
        for _ in range(POSTS // 5):
            ready.acquire()
            time.sleep(0.001)  # until it waits
            sent.append(time.perf_counter())
            self.client.xadd("bare", FIELDS)
        thread.join()
        return median(end - begin for begin, end in zip(sent, arrived))

    def relayed_latency(self):
        """From the post to a handler of this host, whose bus is polled when there is news."""
        arrived, sent = [], []

        def handler(data, event, source, pid):
            arrived.append(time.perf_counter())

        self.bus.register(handler, "latency")
        relay = stdevents.Relay(self.bus, self.client, "posts")
        while not relay.stats().reading:
            time.sleep(0.01)
        for number in range(POSTS // 5):
            time.sleep(0.001)
            sent.append(time.perf_counter())
            relay.post("latency", "event", DATA)
            while len(arrived) <= number:
                select.select([self.bus.fileno()], [], [])
                self.bus.poll()
        relay.close()
        self.bus.unregister(handler, "latency")
        return median(end - begin for begin, end in zip(sent, arrived))

    def round(self):
        """Each path's time, and its yardstick's."""
        read, relay = self.read(), self.relay()
        xadd, post, many = self.posts()
        return {
            "rate, XREAD / relay": (read, relay),
            "post / XADD": (post, xadd),
            "post_many / XADD, an event": (many, xadd),
            "latency / XADD to XREAD": (self.relayed_latency(), self.bare_latency()),
        }

    def close(self):
        """Leave the bus."""
        self.bus.close()
        self.client.close()


def measure(rounds):
    """`{path: {"best": ratio, "median": ratio, "microseconds": both medians}}`."""
    with tempfile.TemporaryDirectory(prefix="stdevents-") as folder:
        server = subprocess.Popen(
            ["redis-server", "--port", "0", "--unixsocket", f"{folder}/socket", "--save", ""],
            stdout=subprocess.DEVNULL,
        )
        try:
            while not os.path.exists(f"{folder}/socket"):
                time.sleep(0.01)
            paths = Paths(folder)
            results = [paths.round() for _ in range(rounds)]
            paths.close()
        finally:
            server.kill()
            server.wait()
    table = {}
    for path in results[0]:
        timed, yardstick = zip(*(result[path] for result in results))
        table[path] = {
            "best": min(timed) / min(yardstick),
            "median": median(timed) / median(yardstick),
            "microseconds": [median(timed) * 1e6, median(yardstick) * 1e6],
        }
    return table


def main():
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--rounds", type=int, default=20, help="how often (%(default)s)")
    parser.add_argument("--json", action="store_true", help="the figures as JSON")
    options = parser.parse_args()
    table = measure(options.rounds)
    if options.json:
        print(json.dumps(table, indent=1))
        return
    print(f"{platform.python_implementation()} {platform.python_version()}, {platform.machine()}")
    print(f"{'':28}{'best':>8}{'median':>8}{'µs of each':>20}")
    for path, row in table.items():
        each = " / ".join(f"{one:.1f}" for one in row["microseconds"])
        print(f"{path:28}{row['best']:8.2f}{row['median']:8.2f}{each:>20}")


if __name__ == "__main__":
    main()

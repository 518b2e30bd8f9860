"""The program of test_two_copies.py: each process has three copies of the package, and forks.

stdevents                  as it is
app_one._vendor.stdevents  vendored
app_two.events             vendored under another name
"""

from __future__ import annotations

import hashlib
import importlib
import json
import os
import random
import signal
import sys
import threading

from inside import under_lock

PACKAGES = ("stdevents", "app_one._vendor.stdevents", "app_two.events")
PROCESSES = 3
SECONDS = 55


class Copy:
    """A worker of one copy of the package: posts in a thread of its own, and takes all there is."""

    def __init__(self, package, number, expected):
        self.stdevents = importlib.import_module(package)
        self.number = number
        self.expected = expected
        self.bus = self.stdevents.Bus(name, size="16m", interval=0, timeout=1000, wait_max=30)
        self.begin()

    def begin(self):
        self.seen, self.ran, self.complete = [], [], threading.Event()
        self.bus.register(self.note, "test", "plain")
        self.bus.register(self.run, "test", "unique")

    def note(self, data, event, source, pid):
        self.seen.append((*data, pid))
        if len(self.seen) == self.expected:
            self.complete.set()

    def run(self, data, event, source, pid):
        self.ran.append(data)

    def post(self, process):
        chance = random.Random(f"{seed} {process} {self.number}")
        for count in range(rounds):
            what = [process, self.number, count]
            self.bus.post("test", "plain", what)
            if count % 10 == 0:  # the same key by all of them: one runs
                self.bus.post("test", "unique", what, unique=count)
            if chance.random() < 0.05:
                self.bus.poll()

    def result(self):
        assert self.complete.wait(SECONDS), len(self.seen)
        self.bus.configure(interval=0)
        self.bus.poll()
        stats = self.bus.stats()
        assert stats.lost == stats.handler_errors == 0
        for process in range(PROCESSES):  # the order of each poster
            for number in range(len(PACKAGES)):
                mine = [item[2] for item in self.seen if item[:2] == (process, number)]
                assert mine == list(range(rounds))
        return hashlib.sha256(repr(self.seen).encode()).hexdigest(), self.ran


def work(process, barrier):
    """Have all copies post and handle at once; what each has seen, and run."""
    for copy in copies:
        copy.bus.configure(interval=0.01)
    os.read(barrier, 1)
    threads = [threading.Thread(target=copy.post, args=(process,)) for copy in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [copy.result() for copy in copies]


def lock_each_other_out():
    """What one copy has locked the others have to wait for, in the same process too."""
    for copy in copies:
        copy.bus.configure(wait_max=0.01)
    for holder in copies:
        under_lock(holder.bus, assert_locked_out, [copy for copy in copies if copy is not holder])


def assert_locked_out(copies):
    for copy in copies:
        try:
            assert not copy.bus.post("test", "locked out")
        except copy.stdevents.LockTimeout:
            continue


def main():
    barrier, children = os.pipe(), {}
    for process in range(PROCESSES):
        told = os.pipe()
        child = os.fork()
        if not child:
            signal.alarm(SECONDS)
            line = json.dumps(work(process, barrier[0])) + "\n"
            with open(told[1], "w") as pipe:
                pipe.write(line)
                pipe.flush()
                os._exit(0)
        os.close(told[1])
        children[child] = told[0]
    os.write(barrier[1], b"!" * PROCESSES)
    for child, pipe in children.items():
        with open(pipe) as file:
            sys.stdout.write(file.read())
        assert os.waitpid(child, 0)[1] == 0
    lock_each_other_out()
    for copy in copies:
        copy.bus.close()


if __name__ == "__main__":
    name, seed, rounds = sys.argv[1], sys.argv[2], int(sys.argv[3])
    sys.path.insert(0, sys.argv[4])
    total = PROCESSES * len(PACKAGES) * rounds
    copies = [Copy(package, number, total) for number, package in enumerate(PACKAGES)]
    main()

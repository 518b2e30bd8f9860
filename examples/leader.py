"""Four workers, of which one runs the timed job; when it is killed, another takes over.

pip install .
python examples/leader.py
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import threading

import stdevents

WORKERS = 4
EVERY = 0.05  # seconds


def work(ran):
    """Have a timer in each worker: all ask, and one of them runs the job."""
    stdevents.configure("my-app")

    def tick():
        if stdevents.lead("cleaner"):
            ran.put(os.getpid())
        timer = threading.Timer(EVERY, tick)
        timer.daemon = True
        timer.start()

    tick()
    threading.Event().wait()  # the work of a worker


def main():
    ran = multiprocessing.SimpleQueue()
    workers = [multiprocessing.Process(target=work, args=(ran,)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    alive = {worker.pid for worker in workers}
    while alive:
        leader = ran.get()
        assert {ran.get() for _ in range(5)} == {leader}, "two of them ran it"
        os.kill(leader, signal.SIGKILL)
        alive.remove(leader)
        print(f"worker {leader} ran it, and is dead; {len(alive)} are left", flush=True)
        next(worker for worker in workers if worker.pid == leader).join()
        while not ran.empty():  # what it had run until then
            ran.get()


if __name__ == "__main__":
    main()

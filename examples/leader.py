"""Four workers, of which one runs the timed job; when it is killed, another takes over.

pip install .
python examples/leader.py
"""

from __future__ import annotations

import multiprocessing
import os
import threading

import stdevents

WORKERS = 4
EVERY = 0.05  # seconds


def work(runs):
    """Have a timer in each worker: all ask, and one of them runs the job."""
    stdevents.configure("my-app")

    def tick():
        if stdevents.lead("cleaner"):
            os.write(runs, b"%10d" % os.getpid())  # the job
        timer = threading.Timer(EVERY, tick)
        timer.daemon = True
        timer.start()

    tick()
    threading.Event().wait()  # the work of a worker


def main():
    stdevents.configure("my-app", role="listener")  # the parent never leads
    told, runs = os.pipe()
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=work, args=(runs,)) for _ in range(WORKERS)]
    for worker in workers:
        worker.start()
    alive = {worker.pid: worker for worker in workers}
    while alive:
        leader = int(os.read(told, 10))
        if leader in alive:  # else it ran it before it was killed
            alive[leader].kill()
            alive.pop(leader).join()
            print(f"worker {leader} ran it, and is dead; {len(alive)} are left", flush=True)
    stdevents.close()


if __name__ == "__main__":
    main()

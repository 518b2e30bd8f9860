"""A script that forks: each child is a worker of its own, with the handlers of its parent.

pip install .
python examples/forked.py & sleep 1
python -m stdevents status my-app
python -m stdevents post my-app jobs stop '"enough"'
"""

from __future__ import annotations

import os
import threading

import stdevents

CHILDREN = 3
enough = threading.Event()


@stdevents.on("jobs", "stop")
def stop(data, event, source, pid):
    print(f"{os.getpid()} stops, says {pid}: {data}", flush=True)
    enough.set()


def main():
    stdevents.configure("my-app")
    children = []
    for _ in range(CHILDREN):
        child = os.fork()
        if child == 0:
            enough.wait()  # its work
            stdevents.close()
            os._exit(0)
        children.append(child)
    enough.wait()
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()

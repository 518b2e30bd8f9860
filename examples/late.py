"""A worker that starts late has the flags that were set before: it asks, and who knows answers.

pip install .
python examples/late.py

Promised: a late worker knows all that was set before it asked, and hears the rest. Not promised: a
value that nobody can tell, since all that knew it have ended, or are stopped or busy: then it is
that of DEFAULTS. What has to outlive the workers belongs in a database, and is read from there.
"""

from __future__ import annotations

import multiprocessing
import os
import threading

import stdevents

DEFAULTS = {"theme": "light", "sale": False}
flags = {}
changing = threading.Lock()
knows = threading.Event()  # has it all the flags?
losses = 0


@stdevents.on("flags", "set")
def set_flag(data, event, source, pid):
    with changing:
        flags.update(data)


@stdevents.answer("flags", "all")
def tell(data, event, source, pid):
    with changing:
        return dict(flags) if knows.is_set() else None  # who has just started cannot tell


@stdevents.on("stdevents", "lost")
def forget(data, event, source, pid):
    global losses
    with changing:
        losses += 1
        knows.clear()
        flags.clear()
    threading.Thread(target=learn).start()  # a handler may not ask: it would wait for itself


def learn():
    """Have all flags: those that are set from now on come by themselves, the others by asking."""
    while not knows.is_set():
        before = losses
        told = [answer.value for answer in stdevents.ask("flags", "all").values()]
        with changing:
            if losses == before:  # else what was told may be older than what was lost
                known = next((value for value in told if value is not None), DEFAULTS)
                for flag, value in known.items():
                    flags.setdefault(flag, value)  # what has come by itself is newer
                knows.set()


def work(number, ready, over):
    stdevents.configure("my-app")  # first: from here on it hears what is set
    learn()
    print(f"worker {number} ({os.getpid()}) begins with {sorted(flags.items())}", flush=True)
    ready.set()
    over.wait()


def main():
    stdevents.configure("my-app", role="listener")
    over, workers = multiprocessing.Event(), []
    for number in range(3):
        ready = multiprocessing.Event()
        workers.append(multiprocessing.Process(target=work, args=(number, ready, over)))
        workers[-1].start()
        ready.wait()
        stdevents.wait(stdevents.post("flags", "set", {"theme": f"dark {number}"}))
    over.set()
    for worker in workers:
        worker.join()


if __name__ == "__main__":
    main()

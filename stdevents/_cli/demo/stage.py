"""The processes of the demo: started, told what to do by pipes, listened to, and ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from multiprocessing import resource_tracker
from typing import TYPE_CHECKING, Any, Iterable

from ..._errors import StdeventsError
from ..buses import remains_of
from ..outside import remove
from .verdict import Evidence
from .worker import work

if TYPE_CHECKING:
    from multiprocessing.process import BaseProcess

    from .worker import Pipe

FOUR = [1, 2, 3, 4]
FORKER, CHILD = 3, 5
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 15.0  # seconds until a worker that does not answer is given up


class Stage:
    """Four workers and one that is still to be forked; knows what they have reported."""

    def __init__(self, database: str) -> None:
        self.bus = f"stdevents-demo-{os.getpid()}"
        self.tiny = f"{self.bus}-tiny"
        self.evidence = Evidence()
        # By key and worker: when it was handled, and to what effect.
        self.handled: dict[str, dict[int, list[Any]]] = {}
        self._database = database
        self._pipes: dict[int, Pipe] = {}
        self._processes: dict[int, BaseProcess] = {}

    def start(self) -> None:
        """Start the workers, each a new Python: nothing but the name of the bus joins them.

        They hold back signals from their first instant, and go on to hold back Ctrl-C: that is
        for the demo, which then ends them.
        """
        # The tracker of multiprocessing lets signals through when it is started: so it is before.
        resource_tracker.ensure_running()
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
        spawn = multiprocessing.get_context("spawn")
        self._pipes[CHILD], for_child = spawn.Pipe()
        for number in FOUR:
            self._pipes[number], pipe = spawn.Pipe()
            pipes = pipe, for_child if number == FORKER else pipe
            process = spawn.Process(target=work, args=(number, self.bus, self._database, *pipes))
            process.start()
            self._processes[number] = process
            pipe.close()
        for_child.close()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

    def ask(self, workers: Iterable[int], command: str, *arguments: Any) -> dict[int, Any]:
        """Have workers do something, all at the same time; returns the answer of each."""
        for worker in workers:
            self._pipes[worker].send((command, *arguments))
        answers = {}
        for worker in workers:
            try:
                if not self._pipes[worker].poll(PATIENCE):
                    raise StdeventsError(f"demo: no answer to {command!r} within {PATIENCE:g} s")
                answers[worker] = self._pipes[worker].recv()
            except (EOFError, OSError):
                raise StdeventsError(f"demo: worker {worker} ended before its time") from None
        return answers

    def gather(self) -> None:
        """Have all that was posted handled, and gather what the workers say of that."""
        for _ in range(2):  # since a handler may post something
            for worker, answer in self.ask(self.evidence.since, "report").items():
                self.evidence.counts[worker], reports = answer
                for kind, what, *more in reports:
                    if kind == "posted":
                        (self.evidence.posted[what],) = more
                    elif kind == "handled":
                        self.evidence.seen.setdefault(worker, []).append(what)
                        self.handled.setdefault(what, {})[worker] = more
                    else:
                        self.evidence.local.append((worker, what))

    def end(self) -> None:
        """Have the workers end, as they do without a pipe; tell what they leave, and remove it."""
        deadline = time.monotonic() + PATIENCE
        before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)  # nothing is to interrupt this
        while self._pipes:
            self._pipes.popitem()[1].close()
        while self._processes:
            number, process = self._processes.popitem()
            process.join(max(0, deadline - time.monotonic()))
            if process.exitcode is None:
                process.kill()
                process.join()
            if process.exitcode:
                self.evidence.failed.append(f"worker {number} ended with {process.exitcode}")
        for name in (self.bus, self.tiny):
            if remains_of(name):
                self.evidence.left += remains_of(name)
                remove(name)
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

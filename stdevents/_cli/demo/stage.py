"""The processes of the demo: started, told what to do by pipes, listened to, and ended."""

from __future__ import annotations

import multiprocessing
import os
import signal
import time
from contextlib import contextmanager
from multiprocessing import connection, resource_tracker
from multiprocessing.process import BaseProcess
from typing import TYPE_CHECKING, Any, Callable, Iterator

from ..._errors import StdeventsError
from ..outside import remains_of, remove
from .verdict import Evidence, Posted
from .worker import Plan, Report, key, work

if TYPE_CHECKING:
    from .worker import Pipe

WORKERS = 4
FORKER, CHILD = 3, 5
HELD = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
PATIENCE = 15.0  # seconds until a worker that does not answer is given up


class DemoFailed(StdeventsError):
    """A worker ended before its time, or does not answer."""


class Stage:
    """Four workers and one that is still to be forked; knows what they have reported."""

    def __init__(self, database: str, rows: int) -> None:
        self.bus = f"stdevents-demo-{os.getpid()}"
        self.tiny = f"{self.bus}-tiny"
        self.pipes: dict[int, Pipe] = {}
        self.evidence = Evidence()
        self.posted: dict[str, Report] = {}
        self.handled: dict[str, dict[int, Report]] = {}
        self.answers: dict[str, dict[int, Report]] = {}
        self._plan = Plan(0, self.bus, database, rows)
        self._processes: list[BaseProcess] = []
        self._ended: list[Pipe] = []

    def start(self) -> None:
        """Start the workers, each a new Python: nothing but the name of the bus joins them."""
        # The tracker of multiprocessing lets signals through when it is started: so it is before.
        resource_tracker.ensure_running()
        with _signals_held():
            spawn = multiprocessing.get_context("spawn")
            self.pipes[CHILD], child_there = spawn.Pipe()
            for number in range(1, WORKERS + 1):
                self.pipes[number], there = spawn.Pipe()
                plan = self._plan._replace(number=number)
                pipe_of_child = child_there if number == FORKER else None
                process = spawn.Process(target=work, args=(plan, there, pipe_of_child))
                process.start()
                self._processes.append(process)
                there.close()
            child_there.close()

    # -- to and from the workers -----------------------------------------------------------------

    def tell(self, worker: int, command: str, *arguments: Any) -> None:
        self.pipes[worker].send((command, *arguments))

    def ask(self, workers: list[int], command: str, *arguments: Any) -> dict[int, Report]:
        """Tell workers to do something, and wait until each has answered."""
        self.answers.pop(command, None)
        for worker in workers:
            self.tell(worker, command, *arguments)
        return self.hear(command, workers)

    def hear(self, kind: str, workers: list[int]) -> dict[int, Report]:
        self.listen(lambda: self.answers.get(kind, {}).keys() >= set(workers), kind)
        return self.answers[kind]

    def listen(self, enough: Callable[[], bool], what: str) -> None:
        deadline = time.monotonic() + PATIENCE
        while not enough():
            ready = connection.wait(list(self.pipes.values()), deadline - time.monotonic())
            if not ready and time.monotonic() >= deadline:
                raise DemoFailed(f"demo: no answer to {what!r} within {PATIENCE:g} s")
            for worker, pipe in list(self.pipes.items()):
                if pipe in ready:
                    self._take(worker, pipe)

    def _take(self, worker: int, pipe: Pipe) -> None:
        try:
            report = pipe.recv()
        except (EOFError, OSError):
            raise DemoFailed(f"demo: worker {worker} ended before its time") from None
        kind = report["kind"]
        if kind == "posted":
            name = key(report["source"], report["event"], report["data"])
            self.posted[name] = {**report, "by": worker}
            self.evidence.posted[report["id"]] = Posted(name, report["unique"])
        elif kind == "handled" and report["pid"] is None:
            self.evidence.local.append((worker, report["same"]))
        elif kind == "handled":
            name = key(report["source"], report["event"], report["data"])
            self.handled.setdefault(name, {})[worker] = report
            self.evidence.seen.setdefault(worker, []).append(name)
        else:
            self.answers.setdefault(kind, {})[worker] = report

    def await_everywhere(self, source: str, event: str, count: int = 1) -> list[str]:
        """Wait until so many events of that name were handled by all; returns their keys."""
        since = self.evidence.since.items()

        def complete() -> list[str]:
            return [
                name
                for name, report in self.posted.items()
                if (report["source"], report["event"]) == (source, event)
                and self.handled.get(name, {}).keys() >= {w for w, i in since if i <= report["id"]}
            ]

        self.listen(lambda: len(complete()) >= count, f"{source} {event}")
        return complete()

    # -- the end ---------------------------------------------------------------------------------

    def end(self) -> None:
        """Have the workers close the bus and end, the forked one first; look what is left."""
        self.tell(CHILD, "end")
        self._ended.append(self.pipes.pop(CHILD))  # listened to no more
        child = self.answers["fork"][FORKER]["child"]
        ended = self.ask([FORKER], "await_child", child)
        if ended[FORKER]["status"]:
            self.evidence.failed.append("the forked worker failed")
        for number, process in enumerate(self._processes, 1):
            self.tell(number, "end")
            process.join(PATIENCE)
            if process.exitcode != 0:
                self.evidence.failed.append(f"worker {number} ended with {process.exitcode}")
        self.evidence.left = [*remains_of(self.bus), *remains_of(self.tiny)]

    def close(self) -> None:
        """Leave nothing, whatever has happened: workers end when their pipe does."""
        with _signals_held():
            for pipe in [*self.pipes.values(), *self._ended]:
                pipe.close()
            for process in self._processes:
                process.join(2)
                if process.exitcode is None:
                    process.kill()
                    process.join()
                process.close()
            for name in (self.bus, self.tiny):
                if remains_of(name):
                    remove(name)


@contextmanager
def _signals_held() -> Iterator[None]:
    """Have no signal end the demo in the middle of this; they are kept for when it is over.

    Processes that are started in it hold them too, and go on to hold Ctrl-C: that is for the
    demo, which then ends them.
    """
    before = signal.pthread_sigmask(signal.SIG_BLOCK, HELD)
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)

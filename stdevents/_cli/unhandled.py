"""Which of the events that came were handled nowhere, as far as an onlooker can tell.

Each worker tells how many events it had no handler for, not which. Where it had none for any of
those that came since the last look, that is the same.
"""

from __future__ import annotations

import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from .outside import OpenBus, Worker

WAIT = 1.0  # seconds for which workers are waited for that have not handled an event yet


class Unhandled:
    """The events that come on one bus, until all workers are done with them."""

    def __init__(self, bus: OpenBus) -> None:
        self._bus = bus
        self._before: dict[int, Worker] = {}
        self._through = 0  # up to there it is told, or will not be
        self._names: dict[tuple[str, str], None] = {}  # of those after it, in order
        self._last = 0
        self._until = 0.0
        self._begin(self._idle_workers())

    def note(self, event_id: int, source: str, event: str) -> None:
        """This event was shown."""
        if event_id > self._through:
            self._names[source, event] = None
            self._last = event_id
            self._until = time.monotonic() + WAIT

    def told(self) -> list[tuple[str, str]]:
        """Source and name of events that no worker has a handler for, each of them once."""
        if not self._names:
            if not self._before:  # the last look was at a busy moment
                self._begin(self._idle_workers())
            return []
        workers = self._idle_workers()
        if workers is None or any(worker.done < self._last for worker in workers.values()):
            if time.monotonic() >= self._until:  # one has no time, or does not poll
                self._begin(workers)
            return []
        names = list(self._names) if self._are_all_unhandled(workers) else []
        self._begin(workers)
        return names

    def _are_all_unhandled(self, workers: dict[int, Worker]) -> bool:
        """Did each worker have no handler for anything since the last look?"""
        return bool(workers) and all(
            serial in self._before
            and self._before[serial].done <= self._through
            and worker.unhandled - self._before[serial].unhandled
            == worker.done - self._before[serial].done
            for serial, worker in workers.items()
        )

    def _begin(self, workers: dict[int, Worker] | None) -> None:
        self._before = workers or {}
        done = [worker.done for worker in self._before.values()]
        self._through = max(done, default=self._bus.last)
        self._names = {}

    def _idle_workers(self) -> dict[int, Worker] | None:
        """The workers by serial, or None: a count and a DONE of different moments tell nothing.

        Without the lock: whoever stops this program, by Ctrl-Z, must not stop all posts.
        """
        earlier = self._bus.slots()
        workers = self._bus.slots()
        if workers != earlier or any(worker.position != worker.done for worker in workers):
            return None
        return {worker.serial: worker for worker in workers}

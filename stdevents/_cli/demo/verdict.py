"""What the workers of the demo reported, and whether all that is promised held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Iterator, NamedTuple


class Finding(NamedTuple):
    what: str
    found: str
    held: bool


class Posted(NamedTuple):
    key: str  # tells the event from all others of the demo: source, event and data, as JSON
    unique: bool
    by: int = 0  # the worker that posted it
    began: float = 0.0  # when its post did


@dataclass
class Evidence:
    """All that the workers reported, by their numbers."""

    posted: dict[int, Posted] = field(default_factory=dict)  # by id
    seen: dict[int, list[str]] = field(default_factory=dict)  # keys, in the order of handling
    since: dict[int, int] = field(default_factory=dict)  # from which id on each has to see all
    counts: dict[int, dict[str, Any]] = field(default_factory=dict)  # `stats()`, reads, stale
    local_of: int = 0  # the worker that the local event was posted in
    local: list[tuple[int, bool]] = field(default_factory=list)  # who had it; the very object?
    child: int = 0  # the worker that was forked
    tiny_posted: list[int] = field(default_factory=list)  # on the tiny bus: ids
    tiny_seen: list[list[Any]] = field(default_factory=list)  # [event, data]
    tiny_lost: int = 0  # what `stats()` counts
    failed: list[str] = field(default_factory=list)  # processes that ended badly
    left: list[str] = field(default_factory=list)  # folders and segments afterwards

    def total(self, what: str) -> int:
        return sum(counts[what] for counts in self.counts.values())

    def missed(self, worker: int) -> int:
        """How many events that all have to handle this worker has not, since it is one."""
        seen = {*self.seen.get(worker, ())}
        return sum(
            not posted.unique and number >= self.since[worker] and posted.key not in seen
            for number, posted in self.posted.items()
        )


def judge(evidence: Evidence) -> list[Finding]:
    """The table at the end; everything in it follows from the evidence alone."""
    return [*_of_all(evidence), *_of_some(evidence), _lost(evidence), _left(evidence)]


def _of_all(evidence: Evidence) -> Iterator[Finding]:
    posted, handled = len(evidence.posted), sum(map(len, evidence.seen.values()))
    missed = sum(map(evidence.missed, evidence.since)) + evidence.total("lost")
    errors = evidence.total("handler_errors")
    found = f"{posted} posted, {handled} handled, {missed} missed, {errors} errors"
    several = len(evidence.since) > 1
    yield Finding("events", found, posted > 0 and several and not missed + errors)

    # G1: by ascending id, each once; so the same everywhere.
    ids = {posted.key: number for number, posted in evidence.posted.items()}
    differ = []
    for worker in evidence.since:
        order = [ids.get(key, 0) for key in evidence.seen.get(worker, [])]
        if not order or any(one >= other for one, other in zip([0, *order], order)):
            differ.append(worker)
    found = f"not in {_listed(differ)}" if differ else f"in all {len(evidence.since)} workers"
    yield Finding("same order", found, several and not differ)

    reads, stale = evidence.total("reads"), evidence.total("stale")
    found = f"{stale} of {reads:,} reads through the caches"
    yield Finding("stale after the event", found, reads > 0 and not stale)


def _of_some(evidence: Evidence) -> Iterator[Finding]:
    # G4: of the events with one key one is handled, once; all others ignore it, and the rest.
    child, keys = evidence.child, {one.key for one in evidence.posted.values() if one.unique}
    ran = [worker for worker, seen in evidence.seen.items() for key in seen if key in keys]
    all_told = all(
        counts["ignored"] + ran.count(worker) == len(keys)
        for worker, counts in evidence.counts.items()
        if worker != child
    )
    found = f"posted {len(keys)} times, ran in {_listed(ran)}"
    yield Finding("ran once", found, len(ran) == 1 and len(keys) > 1 and all_told)

    found = f"handled in {_listed([worker for worker, _ in evidence.local])}"
    yield Finding("local event", found, evidence.local == [(evidence.local_of, True)])

    # G7: the child is a worker from the fork on.
    handled = len(evidence.seen.get(child, []))
    held = child in evidence.since and handled > 0 and not evidence.missed(child)
    yield Finding("forked child is a worker", f"handled {handled} events", held)


def _lost(evidence: Evidence) -> Finding:
    """G3: what was lost was told exactly: with what was handled it is all that was posted."""
    accounted: list[int] = []
    lost = 0
    for event, data in evidence.tiny_seen:
        if event == "lost":
            lost += data["count"]
            accounted += range(data["first"], data["last"] + 1)
        else:
            accounted.append(evidence.tiny_posted[data])
    got = len(accounted) - lost
    found = f"{lost} lost + {got} handled = {len(evidence.tiny_posted)} posted"
    exact = accounted == evidence.tiny_posted
    return Finding("lost and told", found, 0 < lost == evidence.tiny_lost and got > 0 and exact)


def _left(evidence: Evidence) -> Finding:
    found = [*evidence.failed, *evidence.left]
    words = ", ".join(found) or "no process, no file, no shared memory"
    return Finding("nothing left behind", words, not found)


def _listed(workers: list[int]) -> str:
    return ", ".join(f"worker {worker}" for worker in workers) or "no worker"

"""What the workers of the demo reported, and whether all that is promised held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Finding(NamedTuple):
    what: str
    found: str
    held: bool


class Posted(NamedTuple):
    key: str
    unique: bool


@dataclass
class Evidence:
    """All that the workers reported, by their numbers."""

    #: the events, by id
    posted: dict[int, Posted] = field(default_factory=dict)
    #: keys of what each worker handled, in the order in which it did
    seen: dict[int, list[str]] = field(default_factory=dict)
    #: from which id on each worker has to have seen all
    since: dict[int, int] = field(default_factory=dict)
    #: the last counts of each worker: `stats()`, and its reads and stale reads
    counts: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: the worker that the local event was posted in
    local_of: int = 0
    #: the workers that handled it, and whether as the very object that was posted
    local: list[tuple[int, bool]] = field(default_factory=list)
    #: the worker that was forked
    child: int = 0
    #: on the tiny bus: ids that were posted; [event, data] that were seen; what `stats()` counts
    tiny_posted: list[int] = field(default_factory=list)
    tiny_seen: list[list[Any]] = field(default_factory=list)
    tiny_lost: int = 0
    #: processes that ended badly
    failed: list[str] = field(default_factory=list)
    #: folders and segments that are there afterwards
    left: list[str] = field(default_factory=list)

    def ids(self) -> dict[str, int]:
        return {posted.key: number for number, posted in self.posted.items()}

    def total(self, what: str) -> int:
        return sum(counts[what] for counts in self.counts.values())

    def missed(self, worker: int) -> int:
        """How many events that all have to handle this worker has not, since it is one."""
        seen = self.seen.get(worker, [])
        return sum(
            not posted.unique and number >= self.since[worker] and posted.key not in seen
            for number, posted in self.posted.items()
        )


def judge(evidence: Evidence) -> list[Finding]:
    """The table at the end; everything in it follows from the evidence alone."""
    checks = (_delivery, _order, _stale, _once, _local, _fork, _lost, _left)
    return [check(evidence) for check in checks]


def _delivery(evidence: Evidence) -> Finding:
    posted, handled = len(evidence.posted), sum(map(len, evidence.seen.values()))
    missed = sum(map(evidence.missed, evidence.since)) + evidence.total("lost")
    errors = evidence.total("handler_errors")
    found = f"{posted} posted, {handled} handled, {missed} missed, {errors} errors"
    return Finding("events", found, posted > 0 and len(evidence.since) > 1 and not missed + errors)


def _order(evidence: Evidence) -> Finding:
    """G1: by ascending id, each once; so the same everywhere."""
    ids = evidence.ids()
    differ = []
    for worker in evidence.since:
        order = [ids.get(key, 0) for key in evidence.seen.get(worker, [])]
        if not order or any(one >= other for one, other in zip([0, *order], order)):
            differ.append(worker)
    found = f"not in {_listed(differ)}" if differ else f"in all {len(evidence.since)} workers"
    return Finding("same order", found, not differ and len(evidence.since) > 1)


def _stale(evidence: Evidence) -> Finding:
    reads, stale = evidence.total("reads"), evidence.total("stale")
    found = f"{stale} of {reads:,} reads through the caches"
    return Finding("stale after the event", found, reads > 0 and not stale)


def _once(evidence: Evidence) -> Finding:
    """G4: of the events with one key one is handled, once; all others ignore it, and the rest."""
    ids = evidence.ids()
    unique = {number for number, posted in evidence.posted.items() if posted.unique}
    ran = [
        worker for worker, seen in evidence.seen.items() for key in seen if ids.get(key) in unique
    ]
    all_told = all(
        counts["ignored"] + ran.count(worker) == len(unique)
        for worker, counts in evidence.counts.items()
        if worker != evidence.child
    )
    found = f"posted {len(unique)} times, ran in {_listed(ran)}"
    return Finding("ran once", found, len(ran) == 1 and len(unique) > 1 and all_told)


def _local(evidence: Evidence) -> Finding:
    found = f"handled in {_listed([worker for worker, _ in evidence.local])}"
    return Finding("local event", found, evidence.local == [(evidence.local_of, True)])


def _fork(evidence: Evidence) -> Finding:
    """G7: the child is a worker from the fork on."""
    child, handled = evidence.child, len(evidence.seen.get(evidence.child, []))
    held = child in evidence.since and handled > 0 and not evidence.missed(child)
    return Finding("forked child is a worker", f"handled {handled} events", held)


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
    return Finding(
        "lost and told",
        f"{lost} lost + {got} handled = {len(evidence.tiny_posted)} posted",
        0 < lost == evidence.tiny_lost and got > 0 and accounted == evidence.tiny_posted,
    )


def _left(evidence: Evidence) -> Finding:
    found = [*evidence.failed, *evidence.left]
    words = ", ".join(found) or "no process, no file, no shared memory"
    return Finding("nothing left behind", words, not found)


def _listed(workers: list[int]) -> str:
    return ", ".join(f"worker {worker}" for worker in workers) or "no worker"

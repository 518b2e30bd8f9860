"""What the workers of the demo reported, and whether all that is promised held."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, NamedTuple


class Finding(NamedTuple):
    """One line of the table at the end of the demo."""

    what: str
    found: str
    held: bool


class Posted(NamedTuple):
    """An event, as its poster reported it."""

    key: str
    unique: bool


@dataclass
class Evidence:
    """All that the workers reported, by their numbers."""

    #: the events, by id
    posted: dict[int, Posted] = field(default_factory=dict)
    #: what each worker handled, in the order in which it did; keys
    seen: dict[int, list[str]] = field(default_factory=dict)
    #: from which id on each worker has to have seen all
    since: dict[int, int] = field(default_factory=dict)
    #: the last counts of each worker: `stats()`, and its reads and stale reads
    counts: dict[int, dict[str, Any]] = field(default_factory=dict)
    #: the worker that the local event was posted in
    local_of: int = 0
    #: who handled it, and whether as the very object that was posted
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


def judge(evidence: Evidence) -> list[Finding]:
    """The table at the end; everything in it follows from the evidence alone."""
    return [
        _delivery(evidence),
        _order(evidence),
        _stale(evidence),
        _once(evidence),
        _local(evidence),
        _fork(evidence),
        _lost(evidence),
        _left(evidence),
    ]


def _delivery(evidence: Evidence) -> Finding:
    handled = sum(map(len, evidence.seen.values()))
    missed = sum(_missed(evidence, worker) for worker in evidence.since)
    lost = sum(counts["lost"] for counts in evidence.counts.values())
    errors = sum(counts["handler_errors"] for counts in evidence.counts.values())
    return Finding(
        "events",
        f"{len(evidence.posted)} posted, {handled} handled in {len(evidence.since)} workers, "
        f"{missed + lost} missed, {errors} handler errors",
        len(evidence.posted) > 0 and len(evidence.since) > 1 and not (missed or lost or errors),
    )


def _order(evidence: Evidence) -> Finding:
    """G1: by ascending id, each once; so the same everywhere."""
    ids = _ids(evidence)
    out_of_order = []
    for worker in evidence.since:
        order = [ids.get(key, 0) for key in evidence.seen.get(worker, [])]
        if not order or any(one >= other for one, other in zip([0, *order], order)):
            out_of_order.append(str(worker))
    held = not out_of_order and len(evidence.since) > 1
    return Finding("order equal", "yes" if held else f"no: {', '.join(out_of_order)}", held)


def _stale(evidence: Evidence) -> Finding:
    reads = sum(counts["reads"] for counts in evidence.counts.values())
    stale = sum(counts["stale"] for counts in evidence.counts.values())
    found = f"{stale}, of {reads:,} reads through the caches"
    return Finding("stale reads after the event", found, reads > 0 and not stale)


def _once(evidence: Evidence) -> Finding:
    """G4: of the events with one key one is handled, once; all others ignore it, and the rest."""
    ids = _ids(evidence)
    unique = {number for number, posted in evidence.posted.items() if posted.unique}
    ran = [
        (worker, key)
        for worker, seen in evidence.seen.items()
        for key in seen
        if ids.get(key) in unique
    ]
    all_told = all(
        counts["ignored"] + sum(worker == one for one, _ in ran) == len(unique)
        for worker, counts in evidence.counts.items()
        if worker != evidence.child
    )
    where = ", ".join(f"worker {worker}" for worker, _ in ran) or "nowhere"
    held = len(ran) == 1 and len(unique) > 1 and all_told
    found = f"{'yes' if held else 'no'}: posted {len(unique)} times, ran in {where}"
    return Finding("ran once", found, held)


def _local(evidence: Evidence) -> Finding:
    workers = [worker for worker, _ in evidence.local]
    held = evidence.local == [(evidence.local_of, True)]
    return Finding("local event", f"handled in {_listed(workers)}", held)


def _fork(evidence: Evidence) -> Finding:
    """G7: the child is a worker from the fork on."""
    child = evidence.child
    seen = evidence.seen.get(child, [])
    held = child in evidence.since and bool(seen) and not _missed(evidence, child)
    return Finding(
        "forked child is a worker", f"{'yes' if held else 'no'}: handled {len(seen)} events", held
    )


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
    return Finding("nothing left behind", "yes" if not found else ", ".join(found), not found)


def _ids(evidence: Evidence) -> dict[str, int]:
    return {posted.key: number for number, posted in evidence.posted.items()}


def _missed(evidence: Evidence, worker: int) -> int:
    """How many events that all have to handle this worker has not, since it is one."""
    seen = set(evidence.seen.get(worker, []))
    return sum(
        not posted.unique and number >= evidence.since[worker] and posted.key not in seen
        for number, posted in evidence.posted.items()
    )


def _listed(workers: list[int]) -> str:
    return ", ".join(f"worker {worker}" for worker in workers) or "no worker"

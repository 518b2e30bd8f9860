"""The state of buses as OpenMetrics text, as for the textfile collector of Prometheus."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Callable, Iterator, List, Tuple, Union

    from .looking import Relayed, Row, Status

    Number = Union[int, float]
    # Name, type, unit, help.
    Family = Tuple[str, str, str, str]
    OfBus = List[Tuple[Family, Callable[[Status], Number]]]
    OfRelay = List[Tuple[Family, Callable[[Relayed], Union[Number, None]]]]
    OfWorker = List[Tuple[Family, Callable[[Row], Number]]]

UP: Family = "stdevents_up", "gauge", "", "Could the bus be looked at? 0: locked, or damaged."
OF_BUS: OfBus = [
    (
        ("stdevents_workers", "gauge", "", "Live workers that have the bus open."),
        lambda state: len(state.workers),
    ),
    (
        ("stdevents_losing_workers", "gauge", "", "Workers that are losing events just now."),
        lambda state: state.losing,
    ),
    (
        ("stdevents_events", "counter", "", "Events posted since the bus was created."),
        lambda state: state.last_id,
    ),
    (
        ("stdevents_kept_events", "gauge", "", "Events that can still be read."),
        lambda state: state.events,
    ),
    (
        ("stdevents_used_bytes", "gauge", "bytes", "Bytes of the ring that these take."),
        lambda state: state.used,
    ),
    (
        ("stdevents_size_bytes", "gauge", "bytes", "Bytes of the ring."),
        lambda state: state.size,
    ),
]
OF_RELAY: OfRelay = [
    (
        ("stdevents_relay_up", "gauge", "", "Does Redis answer, and does a worker read?"),
        lambda relay: int(relay.reader is not None and relay.away_since is None),
    ),
    (
        ("stdevents_relay_lag_entries", "gauge", "", "Entries after the place, at the last look."),
        lambda relay: relay.lag,
    ),
]
OF_WORKER: OfWorker = [
    (
        ("stdevents_worker_pid", "gauge", "", "Its process id."),
        lambda row: row.pid,
    ),
    (
        ("stdevents_worker_joined_seconds", "gauge", "seconds", "When it joined, in Unix time."),
        lambda row: row.since,
    ),
    (
        ("stdevents_worker_lag_events", "gauge", "", "Events that it has not taken yet."),
        lambda row: row.lag,
    ),
    (
        ("stdevents_worker_behind_ratio", "gauge", "ratio", "Share of the ring it has to read."),
        lambda row: round(row.behind, 4),
    ),
    (
        ("stdevents_worker_lost_events", "counter", "", "Events overwritten before it read them."),
        lambda row: row.lost,
    ),
    (
        ("stdevents_worker_unhandled_events", "counter", "", "Events that had no handler there."),
        lambda row: row.unhandled,
    ),
]


def text_of(buses: list[tuple[str, Status | None]]) -> str:
    """The text of these buses; None for one that could not be looked at."""
    return "".join(f"{line}\n" for line in [*_lines(buses), "# EOF"])


def _lines(buses: list[tuple[str, Status | None]]) -> Iterator[str]:
    yield from _family(UP)
    for name, state in buses:
        yield f'stdevents_up{{bus="{name}"}} {int(state is not None)}'
    states = [state for _, state in buses if state is not None]
    for family, value in OF_BUS:
        yield from _family(family)
        for state in states:
            yield f'{_sample(family)}{{bus="{state.name}"}} {value(state)}'
    relayed = [(state.name, state.relay) for state in states if state.relay is not None]
    for family, value_in in OF_RELAY if relayed else ():
        yield from _family(family)
        for name, relay in relayed:
            if value_in(relay) is not None:
                yield f'{_sample(family)}{{bus="{name}"}} {value_in(relay)}'
    for family, value_of in OF_WORKER:
        yield from _family(family)
        for state in states:
            for row in state.workers:
                yield f'{_sample(family)}{{bus="{state.name}",slot="{row.slot}"}} {value_of(row)}'


def _family(family: Family) -> Iterator[str]:
    name, kind, unit, words = family
    yield f"# TYPE {name} {kind}"
    if unit:
        yield f"# UNIT {name} {unit}"
    yield f"# HELP {name} {words}"


def _sample(family: Family) -> str:
    """The name that its samples have."""
    name, kind, *_ = family
    return f"{name}_total" if kind == "counter" else name

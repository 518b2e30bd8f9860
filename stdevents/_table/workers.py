"""The words of the worker slots: who has joined, and how far each has come; no files.

All is stored under the lock, but POSITION, DONE, TASKS and two counts, which a worker stores as it
goes. An event is done by a worker if DONE has reached it, or if POSITION is beyond it and TASKS is
0. Each word is a lower bound by itself, so the order in which they become visible does not matter.

The counts, of events that a worker has lost, and that it had no handler for, share a word each with
what was stored when it began. They are for onlookers, and nothing is decided by them.
"""

from __future__ import annotations

from .layout import (
    HEADER_WORDS,
    JOINS,
    ROLE_BITS,
    ROOM_ID,
    ROOM_POSITION,
    SERIAL_SHIFT,
    SINCE_BITS,
    USED,
    WORKER_DONE,
    WORKER_FROM,
    WORKER_PID,
    WORKER_POSITION,
    WORKER_ROLE,
    WORKER_SERIAL,
    WORKER_SINCE,
    WORKER_TASKS,
    WORKER_WORDS,
    WORKERS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterable

MOST_LOST = (1 << 64 - SINCE_BITS) - 1  # that can be told


def at(slot: int) -> int:
    """The index of a slot's first word."""
    return HEADER_WORDS + slot * WORKER_WORDS


def next_serial(words: memoryview) -> int:
    """A serial that no worker of this bus has had; under the lock."""
    words[JOINS] += 1
    serial: int = words[JOINS]
    return serial


def mark_of(serial: int, pid: int) -> int:
    """The word by which events and claims know a worker."""
    return (serial & 0x7FFFFFFF) << SERIAL_SHIFT | pid & 0xFFFFFFFF


def begin(
    words: memoryview,
    slot: int,
    pid: int,
    serial: int,
    since: int,
    role: int,
    position: int,
    tasks: bool = False,
    joined: int | None = None,
    done: int | None = None,
) -> None:
    """Say in a slot who has taken it, how far it has come, and has it `tasks`; under the lock.

    Of one that had another slot before, when it `joined`, and how far it is `done`.
    """
    start = at(slot)
    words[start + WORKER_PID] = 0  # until all else is there: who killed us finds no half of it
    posters_forget(words)
    words[start + WORKER_SERIAL] = serial
    words[start + WORKER_SINCE] = min(max(0, since), since_of(-1))  # clocks may be set to anything
    words[start + WORKER_ROLE] = role
    words[start + WORKER_POSITION] = position
    words[start + WORKER_DONE] = position if done is None else done
    words[start + WORKER_FROM] = position if joined is None else joined
    words[start + WORKER_TASKS] = tasks
    words[USED] = max(words[USED], slot + 1)
    words[start + WORKER_PID] = pid


def end(words: memoryview, slot: int) -> None:
    """Free a slot; under the lock."""
    words[at(slot) + WORKER_PID] = 0


def end_seats_of(words: memoryview, serial: int) -> None:
    """Free the slots of the worker of this serial, which takes another one; under the lock."""
    for slot, _, other, *_ in table(words):
        if other == serial:
            end(words, slot)


def store_counts(words: memoryview, slot: int, unhandled: int, lost: int) -> None:
    """Tell onlookers of a worker's own slot what has come of its events; without the lock."""
    since, role = at(slot) + WORKER_SINCE, at(slot) + WORKER_ROLE
    # What is below stays as it is, also where the slot is another worker's already.
    words[role] = role_of(words[role]) | unhandled << ROLE_BITS
    words[since] = since_of(words[since]) | min(lost, MOST_LOST) << SINCE_BITS


def role_of(word: int) -> int:
    """What WORKER_ROLE says of the role."""
    return word & (1 << ROLE_BITS) - 1


def since_of(word: int) -> int:
    """What WORKER_SINCE says of the time."""
    return word & (1 << SINCE_BITS) - 1


def counts_of(words: memoryview, slot: int) -> tuple[int, int]:
    """How many events the worker of a slot had no handler for, and how many it has lost."""
    first = at(slot)
    return words[first + WORKER_ROLE] >> ROLE_BITS, words[first + WORKER_SINCE] >> SINCE_BITS


def posters_forget(words: memoryview) -> None:
    """Have the next poster that must not overwrite look at all workers again; under the lock."""
    words[ROOM_ID] = words[ROOM_POSITION] = 0


def positions(words: memoryview) -> list[tuple[int, int, int]]:
    """Position, slot and pid of each worker, alive or dead, the slowest first; under the lock."""
    start, stop = at(0), at(_used(words))
    pids = words[start + WORKER_PID : stop : WORKER_WORDS].tolist()
    taken = words[start + WORKER_POSITION : stop : WORKER_WORDS].tolist()
    return sorted((taken[slot], slot, pid) for slot, pid in enumerate(pids) if pid)


def behind(words: memoryview, event_id: int) -> list[int]:
    """The slots whose workers, alive or dead, are not done with the event; under the lock.

    Not those that joined after it, even if they handle it nevertheless (`start="oldest"`).
    """
    return [
        slot
        for slot, (pid, _, _, _, position, done, tasks, joined) in _rows(words)
        if done < event_id and pid and (position <= event_id or tasks) and joined < event_id
    ]


def concerned(words: memoryview, event_id: int) -> list[tuple[int, int, int, int, bool]]:
    """The workers, alive or dead, that joined before the event, by slot; under the lock.

    Of each slot, pid, serial, role, and is it done with the event?
    """
    return [
        (slot, pid, serial, role_of(role), done >= event_id or (position > event_id and not tasks))
        for slot, (pid, serial, _, role, position, done, tasks, joined) in _rows(words)
        if pid and joined < event_id
    ]


def table(words: memoryview) -> list[tuple[int, ...]]:
    """The slots that are taken, by dead workers too; under the lock.

    Of each its number, and then its words from WORKER_PID to WORKER_TASKS, without the counts.
    """
    return [
        (slot, pid, serial, since_of(since), role_of(role), position, done, tasks)
        for slot, (pid, serial, since, role, position, done, tasks, _) in _rows(words)
        if pid
    ]


def _rows(words: memoryview) -> Iterable[tuple[int, tuple[int, ...]]]:
    """The words of each slot that was ever in use, with its number."""
    values = words[at(0) : at(_used(words))].tolist()  # all at once: faster than word by word
    return enumerate(zip(*[values[column::WORKER_WORDS] for column in range(WORKER_WORDS)]))


def _used(words: memoryview) -> int:
    return min(words[USED], WORKERS)

"""What is wrong with a copy of a bus: a line for each word that cannot be what it is.

What cannot be known is not looked at: the text of an event that INTENT says is overwritten, the
words of a claim that has expired.
"""

from __future__ import annotations

import time
from zlib import crc32

from .._bus.overhearing import parts_of
from .._table import workers as _workers
from .._table.claim import PLACES
from .._table.layout import (
    AWAITED,
    CELL_EVENT,
    CELLS,
    CLAIM_DEADLINE,
    CLAIM_EVENT,
    CLAIM_KEY,
    CLAIM_TAKEN,
    CLAIM_WORDS,
    CLAIM_WORKER,
    CRC32_BITS,
    EVENT_CHECK,
    EVENT_CLAIMED,
    EVENT_END,
    EVENT_ID,
    HEADER_EPOCH,
    IGNORED,
    INTENT,
    INTENT_ID,
    JOINS,
    LAST,
    RINGING,
    ROOM_ID,
    ROOM_POSITION,
    SERIAL_SHIFT,
    USED,
    WAITING,
    WORKER_DONE,
    WORKER_PID,
    WORKER_POSITION,
    WORKER_ROLE,
    WORKER_SERIAL,
    WORKER_SINCE,
    WORKER_TASKS,
)

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Iterator

    from .outside import Copy

CLOCK_SET_BACK = 86400  # seconds; a start further in the future is not a clock that was set


def faults_of(copy: Copy) -> list[str]:
    """What is wrong with a bus of which this is a copy."""
    faults = list(_header(copy))
    if copy.words[copy.layout.slot_of(copy.words[LAST])] == copy.words[LAST]:
        faults += _bounds(copy)
    return [*faults, *_worker_slots(copy), *_claim_slots(copy), *_events(copy)]


# -- header ----------------------------------------------------------------------------------------


def _header(copy: Copy) -> Iterator[str]:
    # Magic, sizes, overflow and their checksum were looked at when it was opened.
    words, last = copy.words, copy.words[LAST]
    if not words[HEADER_EPOCH]:
        yield "header: the epoch is 0"
    for name, at in (("WAITING", WAITING), ("RINGING", RINGING)):
        if words[at] > 1:
            yield f"header: {name} is {words[at]}, neither 0 nor 1"
    if words[AWAITED] > last:
        yield f"header: AWAITED is {words[AWAITED]}, and the last event is {last}"
    if words[USED] > copy.layout.workers:
        yield f"header: USED is {words[USED]}, and there are {copy.layout.workers} worker slots"
    found = words[copy.layout.slot_of(last)]
    if found != last:
        yield f"header: LAST is {last}, and its slot has event {found}"


def _bounds(copy: Copy) -> Iterator[str]:
    """The words that follow from LAST and its slot."""
    words, size, count = copy.words, copy.layout.size, copy.layout.events
    last, intent, intent_id = words[LAST], words[INTENT], words[INTENT_ID]
    end = _end(copy, last)
    if not end <= intent <= end + size:
        yield f"header: INTENT is {intent}, not within {end}, where the last event ends, and a ring"
    if not last <= intent_id < last + count:
        yield f"header: INTENT_ID is {intent_id}, not within {last}, the last event, and all"
    if words[ROOM_ID] >= last + count:
        yield f"header: ROOM_ID is {words[ROOM_ID]}, and the last event is {last}"
    if words[ROOM_POSITION] > end + size:
        yield f"header: ROOM_POSITION is {words[ROOM_POSITION]}, a ring or more beyond {end}"
    for at in CELLS:
        # Beyond LAST it is of a post that ended before P4, and INTENT or INTENT_ID says so.
        event_id = words[at + CELL_EVENT]
        if event_id > (intent_id if intent > end else last):
            yield f"header: cell {at} is of event {event_id}, which is still to come"


# -- workers ---------------------------------------------------------------------------------------


def _worker_slots(copy: Copy) -> Iterator[str]:
    """A slot whose file nobody holds is a dead worker's, or free: nothing in it counts."""
    serials: dict[int, int] = {}
    for slot in sorted(copy.held):
        pid = copy.words[_workers.at(slot) + WORKER_PID]
        where = f"worker slot {slot}, process {pid}" if pid else f"worker slot {slot}"
        for fault in _faults_of_worker(copy, slot):
            yield f"{where}: {fault}"
        serial = copy.words[_workers.at(slot) + WORKER_SERIAL]
        if serial in serials:
            yield f"{where}: slot {serials[serial]} has the same serial"
        serials[serial] = slot


def _faults_of_worker(copy: Copy, slot: int) -> Iterator[str]:
    words, last, at = copy.words, copy.words[LAST], _workers.at(slot)
    if not words[at + WORKER_PID]:
        yield "its file is held, and the slot says by nobody"
        return
    if slot >= words[USED]:
        yield f"it is in use, and USED says only {words[USED]} ever were"
    if not 0 < words[at + WORKER_SERIAL] <= words[JOINS]:
        yield f"its serial is {words[at + WORKER_SERIAL]}, and {words[JOINS]} workers have joined"
    # Each is stored without the lock, so which of the two is further on says nothing.
    for name, position in (("position", WORKER_POSITION), ("DONE", WORKER_DONE)):
        if words[at + position] > last:
            yield f"its {name} is {words[at + position]}, and the last event is {last}"
    role, since = _workers.role_of(words[at + WORKER_ROLE]), words[at + WORKER_SINCE]
    for name, value in (("role", role), ("TASKS", words[at + WORKER_TASKS])):
        if value > 1:
            yield f"its {name} is {value}, neither 0 nor 1"
    if not 0 < _workers.since_of(since) <= time.time() + CLOCK_SET_BACK:
        yield f"it has been alive since {_workers.since_of(since)}"


# -- claims ----------------------------------------------------------------------------------------


def _claim_slots(copy: Copy) -> Iterator[str]:
    words, claims = copy.words, copy.layout.claims
    seen: dict[tuple[int, int], int] = {}
    for slot in range(claims):
        at = copy.layout.claims_at + slot * CLAIM_WORDS
        if not words[at + CLAIM_TAKEN] <= copy.now < words[at + CLAIM_DEADLINE]:
            continue
        key = words[at + CLAIM_KEY], words[at + CLAIM_KEY + 1]
        if key in seen:
            yield f"claim slot {slot}: slot {seen[key]} has the same key"
        seen[key] = slot
        if (slot - key[0]) % claims >= PLACES:
            yield f"claim slot {slot}: its key does not belong there"
        fault = _fault_of_claim(copy, words[at + CLAIM_EVENT], words[at + CLAIM_WORKER])
        if fault:
            yield f"claim slot {slot}: {fault}"


def _fault_of_claim(copy: Copy, event_id: int, worker: int) -> str:
    words, last = copy.words, copy.words[LAST]
    if worker & IGNORED or not _can_be(copy, worker):
        return f"it is held by {_named(worker)}, which has not joined"
    if not 0 < event_id <= last:
        return f"it is held for event {event_id}, and the last event is {last}"
    event = copy.layout.slot_of(event_id)
    if words[event + EVENT_ID] != event_id or event_id <= _before_whole(copy):
        return ""
    # 0: killed between C3 and C4
    if words[event + EVENT_CLAIMED] not in (0, worker):
        return (
            f"it is held by {_named(worker)} for event {event_id}, "
            f"which says {_named(words[event + EVENT_CLAIMED])}"
        )
    return ""


def _can_be(copy: Copy, worker: int) -> bool:
    """Can a worker have this mark? One that has left since may, too."""
    serial, pid = _serial_and_pid(worker)
    return 0 < serial <= copy.words[JOINS] and pid > 0


def _serial_and_pid(worker: int) -> tuple[int, int]:
    return (worker & ~IGNORED) >> SERIAL_SHIFT, worker & (1 << SERIAL_SHIFT) - 1


def _named(worker: int) -> str:
    serial, pid = _serial_and_pid(worker)
    return f"worker {serial}, process {pid}" + (", as ignored" if worker & IGNORED else "")


# -- events ----------------------------------------------------------------------------------------


def _begun(copy: Copy) -> int:
    """The last event that was written, or was to be by a post that ended before P4."""
    last = copy.words[LAST]
    return min(max(last, copy.words[INTENT_ID]), last + copy.layout.events - 1)


def _before_whole(copy: Copy) -> int:
    """The id after which the slots are whole; below 0 where not all were used yet."""
    return _begun(copy) - copy.layout.events


def _end(copy: Copy, event_id: int) -> int:
    end: int = copy.words[copy.layout.slot_of(event_id) + EVENT_END]
    return end


def _events(copy: Copy) -> Iterator[str]:
    words, last, count = copy.words, copy.words[LAST], copy.layout.events
    sound = set()
    for event_id in range(_before_whole(copy) + 1, last + 1):
        found = words[copy.layout.slot_of(event_id)]
        if found == max(event_id, 0):
            sound.add(event_id)
        elif event_id > 0:
            belongs = f"event {event_id} belongs there"
            yield f"event slot {event_id % count}: it has id {found}, and {belongs}"
        else:
            yield f"event slot {event_id % count}: it has id {found}, and none belongs there yet"
    for event_id in range(last + 1, _begun(copy) + 1):
        found = words[copy.layout.slot_of(event_id)]
        if found not in (0, event_id, max(0, event_id - count)):
            slot = event_id % count
            yield f"event slot {slot}: it has id {found}, not {event_id} or the one before"
    if 0 in sound and (words[copy.layout.slot_of(0) + EVENT_CHECK] or _end(copy, 0)):
        yield "event slot 0: the chain does not begin with 0 there"
    for event_id, fault in _chain(copy, sound):
        yield f"event {event_id}: {fault}"


def _chain(copy: Copy, sound: set[int]) -> Iterator[tuple[int, str]]:
    """What is wrong with the events that can be read still, one by one."""
    words = copy.words
    # CHECK of an event as its text has it, where the one in its slot is damaged.
    mended: dict[int, int] = {}
    for event_id in sorted(sound):
        before = event_id - 1
        if event_id < 1 or before not in sound:
            continue  # where it begins, and with which CHECK, is not known
        begin, end = _end(copy, before), _end(copy, event_id)
        if not 0 < end - begin <= copy.layout.size:
            yield event_id, f"it ends at {end}, and the one before it at {begin}"
            continue
        if begin + copy.layout.size < words[INTENT]:
            continue  # overwritten
        text = _text(copy, begin, end)
        at = copy.layout.slot_of(event_id)
        check = crc32(text, mended.get(before, words[_at_check(copy, before)] & CRC32_BITS))
        if check == words[at + EVENT_CHECK]:
            for fault in _faults_of_record(copy, text, words[at + EVENT_CLAIMED]):
                yield event_id, fault
            continue
        yield event_id, "its checksum is wrong"
        if _follows(copy, sound, event_id, check):
            mended[event_id] = check


def _at_check(copy: Copy, event_id: int) -> int:
    return copy.layout.slot_of(event_id) + EVENT_CHECK


def _follows(copy: Copy, sound: set[int], event_id: int, check: int) -> bool:
    """Is the event after this one right if this one's CHECK is `check`? Then its text is."""
    begin, end = _end(copy, event_id), _end(copy, event_id + 1)
    return (
        event_id + 1 in sound
        and 0 < end - begin <= copy.layout.size
        and crc32(_text(copy, begin, end), check) == copy.words[_at_check(copy, event_id + 1)]
    )


def _text(copy: Copy, begin: int, end: int) -> bytes:
    place, size, length = begin % copy.layout.size, copy.layout.size, end - begin
    return copy.ring[place : place + length] + copy.ring[: max(0, place + length - size)]


def _faults_of_record(copy: Copy, text: bytes, claimed: int) -> Iterator[str]:
    parts = parts_of(text)
    if parts is None or not text.endswith(b","):
        yield "it is not JSON of ours"
        return
    if parts[0] < 1:
        yield f"it was posted by process {parts[0]}"
    if not claimed:
        return
    if len(parts) == 4 or parts[4] is None:
        yield f"it was claimed by {_named(claimed)}, and anybody may handle it"
    elif not _can_be(copy, claimed):
        yield f"it was claimed by {_named(claimed)}, which has not joined"

"""`check`: walks every slot of a bus, and says what is wrong.

It looks at a copy that was taken under the lock. So no post is half done in it, except one whose
poster was killed, which is no fault: the rules of `_table` say what such a post leaves. What
cannot be known is not checked: the payload of an event that INTENT says is overwritten, the words
of a claim that has expired.
"""

from __future__ import annotations

import time
from struct import pack
from zlib import crc32

from .._errors import SegmentError
from .._table.layout import (
    CELL_EVENT,
    CLAIM_DEADLINE,
    CLAIM_EVENT,
    CLAIM_KEY_HIGH,
    CLAIM_KEY_LOW,
    CLAIM_PID,
    CLAIM_WORDS,
    EVENT_CHECKSUM,
    EVENT_CLAIMED,
    EVENT_FLAGS,
    EVENT_ID,
    EVENT_LENGTH,
    EVENT_PID,
    EVENT_POSITION,
    FLAG_RELAYED,
    FLAG_UNIQUE,
    HEADER_EPOCH,
    HEADER_WORDS,
    INTENT,
    INTENT_ID,
    LAST,
    NAMES_SHIFT,
    RELAY_CELLS,
    WAITING,
    WORKER_PID,
    WORKER_POSITION,
    WORKER_SINCE,
    WORKER_WORDS,
)
from .._table.table import PROBES
from .outside import end_of, find, parts_of
from .terminal import words_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from argparse import ArgumentParser
    from typing import Iterator

    from .outside import Copy

HELP = "walk every slot of a bus, and say what is wrong"
MORE = """\
Copies the bus under its lock: posts wait that long. A line for each fault, and
exit status 1 if there is one."""
EXAMPLE = "check my-app"

SHOWN = 50  # faults
CLOCK_SET_BACK = 86400  # seconds; a start further in the future is not a clock that was set


def check(name: str) -> list[str]:
    """What is wrong with the bus, a line a fault; nothing if it is sound.

    LookupError if no live worker has it open; LockTimeout.
    """
    return examine(name)[1]


def add_arguments(parser: ArgumentParser) -> None:
    parser.add_argument("name", metavar="NAME", help="the bus, as its workers call it")


def main(name: str) -> int:
    slots, faults = examine(name)
    for fault in faults[:SHOWN]:
        print(fault)
    if len(faults) > SHOWN:
        print(f"... and {len(faults) - SHOWN} faults more")
    if not faults:
        print(f"{slots} slots checked, no fault")
    return int(bool(faults))


def examine(name: str) -> tuple[int, list[str]]:
    """How many slots were walked, and what is wrong."""
    try:
        bus = find(name)
    except SegmentError as error:  # not even its header is sound
        return 0, [words_of(error)]
    try:
        copy = bus.exclusively(bus.copy)
    finally:
        bus.close()
    layout = copy.layout
    slots = layout.workers + layout.claims + layout.events
    return slots, [*_header(copy), *_worker_slots(copy), *_claim_slots(copy), *_event_slots(copy)]


# -- header ----------------------------------------------------------------------------------------


def _header(copy: Copy) -> Iterator[str]:
    # Magic, sizes and overflow were looked at when it was opened.
    words, size = copy.words, copy.layout.size
    last, intent = words[LAST], words[INTENT]
    if not words[HEADER_EPOCH]:
        yield "header: the epoch is 0"
    if words[WAITING] > 1:
        yield f"header: WAITING is {words[WAITING]}, neither 0 nor 1"
    if last and words[copy.layout.slot_of(last)] != last:
        yield f"header: LAST is {last}, and its slot has event {words[copy.layout.slot_of(last)]}"
        return
    end = end_of(copy.words, copy.layout, last)
    if not end <= intent <= end + size:
        yield f"header: INTENT is {intent}, not within {end}, where the last event ends, and a ring"
    if not last <= words[INTENT_ID] < last + copy.layout.events:
        yield f"header: INTENT_ID is {words[INTENT_ID]}, not within {last}, the last event, and all"
    for at in RELAY_CELLS:
        # Beyond LAST it is of a poster that was killed before P4, and INTENT says so.
        event_id = words[at + CELL_EVENT]
        if event_id > (words[INTENT_ID] if intent > end else last):
            yield f"header: relay cell {at} is of event {event_id}, which is still to come"


# -- workers ---------------------------------------------------------------------------------------


def _worker_slots(copy: Copy) -> Iterator[str]:
    """A slot whose file nobody holds is a dead worker's, or free: nothing in it counts."""
    words, last = copy.words, copy.words[LAST]
    for slot in range(copy.layout.workers):
        at = HEADER_WORDS + slot * WORKER_WORDS
        if slot not in copy.held:
            continue
        if not words[at + WORKER_PID]:
            yield f"worker slot {slot}: its file is held, and the slot says by nobody"
        if words[at + WORKER_POSITION] > last:
            yield (
                f"worker slot {slot}: its position is {words[at + WORKER_POSITION]}, "
                f"and the last event is {last}"
            )
        if not 0 < words[at + WORKER_SINCE] <= time.time() + CLOCK_SET_BACK:
            yield f"worker slot {slot}: it has been alive since {words[at + WORKER_SINCE]}"


# -- claims ----------------------------------------------------------------------------------------


def _claim_slots(copy: Copy) -> Iterator[str]:
    words, claims = copy.words, copy.layout.claims
    seen: dict[tuple[int, int], int] = {}
    for slot in range(claims):
        at = copy.layout.claims_at + slot * CLAIM_WORDS
        if words[at + CLAIM_DEADLINE] <= copy.now:
            continue
        key = words[at + CLAIM_KEY_HIGH], words[at + CLAIM_KEY_LOW]
        if key in seen:
            yield f"claim slot {slot}: slot {seen[key]} has the same key"
        seen[key] = slot
        if (slot - key[1]) % claims >= PROBES:
            yield f"claim slot {slot}: its key does not belong there"
        fault = _fault_of_claim(copy, words[at + CLAIM_EVENT], words[at + CLAIM_PID])
        if fault:
            yield f"claim slot {slot}: {fault}"


def _fault_of_claim(copy: Copy, event_id: int, pid: int) -> str:
    words, last = copy.words, copy.words[LAST]
    if not pid:
        return "it is held by nobody"
    if not 0 < event_id <= last:
        return f"it is held for event {event_id}, and the last event is {last}"
    event = copy.layout.slot_of(event_id)
    if words[event + EVENT_ID] != event_id:
        return ""
    if not words[event + EVENT_FLAGS] & FLAG_UNIQUE:
        return f"it is held for event {event_id}, which anybody may handle"
    # 0: killed between C3 and C4
    if words[event + EVENT_CLAIMED] not in (0, pid):
        return (
            f"it is held by process {pid} for event {event_id}, "
            f"which says process {words[event + EVENT_CLAIMED]}"
        )
    return ""


# -- events ----------------------------------------------------------------------------------------


def _event_slots(copy: Copy) -> Iterator[str]:
    last, events = copy.words[LAST], copy.layout.events
    # The slots after these were to be written by a poster that was killed before P4.
    begun = min(max(last, copy.words[INTENT_ID]), last + events - 1)
    for event_id in range(begun + 1 - events, last + 1):
        slot = event_id % events
        found = copy.words[copy.layout.slot_of(event_id) + EVENT_ID]
        if event_id > 0 and found == event_id:
            yield from _faults(copy, event_id)
        elif event_id > 0:
            yield f"event slot {slot}: it has id {found}, and event {event_id} belongs there"
        elif found:
            yield f"event slot {slot}: it has id {found}, and no event belongs there yet"
    for event_id in range(last + 1, begun + 1):
        found = copy.words[copy.layout.slot_of(event_id) + EVENT_ID]
        if found not in (0, event_id, max(0, event_id - events)):
            slot = event_id % events
            yield f"event slot {slot}: it has id {found}, not {event_id} or the one before"


def _faults(copy: Copy, event_id: int) -> Iterator[str]:
    for fault in _faults_of_event(copy, event_id):
        yield f"event {event_id}: {fault}"


def _faults_of_event(copy: Copy, event_id: int) -> Iterator[str]:
    words, size = copy.words, copy.layout.size
    at = copy.layout.slot_of(event_id)
    position, length = words[at + EVENT_POSITION], words[at + EVENT_LENGTH]
    flags, claimed = words[at + EVENT_FLAGS], words[at + EVENT_CLAIMED]
    begin = _begin(copy, event_id)
    if begin is not None and position != begin:
        yield f"it begins at {position}, and the one before it ends at {begin}"
    if not words[at + EVENT_PID]:
        yield "it was posted by nobody"
    known = FLAG_UNIQUE | FLAG_RELAYED | -1 << NAMES_SHIFT
    if flags & ~known or flags >> NAMES_SHIFT > length:
        yield f"its flags are {flags:#x}"
    if claimed and not flags & FLAG_UNIQUE:
        yield f"it was claimed by process {claimed}, and anybody may handle it"
    if not 0 < length <= size:
        yield f"its length is {length}, and the ring has {size}"
    elif position + size >= words[INTENT]:
        yield from _faults_of_payload(copy, at, position, length)


def _faults_of_payload(copy: Copy, at: int, position: int, length: int) -> Iterator[str]:
    place, size = position % copy.layout.size, copy.layout.size
    payload = copy.ring[place : place + length] + copy.ring[: max(0, place + length - size)]
    fields = pack("=4Q", *copy.words[at + EVENT_POSITION : at + EVENT_CHECKSUM])
    if (
        crc32(fields + payload, copy.words[at + EVENT_ID] & 0xFFFFFFFF)
        != copy.words[at + EVENT_CHECKSUM]
    ):
        yield "its checksum is wrong"
        return
    parts = parts_of(payload)
    if parts is None:
        yield "it is not JSON of ours"
        return
    flags = copy.words[at + EVENT_FLAGS]
    if len(parts) not in ((6,) if flags & FLAG_RELAYED else (3, 4)):
        yield "its flags and its JSON do not agree on whether it was relayed"
    elif (len(parts) > 3 and parts[3] is not None) != bool(flags & FLAG_UNIQUE):
        yield "its flags and its JSON do not agree on whether it is unique"


def _begin(copy: Copy, event_id: int) -> int | None:
    """Where the event has to begin, if that can be known."""
    before = event_id - 1
    known = not before or copy.words[copy.layout.slot_of(before) + EVENT_ID] == before
    return end_of(copy.words, copy.layout, before) if known else None

"""Corruption: each byte of the memory zeroed, flipped, random; many at once; cut short, grown.

A worker has some events to take, plain and unique ones, when the damage is done under it. It then
polls, posts, polls, and looks around as `workers` and `check` do; a newcomer joins; where the
header is what is damaged, a child is forked. Each of them may be refused, by an error of ours. An
event may be lost, if it is counted. What is delivered has to be what was posted under its id.

Memory that is cut short by whole pages, under a worker that has it mapped, is no case of this: no
Python survives the SIGBUS of touching them. Newcomers have to notice, whatever the length is; and
a worker has to stand what goes with less than a page, where here all slots and the ring are.
"""

from __future__ import annotations

import logging
import mmap
import os
import random
from collections import Counter

import pytest
from inside import (
    WORD,
    Map,
    Memory,
    attach,
    examine,
    folder_of,
    go_back,
    last_of,
    memory_file_of,
    position_of,
)

import stdevents

SIZE = 1024
OPTIONS = {"size": SIZE, "interval": 0, "timeout": 1000, "wait_max": 5, "shm_retries": 0}

MAP = Map(SIZE)
HEADER, WORKER = MAP.header, MAP.first_worker
CLAIMS, EVENTS, RING = MAP.claim_slots, MAP.event_slots, MAP.ring
BATCH = 500


class Victim:
    """A worker that is put back into one state before each case, and then damaged."""

    def __init__(self, name, overflow):
        self.name = name
        self.bus = stdevents.Bus(name, overflow=overflow, **OPTIONS)
        memory = Memory(self.bus)
        self.words, self.memory, self.file = memory.words, memory.whole, memory.descriptor
        self.bus.register(self.note)
        self.delivered = []
        self.counts = Counter()
        self.posted = {}
        self.post("taken", None, "a key that is held")
        for _ in range(6):
            self.post("taken", "x" * 100)
            self.bus.poll()
        self.position = position_of(self.bus)
        self.post("plain", [1, 2, 3])
        self.post("unique", {"key": "ä" * 40}, "a key")
        self.post("held", None, "a key that is held")
        self.image, self.originals = bytes(self.memory), self.posted

    def post(self, event, data, unique=None):
        self.posted[self.bus.post("test", event, data, unique)] = (event, data)

    def note(self, data, event, source, pid):
        if source == "test":
            self.delivered.append((position_of(self.bus), event, data))

    def restore(self):
        """Undo all damage, and what was done since."""
        os.ftruncate(self.file, MAP.total)
        self.memory[:] = self.image
        self.posted = dict(self.originals)
        self.delivered.clear()
        go_back(self.bus, self.position)

    def go_on(self):
        """Do what workers do; the violations that come of it."""
        may(self.bus.poll)
        last = last_of(self.bus)
        refused = may(lambda: self.post("after", "y" * 30))
        self.counts["posts refused"] += refused
        if last_of(self.bus) != last + (not refused):
            yield "unexpected"
        may(self.bus.poll)
        stats, position = self.bus.stats(), position_of(self.bus)
        if stats.handled + stats.unhandled + stats.lost + stats.ignored != position - self.position:
            yield "lost"
        self.counts["delivered"] += len(self.delivered)
        self.counts["with a loss"] += stats.lost > 0
        numbers = [number for number, _, _ in self.delivered]
        if numbers != sorted(numbers):
            yield "reordered"
        if len(set(numbers)) < len(numbers):
            yield "duplicated"
        for number, event, data in self.delivered:
            if self.posted.get(number) != (event, data):
                yield "torn"
        may(self.bus.workers)
        may(lambda: examine(self.name))

    def fork(self):
        """Have a forked child do the same; it has to come to its end."""
        pid = os.fork()
        if not pid:
            try:
                may(lambda: self.bus.post("test", "of the child"))
                may(self.bus.poll)
                self.bus.close()
            except BaseException:
                os._exit(1)
            os._exit(0)
        return ["unexpected"] * (os.waitpid(pid, 0)[1] != 0)


def may(work):
    """Do it, or be refused by an error of ours; was it?"""
    try:
        work()
        return False
    except stdevents.StdeventsError:
        return True


# -- damage ----------------------------------------------------------------------------------------


def damage_byte(victim, number, chance):
    """One byte, in one of three ways; was that a change?"""
    offset, kind = divmod(number, 3)
    before = victim.memory[offset]
    victim.memory[offset] = (0, before ^ 0xFF, chance.randrange(256))[kind]
    return victim.memory[offset] != before


def damage_much(victim, number, chance):
    """Bytes, words, slots or stretches, of a part that is drawn first."""
    memory = victim.memory
    part = chance.choice((HEADER, WORKER, CLAIMS, EVENTS, EVENTS, RING, range(MAP.total)))
    chance.choice((scatter, smear, set_words, move, cut_short, grow))(victim, memory, part, chance)
    return memory != victim.image


def scatter(victim, memory, part, chance):
    for _ in range(chance.randrange(1, 32)):
        memory[chance.choice(part)] = chance.randrange(256)


def smear(victim, memory, part, chance):
    start = chance.choice(part)
    length = min(chance.randrange(1, 300), part.stop - start)
    memory[start : start + length] = chance.choice(
        (bytes(length), b"\xff" * length, bytes(chance.choices(range(256), k=length)))
    )


def set_words(victim, memory, part, chance):
    for _ in range(chance.randrange(1, 4)):
        at = chance.choice(part) // WORD
        near = (
            last_of(victim.bus)
            if at * WORD in HEADER
            else victim.words[at % (EVENTS.start // WORD)]
        )
        value = chance.choice((0, 1, near + chance.randrange(-5, 6), 1 << 63, -1, near + SIZE))
        if at * WORD < RING.start:
            victim.words[at] = value % (1 << 64)


def move(victim, memory, part, chance):
    """A slot, or a stretch as long, to where another one is."""
    length = MAP.event_slot
    to, origin = (chance.choice(part) // length * length for _ in range(2))
    memory[to : to + length] = bytes(memory[origin : origin + length])[: len(memory) - to]


def cut_short(victim, memory, part, chance):
    """Within the last page, so that there are zeros then."""
    os.ftruncate(victim.file, chance.randrange(1 + MAP.total // 4096 * 4096, MAP.total))


def grow(victim, memory, part, chance):
    os.ftruncate(victim.file, MAP.total + chance.choice((1, 7, 4096, 1 << 20)))


# -- all of it -------------------------------------------------------------------------------------


def suffer(parent, name, overflow, damage, numbers, seed, at):
    """All these cases; tells of each batch what came of it, and what was violated in which."""
    logging.disable()  # pytest keeps all that is logged, and each case logs
    victim = Victim(name, overflow)
    victim.restore()
    violated = []
    for done, number in enumerate(numbers, 1):
        at[0] = number
        chance = random.Random(seed * 1_000_003 + number)
        if damage(victim, number, chance):
            violations = [*victim.go_on()]
            if damage is damage_byte and number // 3 in HEADER:
                violations += victim.fork()
            violated += [(number, violation) for violation in violations]
            victim.restore()
        else:
            victim.counts["unchanged"] += 1
        if done % BATCH == 0 or done == len(numbers):
            assert os.path.exists(folder_of(name)), "somebody has removed the folder"
            parent.tell((done, victim.counts, violated))
            victim.counts.clear()
            violated = []
    victim.bus.close()


def make_suffer(campaign, fork, name, overflow, damage, numbers, before):
    """Have a child suffer all these; how many there were, and all before them."""
    at = memoryview(mmap.mmap(-1, WORD)).cast("Q")
    child = fork(suffer, name, overflow, damage, numbers, campaign.seed, at)
    done = 0
    while done < len(numbers):
        try:
            done, counts, violated = child.hear()
        except pytest.fail.Exception as failure:
            pytest.fail(f"{damage.__name__}, {overflow}, case {at[0]}: {failure}")
        campaign.counts.update(counts)
        for number, violation in violated:
            campaign.count(violation)
            print(f"{damage.__name__}, {overflow}, case {number}: {violation}")
        campaign.progress("corruption", before + done)
    child.result()
    return before + done


def refuse_newcomers(campaign, name, lengths, before):
    """Memory of any other length is refused while somebody lives, if it is shorter; all cases."""
    bus = stdevents.Bus(name, **OPTIONS)
    image = bytes(Memory(bus).whole)
    path = memory_file_of(name)
    for done, length in enumerate(lengths):
        with open(path, "wb") as file:
            file.write(image)
        os.truncate(path, length)
        refused = may(lambda: attach(name))
        campaign.count("unexpected", refused != (length < MAP.total))
        campaign.count("unexpected", os.stat(path).st_size != length)
        if done % BATCH == 0:
            campaign.progress("corruption", before + done)
    with open(path, "wb") as file:
        file.write(image)
    bus.close()
    return before + len(lengths)


def some(chance, numbers, count):
    return sorted(chance.sample(numbers, min(count, len(numbers))))


def test_corruption(campaign, name, fork):
    """G2, G3: no crash, no hang, no wrong payload; an error of ours, or a loss that is counted."""
    chance = campaign.random
    cases = 0
    for overflow in ("drop", "wait"):
        numbers = range(3 * MAP.total)
        if not campaign.long:
            used = [
                number
                for part in (HEADER, WORKER, CLAIMS, EVENTS, RING)
                for number in range(3 * part.start, 3 * part.stop)
            ]
            numbers = some(chance, used, 700)
        cases = make_suffer(campaign, fork, name, overflow, damage_byte, numbers, cases)
        numbers = range(campaign.size(700, 500_000))
        cases = make_suffer(campaign, fork, name, overflow, damage_much, numbers, cases)
    lengths = range(2 * MAP.total)
    if not campaign.long:
        lengths = [0, *some(chance, lengths, 500), MAP.total - 1, MAP.total]
    cases = refuse_newcomers(campaign, name, lengths, cases)
    assert campaign.counts["delivered"] > cases
    assert campaign.counts["with a loss"] > cases / 20
    campaign.end("corruption", cases)

"""Payload fuzz: values that are JSON, nearly JSON and not JSON at all, names and keys likewise.

What JSON makes of a value is told here once more, by a few lines that look at types alone. An
event has to arrive as that, or to be refused at the call, and then nothing is posted.
"""

from __future__ import annotations

import enum
import math
from collections import OrderedDict, namedtuple

from campaign import VIOLATIONS

import stdevents

SIZE = 4096
DEEPEST = 256

Pair = namedtuple("Pair", "left right")


class Number(enum.IntEnum):
    SEVEN = 7


class Text(str):
    __slots__ = ()


class Unfit(Exception):
    """No JSON says this."""


# -- what is to be -------------------------------------------------------------------------------


def as_json(value, depth=0):
    """The value as it arrives; Unfit if it is not to be posted."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(digits(value))
    if isinstance(value, float):
        return finite(value)
    if isinstance(value, str):
        return text(value)
    if isinstance(value, (list, tuple, dict)) and depth == DEEPEST:
        raise Unfit
    if isinstance(value, (list, tuple)):
        return [as_json(item, depth + 1) for item in value]
    if isinstance(value, dict):
        return {as_key(key): as_json(item, depth + 1) for key, item in value.items()}
    raise Unfit


def as_key(key):
    if key is None or isinstance(key, bool):
        return {None: "null", True: "true", False: "false"}[key]
    if isinstance(key, int):
        return digits(key)
    if isinstance(key, float):
        return float.__repr__(finite(key))
    if isinstance(key, str):
        return text(key)
    raise Unfit


def digits(value):
    try:
        return int.__repr__(value)
    except ValueError:  # more digits than Python writes
        raise Unfit from None


def finite(value):
    if not math.isfinite(value):
        raise Unfit
    return value


def text(value):
    if any("\ud800" <= letter <= "\udfff" for letter in value):
        raise Unfit
    return str(value)


def same(value, other):
    """Equal, and of the same types: 1, 1.0 and True are three things; so are 0.0 and -0.0."""
    if type(value) is not type(other):
        return False
    if isinstance(value, list):
        return len(value) == len(other) and all(map(same, value, other))
    if isinstance(value, dict):
        return list(value) == list(other) and all(map(same, value.values(), other.values()))
    return repr(value) == repr(other)


# -- what is tried -------------------------------------------------------------------------------

LETTERS = 'aZ09 _"\\/\b\f\n\r\t\0\x1f\x7f\x80äß\u2028\u2029\ufffe\uffff😀[]{}:,\u200b\u202e'
SURROGATES = "\ud800\udc00\udfff"
NUMBERS = (0, -0.0, 1, -1, 2**31, 2**63, -(2**63), 2**64, 10**30, 0.1, 1e308, 5e-324, 1e16, 1 / 3)
STRANGE = (
    math.nan, math.inf, -math.inf, b"bytes", {1, 2}, object(), 1j, Ellipsis, len, 10**5000,
    bytearray(b"x"), range(3), Exception("x"), type, memoryview(b"x"),
)  # fmt: skip
LENGTHS = (0, 1, 2, 3, 7, 30, 200)


class Maker:
    """Draws values; a small part of those parts that are drawn is not JSON."""

    def __init__(self, chance):
        self.chance = chance
        self.strange = 0.0  # the part that is

    def value(self, room=40, depth=0):
        chance = self.chance
        if chance.random() < self.strange:
            return chance.choice(STRANGE)
        kind = chance.randrange(10 if depth < 6 and room > 1 else 6)
        if kind < 2:
            return self.text()
        if kind < 4:
            return self.number()
        if kind < 6:
            return chance.choice((None, True, False, "", [], {}, (), Number.SEVEN, Text("t")))
        count = chance.randrange(min(room, 8))
        items = [self.value(room // 2, depth + 1) for _ in range(count)]
        if kind < 8:
            return chance.choice((list, tuple))(items)
        if kind == 8 and count >= 2:
            return Pair(*items[:2])
        return chance.choice((dict, OrderedDict))((self.key(), item) for item in items)

    def text(self):
        chance = self.chance
        letters = LETTERS + (SURROGATES if chance.random() < self.strange else "")
        return "".join(chance.choices(letters, k=chance.choice(LENGTHS)))

    def number(self):
        chance = self.chance
        return chance.choice(
            (
                chance.choice(NUMBERS),
                chance.getrandbits(chance.randrange(1, 200)) * chance.choice((1, -1)),
                chance.uniform(-1, 1) * 10.0 ** chance.randrange(-320, 308),
            )
        )

    def key(self):
        chance = self.chance
        if chance.random() < self.strange:
            return chance.choice((b"k", (1,), math.nan, math.inf, "\ud800", 10**5000, frozenset()))
        return chance.choice((self.text, self.number, lambda: chance.choice((None, True, False))))()

    def nested(self):
        """About as deep as is allowed."""
        value = self.chance.choice(("]", "[{", 1, None))
        for _ in range(self.chance.randrange(DEEPEST - 3, DEEPEST + 4)):
            value = [value] if self.chance.random() < 0.5 else {self.text()[:2]: value}
        return value

    def circular(self):
        value = [self.value()]
        value.append({"inner": [value]} if self.chance.random() < 0.5 else value)
        return value

    def large(self):
        """About as long as there is room."""
        return self.chance.choice(("x", "ä", "😀", "\n")) * self.chance.randrange(700, 4200)


def expect(source, event, data, unique):
    """The event as it is to arrive, or None if it is to be refused."""
    for name in (source, event):
        if not isinstance(name, str) or not name:
            return None
    if not (unique is None or isinstance(unique, (str, int))) or isinstance(unique, bool):
        return None
    if unique == "":
        return None
    try:
        as_key(unique)
        return text(source), text(event), as_json(data)
    except (Unfit, RecursionError):
        return None


def draw(make):
    """Arguments of a post."""
    chance = make.chance
    make.strange = chance.choice((0, 0, 0.02, 0.2))
    kind = chance.random()
    if kind < 0.2:
        source, event = (chance.choice((make.text(), make.value())) for _ in range(2))
        return source, event, make.value(), make.value()
    if kind < 0.9:
        return "test", "event", make.value(), None
    return "test", "event", chance.choice((make.nested, make.circular, make.large))(), None


def post(campaign, bus, arguments):
    """Post it; the event that is to arrive, or None. Counts what is wrong with the answer."""
    expected = expect(*arguments)
    last = bus.stats().last_id
    try:
        number = bus.post(*arguments)
    except stdevents.PayloadTooLarge:
        campaign.count("too large")
        # As `repr` writes it, it takes at least a sixth of what it takes as JSON.
        if expected is None or len(repr(arguments)) * 6 < SIZE:
            campaign.count("unexpected")
        expected = None
    except (stdevents.EncodeError, TypeError, ValueError):
        campaign.count("refused")
        campaign.count("unexpected", expected is not None)
        expected = None
    else:
        campaign.count("unexpected", expected is None or number != last + 1)
    campaign.count("unexpected", bus.stats().last_id != last + (expected is not None))
    return expected


def test_payloads(campaign, name):
    """G2: equal to what was posted, to the type; or refused at the call, and nothing posted."""
    cases = campaign.size(5_000, 1_000_000)
    make = Maker(campaign.random)
    bus = stdevents.Bus(name, size=SIZE, interval=0, timeout=1e-6)
    bus.poll()
    events = []
    bus.register(lambda data, event, source, pid: events.append([source, event, data]))
    for number in range(cases):
        violations = sum(campaign.counts[word] for word in VIOLATIONS)
        arguments = draw(make)
        expected = post(campaign, bus, arguments)
        bus.poll()
        campaign.count("lost", len(events) < (expected is not None))
        campaign.count("unexpected", len(events) > (expected is not None))
        if events and expected:
            campaign.count("torn", not same(events[0], list(expected)))
        if violations != sum(campaign.counts[word] for word in VIOLATIONS):
            print(f"case {number}: {ascii(arguments):.1000}")
        events.clear()
        if number % 1000 == 0:
            campaign.progress("payloads", number)
    bus.close()
    assert cases / 20 < campaign.counts["refused"] < cases / 2
    assert campaign.counts["too large"] > cases / 200
    campaign.end("payloads", cases)

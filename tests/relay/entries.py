"""Entries of a stream, and what a host sees of them."""

from __future__ import annotations

import json


def only(events):
    """What a host sees of these, posted with their number."""
    return [("event", number) for number in events]


def entry_of(name, data, /, unique=None, **fields):
    """The fields of an entry, as a relay writes them."""
    parts = ["test", name, data] if unique is None else ["test", name, data, unique]
    return {"v": 1, "host": "by hand", "pid": 7, "event": json.dumps(parts), **fields}


def lost(stream="stream", count=None, first=None, last=None):
    """The event that tells of it."""
    return ("lost", {"first": first, "last": last, "count": count, "stream": stream})

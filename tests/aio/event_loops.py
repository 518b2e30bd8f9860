"""Event loops of a test, and what their handlers were given."""

from __future__ import annotations

import asyncio

SECONDS = 30  # after which what is awaited is not coming


def run(coroutine):
    """Run it on a new event loop; it may not hang."""
    return asyncio.run(asyncio.wait_for(coroutine, SECONDS))


def gather(into, enough):
    """A handler that keeps each event's data, and an asyncio.Event for when it has so many."""
    done = asyncio.Event()

    async def handler(data, event, source, pid):
        into.append(data)
        if len(into) == enough:
            done.set()

    return handler, done

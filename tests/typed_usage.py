"""Typed code that uses every public name, for mypy and pyright in their strict modes; never run."""

from __future__ import annotations

import asyncio
from typing import Any

import stdevents
from stdevents import aio

cache: dict[str, str] = {}
names: stdevents.EventList = stdevents.event_list("cache", "drop", "fill")


@stdevents.on(names._source, names.drop)  # pyright: ignore[reportPrivateUsage]
def drop(data: Any, event: str, source: str, pid: int | None) -> None:
    cache.pop(data["key"], None)


class Filler:
    def fill(self, data: dict[str, str], event: str, source: str, pid: int | None) -> bool:
        cache.update(data)
        return True


def keep(handler: stdevents.Handler) -> stdevents.Handler:
    return stdevents.register(handler, "cache")


filler = Filler()
same: stdevents.Handler = stdevents.register_weak(filler.fill, "cache", "fill")
kept: stdevents.Handler = keep(drop)
removed: bool = stdevents.unregister(filler.fill, "cache", "fill")

bus: stdevents.Bus = stdevents.configure("my-app", size="1m", interval=0, overflow="wait")
other: stdevents.Bus = stdevents.Bus("other", interval=0)
try:
    number: int = stdevents.post("cache", "drop", {"key": "user:7"}, unique="user:7")
except stdevents.PayloadTooLarge as error:
    print(error.size, error.limit)
except stdevents.NoRoom as error:
    print(error.pid, error.lag, error.pids)
except (stdevents.EncodeError, stdevents.LockTimeout, stdevents.SegmentError):
    raise
except (stdevents.NotConfigured, stdevents.StdeventsError):
    raise
stdevents.post_local("cache", "drop", object())
outcome: str = stdevents.poll()
counts: stdevents.Stats = stdevents.stats()
workers: list[stdevents.WorkerInfo] = stdevents.workers()
total: int = (
    counts.posted + counts.handled + counts.unhandled + sum(worker.lag for worker in workers)
)
descriptor: int = stdevents.fileno()
is_open: bool = stdevents.configured()
started: str = stdevents.events.started
done: bool = stdevents.wait(stdevents.post("cache", "drop"), timeout=0.5)
leads: bool = stdevents.lead("cleaner") and not stdevents.lead("cleaner", give_up=True)


@stdevents.answer("cache", "size")
def size(data: Any, event: str, source: str, pid: int | None) -> int:
    return len(cache)


answers: dict[int, stdevents.Answer] = stdevents.ask("cache", "size", timeout=2)
for slot, answer in answers.items():
    print(slot + answer.pid, answer.value, answer.error or "")
stdevents.close()

async_bus = aio.AsyncBus(other)


@async_bus.on("chat", "hello")
async def hello(data: Any, event: str, source: str, pid: int | None) -> None:
    await asyncio.sleep(0)


@async_bus.answer("chat", "users")
async def users(data: Any, event: str, source: str, pid: int | None) -> list[str]:
    await asyncio.sleep(0)
    return []


async def main() -> None:
    async with async_bus as attached:
        handler: aio.AsyncHandler = attached.register(drop, "cache")
        attached.unregister(handler, "cache")
        done: bool = await attached.wait(1, timeout=2)
        answers: dict[int, stdevents.Answer] = await attached.ask("chat", "users")
        print(done, [answer.value for answer in answers.values()])
        events: aio.Events = attached.events("chat", limit=10)
        async for event in events:
            text: str = event.event + event.source
            print(text, event.data, event.pid)
        await events.aclose()

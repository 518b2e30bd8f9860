"""An ASGI app whose workers handle events on their event loops, by coroutines.

    pip install . uvicorn
    cd examples; uvicorn --workers 4 asgi_app:app
    curl -X PUT -d 3.20 http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/prices/tea

Bare ASGI, to need no framework: with one, see fastapi_app.py. A server that has no lifespan, as
`daphne`, opens the bus by the first request. Python 3.9 or later, for asyncio.to_thread.
The prices are files in the folder that PRICES names; they stand for a database.
"""

from __future__ import annotations

import asyncio
import json
import os
import tempfile
from pathlib import Path

import stdevents
from stdevents import aio

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
cache: dict[str, str] = {}
caching = asyncio.Lock()  # from database to cache, as in flask_app.py
bus = aio.AsyncBus()


@bus.on("prices", "changed")
async def drop(data, event, source, pid):
    async with caching:
        cache.pop(data["item"], None)


@bus.on("stdevents", "lost")
async def drop_all(data, event, source, pid):
    async with caching:
        cache.clear()


async def price(item):
    async with caching:
        cached = item in cache
        if not cached:
            cache[item] = await asyncio.to_thread((prices / f"price-{item}").read_text)
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


async def change(item, new):
    await asyncio.to_thread((prices / f"price-{item}").write_text, new)
    event = stdevents.post("prices", "changed", {"item": item})
    return {"pid": os.getpid(), "event": event}


def open_bus():
    stdevents.configure("my-app", interval=0)
    bus.attach()


async def app(scope, receive, send):
    if scope["type"] == "lifespan":
        await receive()
        try:
            open_bus()  # at the start of each worker
        except Exception as error:  # if it were raised, uvicorn would serve all the same
            await send({"type": "lifespan.startup.failed", "message": str(error)})
            return
        await send({"type": "lifespan.startup.complete"})
        await receive()
        await bus.close()  # at its end
        stdevents.close()
        await send({"type": "lifespan.shutdown.complete"})
        return
    if not bus.attached():
        open_bus()  # there is no lifespan; an exit handler closes it
    stdevents.poll()  # what was posted before this request began is known to it
    await asyncio.sleep(0)  # and its handlers are before this request in the line for `caching`
    item = scope["path"].rpartition("/")[2]
    if scope["method"] == "PUT":
        answer = await change(item, (await receive())["body"].decode())
    else:
        answer = await price(item)
    headers = [(b"content-type", b"application/json")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})

"""A FastAPI app whose PUT is answered when no worker has the old price any more.

    pip install . fastapi uvicorn
    cd examples; uvicorn --workers 4 fastapi_app:app
    curl -X PUT -d 3.20 http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/workers

The same with others: `hypercorn --workers 4 fastapi_app:app`, or `granian --interface asgi
--workers 4 fastapi_app:app`. Each worker's lifespan opens the bus. /workers asks all of them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import tempfile
from pathlib import Path

from fastapi import FastAPI, HTTPException, Request

import stdevents
from stdevents import aio

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
cache: dict[str, str] = {}
caching = asyncio.Lock()  # from database to cache, as in flask_app.py
bus = aio.AsyncBus()


@contextlib.asynccontextmanager
async def lifespan(app):
    stdevents.configure("my-app", interval=0)
    async with bus:
        yield
    stdevents.close()


app = FastAPI(lifespan=lifespan)


@bus.on("prices", "changed")
async def drop(data, event, source, pid):
    async with caching:
        cache.pop(data["item"], None)


@bus.on("stdevents", "lost")
async def drop_all(data, event, source, pid):
    async with caching:
        cache.clear()


@bus.answer("cache", "size")
async def size(data, event, source, pid):
    async with caching:
        return len(cache)


@app.get("/prices/{item}")
async def price(item: str):
    async with caching:
        cached = item in cache
        if not cached:
            cache[item] = await asyncio.to_thread((prices / f"price-{item}").read_text)
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


@app.put("/prices/{item}")
async def change(item: str, request: Request):
    new = (await request.body()).decode()
    await asyncio.to_thread((prices / f"price-{item}").write_text, new)
    event = stdevents.post("prices", "changed", {"item": item})
    if not await bus.wait(event, timeout=5):
        raise HTTPException(504, f"changed, but a worker may have the old price: event {event}")
    return {"pid": os.getpid(), "event": event}


@app.get("/workers")
async def workers():
    answers = await bus.ask("cache", "size")
    return {"pid": os.getpid(), "cached": {answer.pid: answer.value for answer in answers.values()}}

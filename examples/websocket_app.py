"""WebSockets: what one client says, the clients of all workers hear, all in the same order.

    pip install . fastapi uvicorn websockets
    cd examples; uvicorn --workers 4 websocket_app:app
    websockets ws://127.0.0.1:8000/chat

The last one in several terminals: what is typed in one is seen in all, whichever worker they reach.
"""

from __future__ import annotations

import asyncio
import contextlib

from fastapi import FastAPI, WebSocket

import stdevents
from stdevents import aio

bus = aio.AsyncBus()


@contextlib.asynccontextmanager
async def lifespan(app):
    stdevents.configure("my-app", interval=0)
    async with bus:
        yield
    stdevents.close()


app = FastAPI(lifespan=lifespan)


async def forward(heard, socket):
    """Send what is heard; a client that is too slow is told how many messages it has missed."""
    async for event in heard:
        if event.event == "said":
            await socket.send_text(event.data)
        else:
            await socket.send_text(f"({event.data['count']} messages are lost)")


@app.websocket("/chat")
async def chat(socket: WebSocket):
    heard = bus.events("chat", "said")  # before `accept`: who is connected misses nothing
    await socket.accept()
    forwarding = asyncio.create_task(forward(heard, socket))
    try:
        async for text in socket.iter_text():
            stdevents.post("chat", "said", text)
    finally:
        forwarding.cancel()
        await asyncio.wait([forwarding])

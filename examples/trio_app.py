"""trio: a task waits for the bus's descriptor, and polls. (`stdevents.aio` is for asyncio alone.)

pip install . trio
python examples/trio_app.py

Handlers run in that task, between two of its awaits; what takes long they hand to other tasks. No
loop thread: interval=0. Where there is no epoll (macOS) there is no descriptor: poll every 50 ms.
"""

from __future__ import annotations

import os

import trio

import stdevents

WORKERS = 3


class Worker:
    def __init__(self):
        self.send, self.receive = trio.open_memory_channel(100)
        stdevents.register(self.handle, "jobs")

    def handle(self, data, event, source, pid):
        self.send.send_nowait(data)  # it may not await: another task does

    async def poll(self):
        while True:
            await trio.lowlevel.wait_readable(stdevents.fileno())
            stdevents.poll()

    async def work(self):
        async for job in self.receive:
            print(f"worker {os.getpid()} has {job!r}", flush=True)
            if job == "stop":
                return

    async def run(self):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self.poll)
            await self.work()
            nursery.cancel_scope.cancel()


def main():
    stdevents.configure("my-app", interval=0, role="listener")  # what it forks are workers
    children = []
    for _ in range(WORKERS):
        child = os.fork()
        if child == 0:
            trio.run(Worker().run)
            stdevents.close()
            os._exit(0)
        children.append(child)
    for job in ("begin", "stop"):
        stdevents.post("jobs", job, job)
    for child in children:
        os.waitpid(child, 0)


if __name__ == "__main__":
    main()

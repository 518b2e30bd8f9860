"""RQ: the worker keeps prices, up to date by events, and the child that it forks has them.

    pip install . rq
    cd examples; rq worker --worker-class rq_app.Preloaded
    cd examples; python -c "import rq_app as r; print(r.result(r.change, 'tea', '3.20'))"
    cd examples; python -c "import rq_app as r; print(r.result(r.price, 'tea'))"

It needs a Redis, at RQ_REDIS_URL. A job's process ends with the job, and its cache with it: so the
worker loads what jobs need, and does not drop but load again what has changed.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from redis import Redis
from rq import Queue, Worker

import stdevents

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
queue = Queue(connection=Redis.from_url(os.environ.get("RQ_REDIS_URL", "redis://127.0.0.1")))
cache: dict[str, str] = {}
caching = threading.Lock()  # from database to cache, as in flask_app.py


def load(item):
    with caching:
        cache[item] = (prices / f"price-{item}").read_text()


@stdevents.on("prices", "changed")
def load_again(data, event, source, pid):
    load(data["item"])


@stdevents.on("stdevents", "lost")
def load_all(data=None, event=None, source=None, pid=None):
    for file in prices.glob("price-*"):
        load(file.name[len("price-") :])


class Preloaded(Worker):
    """It opens the bus as a listener, for its jobs: what it forks are workers."""

    def work(self, *arguments, **options):
        stdevents.configure("my-app", role="listener")
        load_all()
        return super().work(*arguments, **options)

    def perform_job(self, *arguments, **options):  # in the child
        stdevents.poll()  # what was posted before this job began is known to it
        return super().perform_job(*arguments, **options)


def price(item):
    cached = item in cache
    if not cached:
        load(item)
    return {"pid": os.getpid(), "worker": os.getppid(), "price": cache[item], "cached": cached}


def change(item, new):
    (prices / f"price-{item}").write_text(new)
    event = stdevents.post("prices", "changed", {"item": item})
    return {"pid": os.getpid(), "event": event}


def result(function, *arguments):
    """Have a worker do it; what came of it."""
    return queue.enqueue(function, *arguments).latest_result(timeout=60).return_value

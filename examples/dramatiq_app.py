"""dramatiq: its processes keep prices in a cache each, and all drop what changed.

    pip install . 'dramatiq[redis]'
    cd examples; dramatiq --processes 4 --threads 2 dramatiq_app
    cd examples; python -c "import dramatiq_app as d; print(d.result(d.change, 'tea', '3.20'))"
    cd examples; python -c "import dramatiq_app as d; print(d.result(d.price, 'tea'))"

It needs a Redis, at BROKER.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from dramatiq.results import Results
from dramatiq.results.backends import RedisBackend

import stdevents

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
url = os.environ.get("BROKER", "redis://127.0.0.1")
cache: dict[str, str] = {}
caching = threading.Lock()  # from database to cache, as in flask_app.py


class OpenBus(dramatiq.Middleware):
    def before_worker_boot(self, broker, worker):
        stdevents.configure("my-app")

    def before_process_message(self, broker, message):
        stdevents.poll()  # what was posted before this message is processed is known to it


broker = RedisBroker(url=url)
broker.add_middleware(OpenBus())
broker.add_middleware(Results(backend=RedisBackend(url=url), store_results=True))
dramatiq.set_broker(broker)


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    with caching:
        cache.pop(data["item"], None)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    with caching:
        cache.clear()


@dramatiq.actor
def price(item):
    with caching:
        cached = item in cache
        if not cached:
            cache[item] = (prices / f"price-{item}").read_text()
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


@dramatiq.actor
def change(item, new):
    (prices / f"price-{item}").write_text(new)
    event = stdevents.post("prices", "changed", {"item": item})
    return {"pid": os.getpid(), "event": event}


def result(actor, *arguments):
    """Have a worker do it; what came of it."""
    return actor.send(*arguments).get_result(block=True, timeout=60_000)

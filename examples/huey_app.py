"""Huey: the processes of the consumer keep prices in a cache each, and all drop what changed.

    pip install . huey
    cd examples; huey_consumer huey_app.huey -k process -w 4
    cd examples; python -c "import huey_app as h; print(h.change('tea', '3.20')(blocking=True))"
    cd examples; python -c "import huey_app as h; print(h.price('tea')(blocking=True))"

The queue is a file of SQLite here, so that no server has to run; it is the same with Redis.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from huey import SqliteHuey

import stdevents

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
huey = SqliteHuey(filename=str(prices / "huey.db"))
cache: dict[str, str] = {}
caching = threading.Lock()  # from database to cache, as in flask_app.py


@huey.on_startup()
def open_bus():
    stdevents.configure("my-app")


@huey.pre_execute()
def poll(task):  # what was posted before this task began is known to it
    stdevents.poll()


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    with caching:
        cache.pop(data["item"], None)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    with caching:
        cache.clear()


@huey.task()
def price(item):
    with caching:
        cached = item in cache
        if not cached:
            cache[item] = (prices / f"price-{item}").read_text()
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


@huey.task()
def change(item, new):
    (prices / f"price-{item}").write_text(new)
    event = stdevents.post("prices", "changed", {"item": item})
    return {"pid": os.getpid(), "event": event}

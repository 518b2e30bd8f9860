"""Celery: the children of a prefork pool keep prices in a cache each, and all drop what changed.

    pip install . celery
    cd examples; celery -A celery_app worker --concurrency 4
    cd examples; python -c "import celery_app as c; print(c.change.delay('tea', '3.20').get())"
    cd examples; python -c "import celery_app as c; print(c.price.delay('tea').get())"

Queue and results are folders here, so that no broker has to run. That is for trying it only: after
one child was killed all others may hang, by a lock of Celery's own. Otherwise take Redis or
RabbitMQ, as by BROKER=redis://127.0.0.1 and `pip install 'celery[redis]'`.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from celery import Celery
from celery.signals import task_prerun, worker_process_init, worker_process_shutdown

import stdevents

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
queue, results = prices / "queue", prices / "results"
for folder in (queue, results):
    folder.mkdir(exist_ok=True)

broker = os.environ.get("BROKER", "filesystem://")
app = Celery("celery_app", broker=broker, backend=results.as_uri())
if broker == "filesystem://":
    app.conf.broker_transport_options = {
        "data_folder_in": str(queue),
        "data_folder_out": str(queue),
        "control_folder": str(prices / "control"),
        "polling_interval": 0.1,
    }
cache: dict[str, str] = {}
caching = threading.Lock()  # from database to cache, as in flask_app.py


@worker_process_init.connect
def open_bus(**_):
    stdevents.configure("my-app")


@task_prerun.connect
def poll(**_):  # what was posted before this task began is known to it
    if not stdevents.configured():
        open_bus()  # with `-P threads`, where nothing else says that a process begins
    stdevents.poll()


@worker_process_shutdown.connect
def close_bus(**_):  # these processes end without Python's exit handlers
    stdevents.close()


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    with caching:
        cache.pop(data["item"], None)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    with caching:
        cache.clear()


@app.task
def price(item):
    with caching:
        cached = item in cache
        if not cached:
            cache[item] = (prices / f"price-{item}").read_text()
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


@app.task
def change(item, new):
    (prices / f"price-{item}").write_text(new)
    event = stdevents.post("prices", "changed", {"item": item})
    return {"pid": os.getpid(), "event": event}

"""A Flask app whose PUT is answered when no worker has the old price any more.

    pip install . flask gunicorn
    cd examples; gunicorn -c gunicorn_conf.py together_app:app
    curl -X PUT -d 3.20 http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/metrics

So no request has to look for changes before it begins, as in flask_app.py. Each worker needs a
loop. /metrics adds up what all workers count.
"""

from __future__ import annotations

import os
import tempfile
import threading
from collections import Counter
from pathlib import Path

from flask import Flask, request

import stdevents

app = Flask(__name__)
prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
cache: dict[str, str] = {}
caching = threading.Lock()  # from database to cache, as in flask_app.py
requests: Counter[str] = Counter()


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    with caching:
        cache.pop(data["item"], None)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    with caching:
        cache.clear()


@stdevents.answer("metrics", "requests")
def count(data, event, source, pid):
    return requests


@app.before_request
def count_it():
    requests[request.method] += 1


@app.get("/prices/<item>")
def price(item):
    with caching:
        cached = item in cache
        if not cached:
            cache[item] = (prices / f"price-{item}").read_text()
        return {"pid": os.getpid(), "price": cache[item], "cached": cached}


@app.put("/prices/<item>")
def change(item):
    (prices / f"price-{item}").write_text(request.get_data(as_text=True))
    event = stdevents.post("prices", "changed", {"item": item})
    if not stdevents.wait(event, timeout=5):
        behind = [worker.pid for worker in stdevents.workers() if worker.position < event]
        return {"pid": os.getpid(), "event": event, "behind": behind}, 504
    return {"pid": os.getpid(), "event": event}


@app.get("/metrics")
def metrics():
    total: Counter[str] = Counter()
    answers = stdevents.ask("metrics", "requests").values()
    for answer in answers:
        total.update(answer.value or {})
    return {"pid": os.getpid(), "workers": len(answers), "requests": total}

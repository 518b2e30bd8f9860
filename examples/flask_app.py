"""A Flask app whose workers keep prices in a cache each, and tell each other what to drop.

    pip install . flask gunicorn
    cd examples; gunicorn -c gunicorn_conf.py flask_app:app
    curl -X PUT -d 3.20 http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/prices/tea

The prices are files in the folder that PRICES names; they stand for a database.
"""

from __future__ import annotations

import os
import tempfile
import threading
from pathlib import Path

from flask import Flask, request

import stdevents

app = Flask(__name__)
prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
cache: dict[str, str] = {}
# Held from database to cache: else a price that was read before a change could be put there
# after the event of the change.
caching = threading.Lock()


@stdevents.on("prices", "changed")
def drop(data, event, source, pid):
    with caching:
        cache.pop(data["item"], None)


@stdevents.on("stdevents", "lost")
def drop_all(data, event, source, pid):
    with caching:
        cache.clear()


@app.before_request
def poll():  # what was posted before this request began is known to it
    stdevents.poll()


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
    return {"pid": os.getpid(), "event": event}

"""/metrics of all workers, without prometheus_client's files: the worker that is asked adds up.

    pip install . flask gunicorn prometheus_client
    cd examples; gunicorn -c gunicorn_conf.py metrics_app:app
    curl http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/metrics

Each worker keeps a registry in its own memory. A worker that ends takes its counts along, so the
sum falls, which Prometheus takes for a counter that began anew. Where workers are replaced often,
add the label `worker` (the marked line), and have Prometheus add up: `sum(rate(…))`.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

from flask import Flask, Response
from prometheus_client import CollectorRegistry, Counter, Histogram
from prometheus_client.core import Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

import stdevents

app = Flask(__name__)
prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))
version = os.stat(__file__).st_mtime  # of the code that this worker runs: see reloaded.py

registry = CollectorRegistry()  # of this worker
looked_up = Counter("prices_looked_up", "Prices looked up", ["item"], registry=registry)
seconds = Histogram("price_seconds", "Time for a price", registry=registry)


@stdevents.answer("app", "version")
def tell_version(data, event, source, pid):
    return version


@stdevents.answer("metrics", "registry")
def tell_registry(data, event, source, pid):
    return [
        (metric.name, metric.documentation, metric.type, [sample[:3] for sample in metric.samples])
        for metric in registry.collect()
    ]


class AllWorkers:
    """A registry that adds up those of all workers."""

    def collect(self):
        metrics, totals = {}, {}
        for answer in stdevents.ask("metrics", "registry").values():
            for name, text, kind, samples in answer.value or ():  # None: see answer.error
                metrics.setdefault(name, Metric(name, text, kind))
                for sample, labels, value in samples:
                    if sample.endswith("_created"):
                        continue  # a time, of which there is no sum
                    # labels["worker"] = str(answer.pid)  # and Prometheus adds up
                    key = (name, sample, tuple(labels.items()))
                    totals[key] = totals.get(key, 0) + value
        for (name, sample, labels), value in totals.items():
            metrics[name].add_sample(sample, dict(labels), value)
        return metrics.values()


@app.get("/prices/<item>")
def price(item):
    with seconds.time():
        looked_up.labels(item).inc()
        return {"pid": os.getpid(), "price": (prices / f"price-{item}").read_text()}


@app.get("/metrics")
def metrics():
    return Response(generate_latest(AllWorkers()), content_type=CONTENT_TYPE_LATEST)

"""The same app with the bus opened where it is imported: the workers inherit it by their fork.

    pip install . flask gunicorn
    cd examples; gunicorn --preload --workers 4 preloaded_app:app

The master is a worker of the bus, too, and of events with `unique` it would take its share: where
there are such, see gunicorn_conf.py. For gevent see gevent_conf.py.
"""

from __future__ import annotations

from flask_app import app

import stdevents

__all__ = ["app"]

stdevents.configure("my-app")

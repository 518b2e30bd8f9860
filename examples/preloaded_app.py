"""The same app with the bus opened where it is imported: the workers inherit it by their fork.

    pip install . flask gunicorn
    cd examples; gunicorn --preload --workers 4 preloaded_app:app

The master is a worker of the bus, too, and may take events with `unique`. Where there are such, see
gunicorn_conf.py, or make the master a listener, as docs/roles.md does. For gevent see
gevent_conf.py.
"""

from __future__ import annotations

from flask_app import app

import stdevents

__all__ = ["app"]

stdevents.configure("my-app")

"""The Flask app in uWSGI: each worker opens the bus when it is forked.

    pip install . flask uwsgi
    cd examples; uwsgi --http-socket 127.0.0.1:8000 --master --processes 4 --module uwsgi_app:app

Stop it by Ctrl-C or SIGINT: SIGTERM reloads it, unless --hook-master-start says otherwise.
With `--lazy-apps` or without, with `--enable-threads` or without. Without threads uWSGI runs
Python only while it has a request, so that no loop of ours could poll in between. The app itself
polls before each request, and so it handles first what came while its worker was idle.
"""

from __future__ import annotations

import uwsgi
from flask_app import app

import stdevents

__all__ = ["app"]


def open_bus():
    stdevents.configure("my-app", interval=0)


uwsgi.post_fork_hook = open_bus
if uwsgi.worker_id():  # with --lazy-apps it has been forked already
    open_bus()

"""gunicorn with gevent workers: each opens the bus after the monkey patching.

    pip install . flask 'gunicorn[gevent]'
    cd examples; gunicorn -c gevent_conf.py flask_app:app

The loop that polls is a greenlet then. It cannot be woken by a post, so its interval is short.
"""

from __future__ import annotations

import logging

import stdevents

bind = "127.0.0.1:8000"
workers = 4
worker_class = "gevent"


def post_worker_init(worker):  # post_fork would be too early, before the monkey patching
    logging.basicConfig(handlers=worker.log.error_log.handlers)  # as in gunicorn_conf.py
    stdevents.configure("my-app", interval=0.05)

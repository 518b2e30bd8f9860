"""Django: its local-memory cache, of which each process has one, invalidated in all of them.

    pip install . django gunicorn
    cd examples; gunicorn --workers 4 django_app:application
    curl -X PUT -d 3.20 http://127.0.0.1:8000/prices/tea
    curl http://127.0.0.1:8000/prices/tea

One file, to be read in one go: `Poll` belongs in the MIDDLEWARE of your settings, and the handlers
in a module that is imported at the start. With `--preload` or without: the bus is there from the
first request on.
"""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

import django
from django.conf import settings
from django.core.cache import cache
from django.core.wsgi import get_wsgi_application
from django.http import JsonResponse
from django.urls import path

import stdevents

prices = Path(os.environ.get("PRICES", tempfile.gettempdir()))

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CACHES={"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}},
    LOGGING={  # else failed handlers and lost events would not be seen
        "version": 1,
        "disable_existing_loggers": False,  # else the logger of stdevents would be
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"]},
    },
    MIDDLEWARE=["django_app.Poll"],
    ROOT_URLCONF="django_app",
    SECRET_KEY="an example",
)


class Poll:
    """Handles what is new before each request: what was posted before it began is known to it."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        if not stdevents.configured():  # here, since with --preload the master runs __init__
            stdevents.configure("my-app", interval=0)
        stdevents.poll()
        return self.get_response(request)


@stdevents.on("cache", "delete")
def delete(data, event, source, pid):
    cache.delete(data["key"])


@stdevents.on("stdevents", "lost")
def clear(data, event, source, pid):
    cache.clear()


def price(request, item):
    if request.method == "PUT":
        (prices / f"price-{item}").write_text(request.body.decode())
        event = stdevents.post("cache", "delete", {"key": f"price-{item}"})
        return JsonResponse({"pid": os.getpid(), "event": event})
    found = cache.get(f"price-{item}")
    cached = found is not None
    if not cached:
        found = (prices / f"price-{item}").read_text()
        cache.set(f"price-{item}", found)
    return JsonResponse({"pid": os.getpid(), "price": found, "cached": cached})


urlpatterns = [path("prices/<item>", price)]
django.setup()
application = get_wsgi_application()

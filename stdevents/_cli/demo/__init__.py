"""The demo: four worker processes that keep rows of a SQLite file in their caches."""

from __future__ import annotations

from .demo import main

__all__ = ["main"]

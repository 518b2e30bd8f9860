"""More than one host: a stream in Redis, from which each host reads to its bus."""

from __future__ import annotations

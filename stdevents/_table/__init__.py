"""The bytes of a bus, and the protocols by which they are read and written."""

from __future__ import annotations

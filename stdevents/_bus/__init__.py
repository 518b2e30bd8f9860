"""An open bus in one process: its life, its handlers, its loop."""

from __future__ import annotations

"""What the kernel gives: files, locks, memory, a bell. Nothing here knows events, or the log."""

from __future__ import annotations

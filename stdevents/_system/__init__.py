"""What the kernel gives: files, locks, memory, a bell. Nothing here knows a bus."""

from __future__ import annotations

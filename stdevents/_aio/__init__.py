"""What `aio` is made of: when its event loop polls, and what runs on it."""

from __future__ import annotations

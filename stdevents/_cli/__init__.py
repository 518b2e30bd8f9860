"""The command line, a file a command."""

from __future__ import annotations

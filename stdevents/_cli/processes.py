"""What a process is called, for a person who knows its pid only."""

from __future__ import annotations

import os

INTERPRETERS = ("python", "pypy")


def command_of(pid: int) -> str:
    """The name of the program that runs as this process, "" where that is not to be known.

    Its arguments are not shown: they may hold what is secret. Linux tells; in other systems, and
    for another pid namespace, nobody does.
    """
    try:
        with open(f"/proc/{pid}/cmdline", "rb") as file:
            words = file.read(4096).decode(errors="replace").split("\0")
        with open(f"/proc/{pid}/comm") as file:
            comm = file.read().strip()
    except OSError:
        return ""
    first = os.path.basename(words[0])
    if not first.startswith(INTERPRETERS):
        # A title that it has given itself, as "gunicorn: worker [app]", or a program of its own.
        return words[0].strip() if ": " in words[0] else first or comm
    rest = iter(words[1:])
    for word in rest:
        if word == "-m":
            return next(rest, "") or first
        if word == "-c":
            return f"{first} -c"
        if word in ("-X", "-W"):
            next(rest, "")
        elif word and not word.startswith("-"):
            return os.path.basename(word)
    return first

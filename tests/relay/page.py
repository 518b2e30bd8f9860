"""docs/relay.md: what tests take from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

PAGE = Path(__file__).parent.parent.parent / "docs" / "relay.md"
TEXT = PAGE.read_text(encoding="utf-8") if PAGE.exists() else ""
needs_page = pytest.mark.skipif(not TEXT, reason="there are no docs beside the tests")


def program_of(file, **replaced):
    """The program of a file there, with some texts replaced, each `what=(on the page, here)`."""
    (program,) = re.findall(rf"^```python\n# {file}\n(.*?)^```$", TEXT, re.M | re.S)
    for there, here in replaced.values():
        assert there in program
        program = program.replace(there, str(here))
    return program


def client_of(file, **replaced):
    """The client that such a program makes."""
    made = {}
    exec(program_of(file, **replaced), made)
    return made["client"]

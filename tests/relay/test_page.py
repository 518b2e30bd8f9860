"""docs/relay.md: its program, which joins a bus to Redis."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from programs import run

PAGE = Path(__file__).parent.parent.parent / "docs" / "relay.md"
needs_page = pytest.mark.skipif(not PAGE.exists(), reason="there are no docs beside the tests")


@needs_page
def test_the_program_of_the_page_posts_to_all_hosts(server, name, tmp_path):
    text = PAGE.read_text(encoding="utf-8")
    (program,) = re.findall(r"^```python\n# joined\.py\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)
    assert '"10.0.0.1"' in program
    program = program.replace('"10.0.0.1"', f"unix_socket_path={server.path!r}")
    program = program.replace("my-app", name)
    file = tmp_path / "joined.py"
    file.write_text(f"{program}\nrelay.close()\nbus.close()\nclient.close()\n", encoding="utf-8")
    run(file)
    assert len(server.client().xrange(name)) == 1

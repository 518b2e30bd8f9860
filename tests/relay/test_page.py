"""docs/relay.md: its program, which joins a bus to Redis."""

from __future__ import annotations

from page import needs_page, program_of
from programs import run


@needs_page
def test_the_program_of_the_page_posts_to_all_hosts(server, name, tmp_path):
    address = '"10.0.0.1"', f"unix_socket_path={server.path!r}"
    program = program_of("joined.py", address=address, name=("my-app", name))
    file = tmp_path / "joined.py"
    file.write_text(f"{program}\nrelay.close()\nbus.close()\nclient.close()\n", encoding="utf-8")
    run(file)
    assert len(server.client().xrange(name)) == 1

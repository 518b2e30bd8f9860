"""Who uses no relay loads none of it, and may do without its folder."""

from __future__ import annotations

import os
import shutil

import pytest
from programs import run

import stdevents

PACKAGE = os.path.dirname(stdevents.__file__)

WITHOUT = """
import sys
sys.path.insert(0, {folder!r})
import stdevents
assert stdevents.__file__.startswith({folder!r})
try:
    stdevents.{name}
except AttributeError as error:
    print(error)
bus = stdevents.configure(sys.argv[1], interval=0)
seen = []
bus.register(lambda *event: seen.append(event), "test")
bus.post("test", "event", 1)
bus.poll()
print(len(seen), [name for name in sys.modules if "_relay" in name])
"""


@pytest.mark.parametrize(
    "part, name, words",
    [
        ("_relay", "Relay", "the folder _relay"),
        ("_relay", "RelayStats", "the folder _relay"),
        ("aio.py", "aio", "aio.py"),
    ],
)
def test_a_copy_without_a_part_says_which_one_it_is_without(tmp_path, name, part, words):
    copy = tmp_path / "stdevents"
    shutil.copytree(PACKAGE, copy)
    if part.endswith(".py"):
        (copy / part).unlink()
    else:
        shutil.rmtree(copy / part)
    printed = run(WITHOUT.format(folder=str(tmp_path), name=name), f"test-{tmp_path.name}")
    said, works = printed.splitlines()
    assert said == (
        f"stdevents.{name}: this copy of the package is without {words}; copy that as well"
    )
    assert works == "1 []"


def test_an_import_that_fails_within_a_part_is_told_as_it_is(tmp_path):
    copy = tmp_path / "stdevents"
    shutil.copytree(PACKAGE, copy)
    (copy / "aio.py").write_text("import nowhere")
    program = WITHOUT.format(folder=str(tmp_path), name="aio").replace(
        "AttributeError", "ModuleNotFoundError"
    )
    assert run(program, f"test-{tmp_path.name}").startswith("No module named 'nowhere'\n")

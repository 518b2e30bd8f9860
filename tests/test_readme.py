"""The README's code runs as it stands there, under a bus name of its own."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from programs import run

import stdevents

README = Path(__file__).parent.parent / "README.md"
needs_readme = pytest.mark.skipif(not README.exists(), reason="there is no README beside the tests")
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)


@needs_readme
@pytest.mark.parametrize("number", range(max(1, len(BLOCKS))))
def test_the_code_runs(number, name, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BLOCKS[number].replace("my-app", name), encoding="utf-8")
    run("import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", program)


@needs_readme
def test_every_call_and_option_is_in_it():
    shown = set(re.findall(r"\w+", TEXT))
    errors = {"EncodeError", "EventList", "NotConfigured", "PayloadTooLarge", "Stats"}
    errors |= {"Origin", "RelayStats"}
    told_by_help = errors | {"StdeventsError", "WorkerInfo", "events"}
    assert set(stdevents.__all__) - told_by_help <= shown
    assert set(stdevents.configure.__kwdefaults__) <= shown


@needs_readme
def test_the_defaults_are_as_it_says():
    rows = re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+?) \|", TEXT, re.MULTILINE)
    said = {}
    for names, values in rows:
        for option, value in zip(re.findall(r"\w+", names), values.split(", ")):
            said[option] = value.strip("`")
    defaults = stdevents.configure.__kwdefaults__
    assert {option: repr(value).replace("'", '"') for option, value in defaults.items()} == {
        option: f"{float(said[option])}" if isinstance(defaults[option], float) else said[option]
        for option in defaults
    }

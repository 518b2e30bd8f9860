"""The README's code runs as it stands there, under a bus name of its own."""

from __future__ import annotations

import inspect
import re
from pathlib import Path

import pytest
from programs import run

import stdevents

README = Path(__file__).parent.parent / "README.md"
RELAY = README.parent / "docs" / "relay.md"
needs_readme = pytest.mark.skipif(not README.exists(), reason="there is no README beside the tests")
TEXT = README.read_text(encoding="utf-8") if README.exists() else ""
BLOCKS = re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)

# In its debug mode asyncio warns of a step that takes long, as each does on a busy machine.
QUIET = "from asyncio.log import logger; logger.setLevel('ERROR'); del logger; "


@needs_readme
@pytest.mark.parametrize("number", range(max(1, len(BLOCKS))))
def test_the_code_runs(number, name, tmp_path):
    program = tmp_path / "program.py"
    program.write_text(BLOCKS[number].replace("my-app", name), encoding="utf-8")
    run(f"{QUIET}import runpy, sys; runpy.run_path(sys.argv[1], run_name='__main__')", program)


@needs_readme
def test_every_call_and_option_is_in_it():
    shown = set(re.findall(r"\w+", TEXT))
    errors = {"EncodeError", "EventList", "NotConfigured", "PayloadTooLarge", "Stats"}
    errors |= {"Origin", "RelayStats"}
    told_by_help = errors | {"StdeventsError", "WorkerInfo", "events"}
    assert set(stdevents.__all__) - told_by_help <= shown
    assert set(stdevents.configure.__kwdefaults__) <= shown


def defaults_in(text):
    """What its tables say: options, and their defaults as Python writes them."""
    said = {}
    for names, values in re.findall(r"^\| ((?:`\w+`(?:, )?)+) \| (.+?) \|", text, re.MULTILINE):
        for option, value in zip(re.findall(r"\w+", names), values.split(", ")):
            said[option] = value.strip("`").replace('"', "'")
    return said


@needs_readme
def test_the_defaults_are_as_it_says():
    said = defaults_in(TEXT)
    for option, default in stdevents.configure.__kwdefaults__.items():
        assert repr(default) == (
            f"{float(said[option])}" if isinstance(default, float) else said[option]
        )


@needs_readme
def test_the_defaults_of_a_relay_are_as_its_page_says():
    said = defaults_in(RELAY.read_text(encoding="utf-8"))
    assert said.pop("host") == "the machine's name"
    parameters = inspect.signature(stdevents.Relay).parameters
    assert said == {option: repr(parameters[option].default) for option in said}
    assert {*said, "host"} == {
        name for name, one in parameters.items() if one.kind is one.KEYWORD_ONLY
    }

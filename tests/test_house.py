"""The rules of the house that can be read off the sources: of the package, and of its tests."""

from __future__ import annotations

import ast
import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
NAME = 70  # characters that the name of a test may have

# What reaches inside: `inside`, and the breaks that are made in a copy of the package's own text.
INSIDERS = {TESTS / "inside.py", TESTS / "campaigns/breaks.py", TESTS / "test_house.py"}
PROGRAM = re.compile(r"^\s*(?:from|import) +stdevents\._[a-z]", re.MULTILINE)
FILE_OF_PACKAGE = re.compile(r"\b_(?:system|table|bus|relay|cli)/\w")
PRIVATE = re.compile(r"_[A-Za-z]\w*")
# What stands before an underscore that is none of the package's: a test's own, or another's.
OTHERS = {"self", "cls", "os", "sys", "asyncio"}
OTHERS_NAMES = {
    "_source",  # public, of an event list
    "_log_destroy_pending",  # of asyncio's tasks
}


def syntax_of(path):
    return ast.parse(path.read_text(encoding="utf-8"))


def each(paths, base):
    return pytest.mark.parametrize("path", paths, ids=lambda path: str(path.relative_to(base)))


# -- the tests -------------------------------------------------------------------------------------

TEST_FILES = sorted(TESTS.rglob("*.py"))


def is_private(module):
    return any(PRIVATE.fullmatch(part) for part in module.split("."))


def reaches_inside(node):
    """Does this node of a test name what is private in the package?"""
    if isinstance(node, ast.ImportFrom):
        names = [node.module or "", *(alias.name for alias in node.names)]
        return names[0].split(".")[0] == "stdevents" and any(map(is_private, names))
    if isinstance(node, ast.Import):
        return any(
            alias.name.startswith("stdevents.") and is_private(alias.name) for alias in node.names
        )
    if isinstance(node, ast.Attribute) and PRIVATE.fullmatch(node.attr):
        owner = node.value.id if isinstance(node.value, ast.Name) else None
        return owner not in OTHERS and node.attr not in OTHERS_NAMES
    if isinstance(node, ast.Call):
        function = getattr(node.func, "attr", getattr(node.func, "id", ""))
        texts = (one.value for one in node.args if isinstance(one, ast.Constant))
        texts = [text for text in texts if isinstance(text, str)]
        return function in ("getattr", "setattr", "delattr", "hasattr") and any(
            PRIVATE.fullmatch(text) for text in texts
        )
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return bool(PROGRAM.search(node.value) or FILE_OF_PACKAGE.search(node.value))
    return False


@each([path for path in TEST_FILES if path not in INSIDERS], TESTS)
def test_only_one_module_of_the_tests_reaches_inside(path):
    """Rule 10: so that a change within changes `tests/inside.py`, and no test."""
    found = [node.lineno for node in ast.walk(syntax_of(path)) if reaches_inside(node)]
    assert found == [], f"lines {found}: say in inside.py what is wanted, and import that"


@pytest.mark.parametrize(
    "program",
    [
        "from stdevents._bus import bus",
        "from stdevents import _names",
        "import stdevents._log",
        "bus._loop.stop(0)",
        "stdevents.Bus('a')._session",
        "monkeypatch.setattr(bus, '_session', None)",
        "run('import os\\nfrom stdevents._bus import bus')",
        "code.co_filename.endswith('_table/table.py')",
    ],
)
def test_what_reaches_inside_is_recognised(program):
    assert any(map(reaches_inside, ast.walk(ast.parse(program))))


def test_the_name_of_a_test_is_short():
    """Rule 10."""
    long = [
        node.name
        for path in TEST_FILES
        for node in ast.walk(syntax_of(path))
        if isinstance(node, ast.FunctionDef) and node.name.startswith("test_")
        if len(node.name) > NAME
    ]
    assert long == []

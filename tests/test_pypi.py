"""What the package index is told: the page, the classifiers, the addresses; and of a release."""

from __future__ import annotations

import configparser
import importlib.metadata
import re
import runpy
import sys
import types
from pathlib import Path

import pytest

import stdevents

TREE = Path(__file__).parent.parent
needs_the_tree = pytest.mark.skipif(
    not (TREE / "setup.cfg").exists(), reason="the tests are run from a copy, without the tree"
)
LINK = re.compile(r"(!?)\[[^\]]*\]\(([^)\s]+)\)")
PYTHON = "Programming Language :: Python :: "


def settings(file):
    parser = configparser.ConfigParser(interpolation=None)
    parser.read(TREE / file, encoding="utf-8")
    return parser


def lines_of(text):
    return [line for line in text.split("\n") if line]


def urls():
    found = settings("setup.cfg")["metadata"]["project_urls"]
    return dict(line.split(" = ") for line in lines_of(found))


# -- the page --------------------------------------------------------------------------------------


@pytest.fixture
def page(monkeypatch):
    """The long description, as setup.py gives it to setuptools, which need not be installed."""
    given = {}
    setuptools = types.ModuleType("setuptools")
    setuptools.setup = given.update
    monkeypatch.setitem(sys.modules, "setuptools", setuptools)
    runpy.run_path(str(TREE / "setup.py"))
    return given["long_description"]


@needs_the_tree
def test_each_link_of_the_page_leads_to_a_file_of_this_version(page):
    readme = (TREE / "README.md").read_text(encoding="utf-8")
    links = LINK.findall(page)
    assert len(links) == len(LINK.findall(readme)) > 10
    tag = f"v{stdevents.__version__}"
    for is_picture, link in links:
        start = f"{urls()['Source']}/{'raw' if is_picture else 'blob'}/{tag}/"
        assert link.startswith(start), link
        file = link[len(start) :].partition("#")[0]
        assert (TREE / file).is_file(), file
        page = page.replace(f"]({start}", "](")
    assert page == readme


@needs_the_tree
def test_all_addresses_are_of_one_repository():
    for address in urls().values():
        assert address.startswith(urls()["Source"])
        file = address.partition("/blob/main/")[2]
        assert (TREE / file).exists(), file


def metadata_as_installed():
    try:
        return importlib.metadata.metadata("stdevents")
    except importlib.metadata.PackageNotFoundError:
        return pytest.skip("the package is not installed")


def test_the_page_renders_and_every_link_of_it_is_whole():
    """As the index does it: from the metadata of what is installed."""
    markdown = pytest.importorskip(
        "readme_renderer.markdown", reason="readme_renderer is in tox -e package"
    )
    metadata = metadata_as_installed()
    html = markdown.render(metadata.get_payload() or metadata["Description"])
    links = re.findall(r'(?:href|src)="([^"]*)"', html)
    assert len(links) > 10
    assert [link for link in links if not re.match("https://|#", link)] == []
    for element in ("<h1 ", "<table>", "<pre", "<img "):
        assert element in html
    assert "<!--" not in html and "&lt;!--" not in html


# -- the classifiers -------------------------------------------------------------------------------


def classifiers():
    return lines_of(settings("setup.cfg")["metadata"]["classifiers"])


@needs_the_tree
def test_the_classifiers_name_the_pythons_that_tox_tests():
    environments = re.split(r",\s*", settings("tox.ini")["tox"]["env_list"].strip())
    versions = [re.fullmatch(r"py3(\d+)", one) for one in environments]
    tested = {f"3.{found[1]}" for found in versions if found}
    assert "pypy3" in environments and "py313t" in environments

    told = {one[len(PYTHON) :] for one in classifiers() if one.startswith(PYTHON)}
    assert {one for one in told if re.fullmatch(r"3\.\d+", one)} == tested
    assert {"Implementation :: CPython", "Implementation :: PyPy"} <= told
    assert [one for one in told if one.startswith("Free Threading")]
    oldest = min(tested, key=lambda version: int(version[2:]))
    assert settings("setup.cfg")["options"]["python_requires"] == f">={oldest}"


def test_the_index_knows_the_classifiers():
    """It refuses a package that has one which it does not know."""
    known = pytest.importorskip(
        "trove_classifiers", reason="trove-classifiers is in tox -e package"
    )
    metadata = metadata_as_installed()
    told = metadata.get_all("Classifier")
    assert len(told) > 10
    assert [one for one in told if one not in known.classifiers] == []


# -- a release -------------------------------------------------------------------------------------


@needs_the_tree
def test_how_to_install_is_told_as_it_can_be_done():
    """From the index once this version has its date, and until then from a clone."""
    changes = (TREE / "CHANGELOG.md").read_text(encoding="utf-8")
    (when,) = re.findall(rf"^## {re.escape(stdevents.__version__)} - (.+)$", changes, re.MULTILINE)
    assert re.fullmatch(r"unreleased|\d{4}-\d\d-\d\d", when)
    command = "pip install ." if when == "unreleased" else "pip install stdevents"
    for page in ("README.md", "docs/operations.md"):
        assert f"`{command}`" in (TREE / page).read_text(encoding="utf-8"), page

"""The notebook, in a real kernel: a cell that is run three times registers its handler once."""

from __future__ import annotations

import ast
import os

import nbformat
import pytest
from nbclient import NotebookClient
from servers import EXAMPLES, PACKAGE_PARENT, PATIENCE

import stdevents


@pytest.fixture
def notebook(name, tmp_path, monkeypatch):
    """Its cells, on a bus of the test's own; `run(cell)` runs one and returns what it shows."""
    monkeypatch.setenv("PYTHONPATH", PACKAGE_PARENT)
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("JUPYTER_PLATFORM_DIRS", "1")  # else it warns
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", str(tmp_path))
    text = (EXAMPLES / "notebook.ipynb").read_text(encoding="utf-8").replace("my-app", name)
    notebook = nbformat.reads(text, as_version=4)
    client = NotebookClient(notebook, timeout=PATIENCE, kernel_name="python3")
    codes = [number for number, cell in enumerate(notebook.cells) if cell.cell_type == "code"]

    def run(cell):
        done = client.execute_cell(notebook.cells[codes[cell]], codes[cell])
        shown = [one.data["text/plain"] for one in done.outputs if "data" in one]
        assert len(shown) == len(done.outputs), done.outputs  # no warning, no error
        return shown

    with client.setup_kernel():
        yield run


def test_a_cell_that_is_run_three_times_registers_once(notebook):
    configure, register, post, ask = range(4)
    for _ in range(3):
        notebook(configure)
        assert notebook(register) == []
    (heard,) = notebook(post)[-1:]
    assert ast.literal_eval(heard) == [("prices", "changed", {"item": "tea"})]
    (heard,) = notebook(post)[-1:]
    assert len(ast.literal_eval(heard)) == 2
    assert notebook(ask) == ["{}"]


def test_it_hears_and_asks_the_workers(notebook, name):
    worker = stdevents.Bus(name)
    asked = worker.answer("cache", "size")(lambda data, event, source, pid: 7)
    assert asked
    for cell in (0, 1):
        notebook(cell)
    assert worker.wait(worker.post("prices", "changed", {"item": "coffee"}), timeout=PATIENCE)
    heard = notebook(2)[-1]
    assert [data["item"] for _, _, data in ast.literal_eval(heard)] == ["coffee", "tea"]
    (answers,) = notebook(3)
    assert f"Answer(pid={os.getpid()}, value=7, error=None)" in answers
    worker.close()

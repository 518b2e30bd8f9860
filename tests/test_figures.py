"""The figures that people see are those of one run: README's table, the page, and the chart."""

from __future__ import annotations

import importlib
import json
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parent.parent / "benchmarks"

pytestmark = pytest.mark.skipif(not BENCHMARKS.is_dir(), reason="the package alone is here")


@pytest.fixture(scope="module")
def result():
    return json.loads((BENCHMARKS / "results.json").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def pages():
    """The module that writes them."""
    sys.path.insert(0, str(BENCHMARKS))
    try:
        return importlib.import_module("pages")
    finally:
        sys.path.remove(str(BENCHMARKS))


AGAIN = "they are not of one run: `tox -e bench -- --pages` writes them again"


def test_the_table_of_the_readme_is_of_the_results(pages, result):
    text = pages.README.read_text(encoding="utf-8")
    shown = text.split(pages.BEGIN)[1].split(pages.END)[0]
    assert shown == pages.for_readme(result), AGAIN


def test_what_the_readme_says_of_other_ways_is_of_the_results(pages, result):
    text = pages.README.read_text(encoding="utf-8")
    shown = text.split(pages.OTHERS_BEGIN)[1].split(pages.OTHERS_END)[0]
    assert shown == pages.others(result), AGAIN
    assert shown.count("\n| ") == len(pages.NEEDS)


def test_the_table_of_the_readme_is_short(pages, result):
    head, line, *rows = pages.for_users(result)
    assert 0 < len(rows) <= 8


def test_the_page_of_figures_is_of_the_results(pages, result):
    assert pages.PAGE.read_text(encoding="utf-8") == pages.page(result), AGAIN


def test_the_chart_is_of_the_results(pages, result):
    chart = (BENCHMARKS / "chart.svg").read_text(encoding="utf-8")
    titles, rows, columns = pages.shown(result)
    shown = [*titles, *(row["slow"] for row in rows.values())]
    shown += [label for _, _, labels in columns for label in labels]
    assert [text for text in shown if text not in chart] == [], AGAIN


def test_each_goal_is_met_or_missed_by_what_was_measured(result):
    """Nobody has to look it up: the page says it."""
    goals = [one for one in result["figures"] if one["goal"] is not None]
    assert len(goals) >= 20
    assert all(one["ours"] for one in goals)

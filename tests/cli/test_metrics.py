"""`status --metrics`: figures as OpenMetrics text, for Prometheus."""

from __future__ import annotations

import re

import pytest
from inside import Relayed, Row, Status, metrics_of

import stdevents

pytestmark = pytest.mark.usefixtures("interruptible")

ROWS = [
    Row(4711, 0, 90, 10, 1700000000, 0.25, 0, 3, 7, "app.py"),
    Row(4712, 1, 1, 99, 1700000001, 1.0, 84, 0, 0, "app.py"),
]
STATE = Status("my-app", 1, "drop", 4096, 1000, 16, 15, 100, ROWS)
SAMPLE = re.compile(r'(\w+)\{bus="([\w.:@+-]+)"(?:,slot="(\d+)")?\} (\d+(?:\.\d+)?)')


def families_in(text):
    """Type and samples of each family, read by the rules of OpenMetrics 1.0."""
    *lines, end, nothing = text.split("\n")
    assert (end, nothing) == ("# EOF", "")
    families = {}
    for line in lines:
        if line.startswith("# TYPE "):
            _, _, name, kind = line.split(" ")
            assert name not in families, "all lines of a family stand together"
            families[name], last = (kind, {}), name
        elif line.startswith("# UNIT "):
            assert line.split(" ")[2] == last and last.endswith(f"_{line.split(' ')[3]}")
        elif line.startswith("# HELP "):
            assert line.split(" ", 3)[2] == last and '"' not in line and "\\" not in line
        else:
            name, bus, slot, value = SAMPLE.fullmatch(line).groups()
            assert name == (f"{last}_total" if families[last][0] == "counter" else last)
            families[last][1][bus, slot] = float(value)
    return families


def test_the_figures_of_a_bus_and_of_its_workers():
    families = families_in(metrics_of([("my-app", STATE)]))
    assert {name: found for name, found in families.items() if "worker_" not in name} == {
        "stdevents_up": ("gauge", {("my-app", None): 1}),
        "stdevents_workers": ("gauge", {("my-app", None): 2}),
        "stdevents_losing_workers": ("gauge", {("my-app", None): 1}),
        "stdevents_events": ("counter", {("my-app", None): 100}),
        "stdevents_kept_events": ("gauge", {("my-app", None): 15}),
        "stdevents_used_bytes": ("gauge", {("my-app", None): 1000}),
        "stdevents_size_bytes": ("gauge", {("my-app", None): 4096}),
    }
    of_workers = {
        name: [samples["my-app", slot] for slot in "01"]
        for name, (_, samples) in families.items()
        if "worker_" in name
    }
    assert of_workers == {
        "stdevents_worker_pid": [4711, 4712],
        "stdevents_worker_joined_seconds": [1700000000, 1700000001],
        "stdevents_worker_lag_events": [10, 99],
        "stdevents_worker_behind_ratio": [0.25, 1],
        "stdevents_worker_lost_events": [3, 0],
        "stdevents_worker_unhandled_events": [7, 0],
    }


def test_the_figures_of_a_relay_are_told_where_there_is_one():
    def of_relay(*relay):
        state = Status(*STATE[:-1], Relayed("stream", "1-0", *relay))
        families = families_in(metrics_of([("my-app", state), ("other", STATE)]))
        return [families[f"stdevents_relay_{what}"] for what in ("up", "lag_entries")]

    one = ("my-app", None)
    assert of_relay(7, 4711, None) == [("gauge", {one: 1}), ("gauge", {one: 7})]
    assert of_relay(7, 4711, 1700000000)[0] == ("gauge", {one: 0})
    assert of_relay(7, None, None)[0] == ("gauge", {one: 0})
    assert of_relay(None, 4711, None)[1] == ("gauge", {})


def test_a_bus_that_cannot_be_looked_at_is_down_and_the_others_are_told():
    families = families_in(metrics_of([("locked", None), ("my-app", STATE)]))
    assert families["stdevents_up"] == ("gauge", {("locked", None): 0, ("my-app", None): 1})
    assert families["stdevents_workers"] == ("gauge", {("my-app", None): 2})


def test_where_there_is_no_bus_there_is_an_end_at_least():
    """Else a collector would take the file for one that is half written."""
    assert all(not samples for _, samples in families_in(metrics_of([])).values())


def test_the_parser_of_prometheus_client_takes_it():
    parser = pytest.importorskip(
        "prometheus_client.openmetrics.parser", reason="prometheus_client is not installed"
    )
    families = list(
        parser.text_string_to_metric_families(metrics_of([("a", None), ("my-app", STATE)]))
    )
    assert [one.name for one in families] == list(families_in(metrics_of([("my-app", STATE)])))
    found = {sample.name: sample for one in families for sample in one.samples}
    assert found["stdevents_events_total"].value == 100
    assert found["stdevents_worker_lag_events"].labels == {"bus": "my-app", "slot": "1"}


def test_the_command_writes_it_of_one_bus_or_of_all(called, name, worker):
    a_worker = worker()
    for arguments in ([name], []):
        _, out, err = called("status", *arguments, "--metrics")
        families = families_in(out)
        assert err == ""
        assert families["stdevents_workers"][1][name, None] == 1
        assert families["stdevents_worker_pid"][1][name, "0"] == a_worker.pid
    assert list(families_in(called("status", name, "--metrics")[1])["stdevents_up"][1]) == [
        (name, None)
    ]


@pytest.mark.parametrize("others", [["--watch"], ["--every", "2"], ["--json"]])
def test_it_is_written_once_and_in_one_form(called, others):
    status, out, err = called("status", "--metrics", *others)
    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ")


def test_a_bus_that_is_not_there_is_an_error(called, name):
    status, out, err = called("status", name, "--metrics")
    assert (status, out) == (2, "")
    assert err.startswith(f"stdevents: no bus {name!r}")
    assert stdevents.configured() is False

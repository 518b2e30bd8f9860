"""The command `post`."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.usefixtures("interruptible")


def test_a_post_from_outside_reaches_the_workers_and_tells_its_id(called, name, worker):
    a_worker = worker()

    assert called("post", name, "test", "told", '{"key": [7]}') == (0, "2\n", "")
    assert called("post", name, "test", "told") == (0, "3\n", "")
    assert a_worker.poll() == [("told", {"key": [7]}), ("told", None)]


def test_a_post_reads_its_data_from_standard_input(command, name, worker):
    a_worker = worker()
    posting = command("post", name, "test", "told", "-")
    posting.process.stdin.write('["from\\nstdin"]')

    assert posting.end() == (0, "2\n", "")
    assert a_worker.poll() == [("told", ["from\nstdin"])]


def test_a_unique_post_from_outside_is_handled_by_one(called, name, worker):
    """G4."""
    workers = [worker(), worker()]
    assert called("post", name, "test", "told", "1", "--unique", "key")[0] == 0
    assert called("post", name, "test", "told", "2", "--unique", "key")[0] == 0

    assert [a_worker.poll() for a_worker in workers] == [[("told", 1)], []]


@pytest.mark.parametrize("data", ["{key: 7}", "", "[" * 100000, "NaN", "[1e999]", '"\\ud800"'])
def test_data_that_is_not_json_is_an_error_and_nothing_is_posted(called, name, worker, data):
    worker()
    status, out, err = called("post", name, "test", "told", data)

    assert (status, out) == (2, "")
    assert err.startswith("stdevents: ")
    assert err.count("\n") == 1
    assert called("post", name, "test", "told")[1] == "2\n"


def test_a_post_that_is_larger_than_the_ring_is_an_error(called, name, worker):
    worker(size=1024)
    status, out, err = called("post", name, "test", "told", f'"{"x" * 1024}"')

    assert (status, out) == (2, "")
    assert "1024" in err

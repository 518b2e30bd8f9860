"""The fixture `campaign`, and the lines at the end of a run."""

from __future__ import annotations

import pytest

from tests.campaigns.campaign import Campaign

lines = pytest.StashKey()


def pytest_configure(config):
    config.stash[lines] = []


@pytest.fixture
def campaign(request, watchdog):
    """Counts the cases and violations of the campaign that this test is."""
    options = request.config.option
    plugins = request.config.pluginmanager
    reporter, capture = map(plugins.get_plugin, ("terminalreporter", "capturemanager"))

    def tell(line):
        with capture.global_and_fixture_disabled():
            reporter.write_line(line)
            reporter.flush()  # it may be a file, that somebody follows

    return Campaign(options.seed, options.long, request.config.stash[lines], tell)


def pytest_terminal_summary(terminalreporter, config):
    if config.stash[lines]:
        terminalreporter.section("campaigns")
        for line in config.stash[lines]:
            terminalreporter.write_line(line)

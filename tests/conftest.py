"""What holds for every test."""

import coverage
import pytest


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item):
    """Tests that try every case there is say nothing new of which lines run, and cost twice then."""
    running = coverage.Coverage.current() if item.get_closest_marker("exhaustive") else None
    if running is None:
        return (yield)
    running.stop()
    try:
        return (yield)
    finally:
        running.start()

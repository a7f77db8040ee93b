"""Running out of file descriptors: noticed in time, said, and counted."""

import logging
import os

import pytest
from memorywire import MemoryWire

from flyball.http.files import LOOK_EVERY, RESERVE, FileBudget, RefusedConnection
from flyball.testing import TestClock


@pytest.fixture
def lowest():
    """The descriptor that the system would give next."""
    number = os.open(os.devnull, os.O_RDONLY)
    os.close(number)
    return number


def test_without_a_limit_all_are_admitted():
    assert all(FileBudget(TestClock(), 0).admits() for _ in range(100))


def test_the_last_descriptors_are_kept(lowest, caplog):
    clock, refused = TestClock(), []
    budget = FileBudget(clock, lowest + RESERVE + 3, lambda: refused.append(1))
    assert budget.admits()
    held = [os.open(os.devnull, os.O_RDONLY) for _ in range(3)]
    try:
        admitted = [budget.admits() for _ in range(LOOK_EVERY + 100)]
        assert not any(admitted[LOOK_EVERY:])
        assert len(refused) == admitted.count(False)
        (line,) = [r for r in caplog.records if r.levelno == logging.ERROR]
        assert "raise the limit" in line.getMessage()
        clock.advance(1.0)
        budget.admits()
        assert "refused since the last line" in caplog.records[-1].getMessage()
        assert len(caplog.records) == 2
    finally:
        for number in held:
            os.close(number)
    assert budget.admits()


def test_a_process_that_has_none_left(lowest):
    budget = FileBudget(TestClock(), 1)
    assert not budget.admits()


def test_a_process_that_cannot_look(monkeypatch):
    def none_left(*_):
        raise OSError("too many open files")

    monkeypatch.setattr("os.open", none_left)
    assert not FileBudget(TestClock(), 1000).admits()
    assert FileBudget(TestClock(), 0).admits()


def test_a_refused_connection_is_closed_at_once():
    wire = MemoryWire()
    RefusedConnection().connection_made(wire)
    assert wire.closed

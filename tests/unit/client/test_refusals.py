"""How much of the log one client, or very many, can fill by being refused."""

from policy_fakes import FakeConnection
from structlog.testing import capture_logs

from flyball.core.errors import Error
from flyball.server.client import refusals


def refuse(connection, times):
    for _ in range(times):
        refusals.log_refusal(connection, Error(103, detail="refused"))


def test_a_client_that_is_refused_again_and_again(caplog):
    caplog.set_level("INFO", "flyball.client")
    with capture_logs() as lines:
        refuse(FakeConnection("a"), 1000)
    assert len(lines) <= refusals.LINES_OF_CLIENT


def test_very_many_clients(caplog):
    caplog.set_level("INFO", "flyball.client")
    with capture_logs() as lines:
        for _ in range(5000):
            refuse(FakeConnection("a"), 1)
    # they may take some seconds on a busy machine
    assert len(lines) < 2000


def test_what_was_left_out_is_told_with_the_next_line(caplog):
    caplog.set_level("INFO", "flyball.client")
    connection = FakeConnection("a")
    refuse(connection, refusals.LINES_OF_CLIENT + 7)
    connection.storage["flyball.refusals"]._since -= refusals.CLIENT_SECONDS
    refusals._all_clients._since = float("-inf")
    with capture_logs() as lines:
        refuse(connection, 1)
    assert lines[0]["left_out"] >= 7

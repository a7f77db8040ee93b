"""The quick cases of the conformance suites; `make conformance` runs all."""

import os

import pytest
import uvloop
from suites import (
    HTTP2_CLEARTEXT,
    HTTP2_TLS,
    QUICK_PARTS,
    missing_h2spec,
    missing_kosoku,
    run_autobahn,
    run_h2spec,
)


def pytest_asyncio_loop_factories(config, item):
    """The loop of the server."""
    return {"uvloop": uvloop.new_event_loop}


def require(missing):
    """Skips for a tool that is missing, but not where all tools have to be."""
    if missing and os.environ.get("CI"):
        pytest.fail(missing)
    if missing:
        pytest.skip(missing)


async def test_websocket():
    require(missing_kosoku())
    outcomes = await run_autobahn(*QUICK_PARTS)
    assert len(outcomes) > 250
    assert [str(outcome) for outcome in outcomes if outcome.surprise] == []


@pytest.mark.parametrize("suite", [HTTP2_TLS, HTTP2_CLEARTEXT])
async def test_http2(suite):
    require(missing_h2spec())
    outcomes = await run_h2spec(suite)
    assert len(outcomes) > 140
    assert [str(outcome) for outcome in outcomes if outcome.surprise] == []

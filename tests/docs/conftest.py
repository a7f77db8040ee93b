"""What tests of several pages need."""

import pytest
from ports import accepts, free_port
from processes import FLYBALL, ROOT, Program
from waiting import wait_for


@pytest.fixture(scope="module")
def demo_port():
    """The port of the server that `make run` starts."""
    port = free_port()
    arguments = ("-c", "demo/config.toml", "--http_server.port", str(port))
    with Program(FLYBALL, *arguments, cwd=ROOT) as server:
        wait_for(lambda: accepts(port), "server")
        yield port
        assert server.stop() == 0
    assert "Traceback" not in server.output

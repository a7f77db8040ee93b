"""Node's built-in HTTP/2 client: streaming, emulation, and WebSocket over a stream."""

import json
import re

import pytest
from certificates import self_signed
from sdk_server import JS, ServerProcess, node, require, run_scenario

SHUTDOWN = "shutdown"
NAMES = re.findall(r"^  async (\w+)\(", (JS / "http2.mjs").read_text(), re.MULTILINE)


PINGS = "stream_and_emulation"


def with_tls(config_file, tmp_path_factory):
    certificate, key = map(bytes.decode, self_signed())
    config = json.loads(config_file.read_text())
    config["http_server"] = {"tls": {"enabled": True, "cert_pem": certificate, "key_pem": key}}
    config["http_stream"] = {"enabled": True}
    file = tmp_path_factory.mktemp("node_http2") / "config.json"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture(scope="module")
def tls_config(config_file, tmp_path_factory):
    return with_tls(config_file, tmp_path_factory)


@pytest.fixture(scope="module")
def server(tls_config):
    with ServerProcess(tls_config, tls=True, GODEBUG="http2xconnect=1") as process:
        yield process


@pytest.fixture
def pinging(pinging_config, tmp_path_factory):
    with ServerProcess(with_tls(pinging_config, tmp_path_factory), tls=True) as process:
        yield process


@pytest.fixture(autouse=True)
def node_modules():
    require("centrifuge")


@pytest.mark.parametrize("name", [name for name in NAMES if name != SHUTDOWN])
def test_scenario(request, name):
    server = request.getfixturevalue("pinging" if name == PINGS else "server")
    run_scenario(server, "http2.mjs", name)


def test_shutdown(tls_config):
    """SIGTERM ends streams with 3001, and then the connection."""
    with (
        ServerProcess(tls_config, tls=True) as server,
        node(server, "http2.mjs", SHUTDOWN) as program,
    ):
        program.wait_for(lambda: "connected\n" in program.lines)
        assert server.stop() == 0
        program.wait_for(lambda: "done\n" in program.lines)
        assert program.end() == 0

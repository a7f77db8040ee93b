"""Node's built-in HTTP/2 client: streaming, emulation, and WebSocket over a stream."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from certificates import self_signed
from sdk_server import API_KEY, SECRET, ServerProcess

JS = Path(__file__).parent / "js"
TIMEOUT = 60
SHUTDOWN = "shutdown"
NAMES = re.findall(r"^  async (\w+)\(", (JS / "http2.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="module")
def tls_config(config_file, tmp_path_factory):
    certificate, key = map(bytes.decode, self_signed())
    config = json.loads(config_file.read_text())
    config["http_server"] = {"tls": {"enabled": True, "cert_pem": certificate, "key_pem": key}}
    config["http_stream"] = {"enabled": True}
    file = tmp_path_factory.mktemp("node_http2") / "config.json"
    file.write_text(json.dumps(config))
    return file


@pytest.fixture(scope="module")
def server(tls_config):
    with ServerProcess(tls_config, tls=True, GODEBUG="http2xconnect=1") as process:
        yield process


def command_of(name):
    if not (JS / "node_modules" / "centrifuge").is_dir():
        pytest.fail("tests/sdk/js/node_modules is missing; run the tests with `make test`")
    return ["node", "http2.mjs", name]


def environ_of(server):
    return {
        **os.environ,
        "URL_HTTP2": f"https://127.0.0.1:{server.port}",
        "URL_API": server.api,
        "API_KEY": API_KEY,
        "SECRET": SECRET,
        "PROTOCOL": "json",
    }


@pytest.mark.parametrize("name", [name for name in NAMES if name != SHUTDOWN])
def test_scenario(server, name):
    result = subprocess.run(
        command_of(name),
        cwd=JS,
        env=environ_of(server),
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


def test_shutdown(tls_config):
    """SIGTERM ends streams with 3001, and then the connection."""
    with (
        ServerProcess(tls_config, tls=True) as server,
        subprocess.Popen(
            command_of(SHUTDOWN), cwd=JS, env=environ_of(server), stdout=subprocess.PIPE, text=True
        ) as process,
    ):
        assert process.stdout.readline() == "connected\n"
        assert server.stop() == 0
        assert process.stdout.readline() == "done\n"
    assert process.returncode == 0

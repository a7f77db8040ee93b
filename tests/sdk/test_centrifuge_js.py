"""centrifuge-js under Node; the scenarios are JavaScript, one process each."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from sdk_server import API_KEY, SECRET

JS = Path(__file__).parent / "js"
TIMEOUT = 60
NAMES = re.findall(r"^  async (\w+)\(", (JS / "scenarios.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="session")
def node_modules():
    """The SDK must be there: a missing one is a failure, not a reason to skip."""
    if not (JS / "node_modules" / "centrifuge").is_dir():
        pytest.fail("tests/sdk/js/node_modules is missing; run the tests with `make test`")


def test_scenarios_are_found():
    assert len(NAMES) >= 20
    assert "recovery_after_a_drop" in NAMES


@pytest.mark.usefixtures("node_modules")
@pytest.mark.parametrize("protocol", ["json", "protobuf"])
@pytest.mark.parametrize("name", NAMES)
def test_scenario(server, name, protocol):
    environ = {
        **os.environ,
        "URL_WS": server.websocket,
        "URL_API": server.api,
        "API_KEY": API_KEY,
        "SECRET": SECRET,
        "PROTOCOL": protocol,
    }
    result = subprocess.run(
        ["node", "scenarios.mjs", name],
        cwd=JS,
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr


@pytest.mark.usefixtures("node_modules")
def test_shutdown_sends_clients_elsewhere(own_server):
    """SIGTERM closes every client with 3001, after which it tries again."""
    script = """
        import { client } from './harness.mjs';
        import { token } from './harness.mjs';
        const c = client({ token: token('u') });
        c.on('connected', () => console.log('connected'));
        c.on('connecting', (context) => {
          if (context.code) { console.log(`code ${context.code}`); process.exit(); }
        });
        c.connect();
        setTimeout(() => process.exit(1), 15000);
    """
    environ = {
        **os.environ,
        "URL_WS": own_server.websocket,
        "URL_API": own_server.api,
        "API_KEY": API_KEY,
        "SECRET": SECRET,
        "PROTOCOL": "json",
    }
    with subprocess.Popen(
        ["node", "--input-type=module", "-e", script],
        cwd=JS,
        env=environ,
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout.readline() == "connected\n"
        assert own_server.stop() == 0
        assert process.stdout.readline() == "code 3001\n"
    assert process.returncode == 0

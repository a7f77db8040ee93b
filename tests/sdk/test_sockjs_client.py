"""sockjs-client under Node, alone and under centrifuge-js: the receivers that it has there."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from sdk_server import API_KEY, SECRET

JS = Path(__file__).parent / "js"
TIMEOUT = 60
NAMES = re.findall(r"^  async (\w+)\(", (JS / "sockjs.mjs").read_text(), re.MULTILINE)
RECEIVERS = ("websocket", "xhr-streaming", "xhr-polling", "eventsource")


def test_scenarios_are_found():
    assert len(NAMES) == 3


@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", NAMES)
def test_scenario(server, name, receiver):
    if not (JS / "node_modules" / "sockjs-client").is_dir():
        pytest.fail("tests/sdk/js/node_modules is missing; run the tests with `make test`")
    environ = {
        **os.environ,
        "URL_SOCKJS": f"http://127.0.0.1:{server.port}/connection/sockjs",
        "URL_API": server.api,
        "API_KEY": API_KEY,
        "SECRET": SECRET,
        "PROTOCOL": "json",
    }
    result = subprocess.run(
        ["node", "sockjs.mjs", name, receiver],
        cwd=JS,
        env=environ,
        capture_output=True,
        text=True,
        timeout=TIMEOUT,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr

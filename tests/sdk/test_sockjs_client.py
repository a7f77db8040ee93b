"""sockjs-client under Node, alone and under centrifuge-js: the receivers that it has there."""

import re

import pytest
from sdk_server import JS, require, run_scenario

NAMES = re.findall(r"^  async (\w+)\(", (JS / "sockjs.mjs").read_text(), re.MULTILINE)
CUT_OFF = "cut_off_and_recovered"
"""Some receivers notice that the network is gone by pings that do not come."""
RECEIVERS = ("websocket", "xhr-streaming", "xhr-polling", "eventsource")


def test_scenarios_are_found():
    assert len(NAMES) == 3


@pytest.mark.parametrize("receiver", RECEIVERS)
@pytest.mark.parametrize("name", NAMES)
def test_scenario(request, name, receiver):
    require("sockjs-client")
    server = request.getfixturevalue("pinging" if name == CUT_OFF else "server")
    run_scenario(server, "sockjs.mjs", name, receiver)

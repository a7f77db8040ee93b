"""centrifuge-js under Node; the scenarios are JavaScript, one process each."""

import re

import pytest
from sdk_server import JS, node, require, run_scenario

NAMES = re.findall(r"^  async (\w+)\(", (JS / "scenarios.mjs").read_text(), re.MULTILINE)


@pytest.fixture(scope="session")
def node_modules():
    require("centrifuge")


def test_scenarios_are_found():
    assert len(NAMES) >= 20
    assert "recovery_after_a_drop" in NAMES


@pytest.mark.usefixtures("node_modules")
@pytest.mark.parametrize("protocol", ["json", "protobuf"])
@pytest.mark.parametrize("name", NAMES)
def test_scenario(request, name, protocol):
    server = request.getfixturevalue("pinging" if name == "pings" else "server")
    run_scenario(server, "scenarios.mjs", name, PROTOCOL=protocol)


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
        setTimeout(() => process.exit(1), process.env.PATIENCE * 1000);
    """
    with node(own_server, "--input-type=module", "-e", script) as program:
        program.wait_for(lambda: "connected\n" in program.lines)
        assert own_server.stop() == 0
        program.wait_for(lambda: "code 3001\n" in program.lines)
        assert program.end() == 0

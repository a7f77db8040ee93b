"""The commands of docs/admin.md, against the server that `make run` starts."""

import json
import os
import re
import shutil
import subprocess

import pytest
from ports import accepts, free_port
from processes import FLYBALL, ROOT, Program
from waiting import wait_for

from flyball.server.config.schema_server import Admin
from flyball.server.config.table import fields_of

TEXT = (ROOT / "docs" / "admin.md").read_text()


@pytest.fixture(scope="module")
def port():
    port = free_port()
    arguments = ("-c", "demo/config.toml", "--http_server.port", str(port))
    with Program(FLYBALL, *arguments, cwd=ROOT) as server:
        wait_for(lambda: accepts(port), "server")
        yield port
        assert server.stop() == 0
    assert "Traceback" not in server.output


def block(name):
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"docs/admin.md has no block {name!r}"
    return found[1].strip()


def output(command):
    environ = {**os.environ, "no_proxy": "*"}
    done = subprocess.run(
        ["bash", "-c", command],
        check=False,
        env=environ,
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=60,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("connections", "connections"),
        ("channels", "channels"),
        ("users", "users"),
        ("channel", "num_clients"),
        ("explain", "verdict"),
    ],
)
def test_requests(port, name, key):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = block(name).replace("localhost:8000", f"localhost:{port}")
    answer = output(command.replace("curl", "curl -s", 1))
    assert key in json.loads(answer)["result"]


def test_command():
    assert "allow_publish_for_subscriber" in output(
        block("command").replace("flyball", str(FLYBALL), 1)
    )


def test_every_option_is_there():
    for option in fields_of(Admin):
        assert f"`admin.{option.name}`" in TEXT


def test_pictures_are_there_and_small():
    for name in re.findall(r"\((images/[\w-]+\.png)\)", TEXT):
        assert (ROOT / "docs" / name).stat().st_size < 150_000

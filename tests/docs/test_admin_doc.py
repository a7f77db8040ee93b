"""The commands of docs/admin.md, against the server that `make run` starts."""

import json
import os
import re
import shutil
import subprocess

import pytest
from pages import block
from processes import FLYBALL, ROOT

from flyball.server.config.schema_server import Admin
from flyball.server.config.table import fields_of

TEXT = (ROOT / "docs" / "admin.md").read_text()


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
def test_requests(demo_port, name, key):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = block(TEXT, f"run: {name}", "sh").replace("localhost:8000", f"localhost:{demo_port}")
    answer = output(command.replace("curl", "curl -s", 1))
    assert key in json.loads(answer)["result"]


def test_command():
    assert "allow_publish_for_subscriber" in output(
        block(TEXT, "run: command", "sh").replace("flyball", str(FLYBALL), 1)
    )


def test_every_option_is_there():
    for option in fields_of(Admin):
        assert f"`admin.{option.name}`" in TEXT


def test_pictures_are_there_and_small():
    for name in re.findall(r"\((images/[\w-]+\.png)\)", TEXT):
        assert (ROOT / "docs" / name).stat().st_size < 150_000

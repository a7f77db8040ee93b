"""The commands of docs/transports.md, against the server that `make run` starts."""

import contextlib
import http.client
import json
import os
import re
import shutil

import pytest
from pages import block
from processes import ROOT, Program

TEXT = (ROOT / "docs" / "transports.md").read_text()


def shell(name, port, **values):
    """Runs the code block under ``<!-- run: name -->``."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    command = block(TEXT, f"run: {name}", "sh").replace("localhost:8000", f"localhost:{port}")
    for word, value in values.items():
        command = command.replace(word, value)
    command = command.strip().replace("curl", "curl -s", 1)
    return Program("bash", "-c", f"exec {command}", env={**os.environ, "no_proxy": "*"})


def line(curl, number):
    """The line of that number of what a program says."""
    return curl.wait_for(lambda: curl.lines[number : number + 1])[0]


def test_uni_http_stream(demo_port):
    with shell("uni_http_stream", demo_port) as curl:
        assert "chat:lobby" in json.loads(line(curl, 0))["connect"]["subs"]


def test_uni_sse(demo_port):
    with shell("uni_sse", demo_port) as curl:
        assert not line(curl, 0).strip()
        data = line(curl, 1).removeprefix("data: ")
        assert "chat:lobby" in json.loads(data)["connect"]["subs"]


def test_http_stream_and_emulation(demo_port):
    with shell("http_stream", demo_port) as curl:
        connect = json.loads(line(curl, 0))["connect"]
        with shell(
            "emulation", demo_port, SESSION=connect["session"], NODE=connect["node"]
        ) as command:
            assert command.end() == 0
        reply = json.loads(line(curl, 1))
        assert reply["id"] == 2
        assert reply["subscribe"]["recoverable"]


def test_the_demo_serves_what_the_table_says(demo_port):
    rows = re.findall(r"^\| .*? \| .*? \| (.*?) \| `(/.*?)` \|", TEXT, re.MULTILINE)
    assert len(rows) == 8
    for switch, path in rows:
        connection = http.client.HTTPConnection("127.0.0.1", demo_port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert (connection.getresponse().status == 404) is ("TLS" in switch), path

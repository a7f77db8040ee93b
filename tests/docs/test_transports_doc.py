"""The commands of docs/transports.md, against the server that `make run` starts."""

import contextlib
import http.client
import json
import os
import re
import shutil
import subprocess

import pytest
from doc_tools import BIN, ROOT, accepts, free_port, read_line, stop, wait_for

TEXT = (ROOT / "docs" / "transports.md").read_text()


@pytest.fixture(scope="module")
def port():
    port = free_port()
    command = [BIN / "flyball", "-c", "demo/config.toml", "--http_server.port", str(port)]
    server = subprocess.Popen(command, cwd=ROOT, stderr=subprocess.PIPE, text=True)
    try:
        wait_for(lambda: accepts(port), "the server's start")
        yield port
    finally:
        assert stop(server) == 0
        log = server.communicate()[1]
    assert "Traceback" not in log


@contextlib.contextmanager
def shell(name, port, **values):
    """Runs the code block under ``<!-- run: name -->``."""
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    found = re.search(rf"<!-- run: {name} -->\n```sh\n(.*?)```", TEXT, re.DOTALL)
    assert found, f"docs/transports.md has no block {name!r}"
    command = found[1].replace("localhost:8000", f"localhost:{port}")
    for word, value in values.items():
        command = command.replace(word, value)
    process = subprocess.Popen(
        ["bash", "-c", f"exec {command.strip().replace('curl', 'curl -s', 1)}"],
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "no_proxy": "*"},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate()


def test_uni_http_stream(port):
    with shell("uni_http_stream", port) as curl:
        assert "chat:lobby" in json.loads(read_line(curl))["connect"]["subs"]


def test_uni_sse(port):
    with shell("uni_sse", port) as curl:
        assert not read_line(curl).strip()
        line = read_line(curl).removeprefix("data: ")
        assert "chat:lobby" in json.loads(line)["connect"]["subs"]


def test_http_stream_and_emulation(port):
    with shell("http_stream", port) as curl:
        connect = json.loads(read_line(curl))["connect"]
        with shell("emulation", port, SESSION=connect["session"], NODE=connect["node"]) as command:
            assert command.wait(10) == 0
        reply = json.loads(read_line(curl))
        assert reply["id"] == 2
        assert reply["subscribe"]["recoverable"]


def test_the_demo_serves_what_the_table_says(port):
    rows = re.findall(r"^\| .*? \| .*? \| (.*?) \| `(/.*?)` \|", TEXT, re.MULTILINE)
    assert len(rows) == 8
    for switch, path in rows:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        with contextlib.closing(connection):
            connection.request("GET", path)
            assert (connection.getresponse().status == 404) is ("TLS" in switch), path


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", TEXT):
        assert (ROOT / "docs" / target).exists(), target

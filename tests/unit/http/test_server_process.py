"""The server as a process: what it says on its way in, on reload and on its way out."""

import contextlib
import json
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest

FLYBALL = Path(sys.executable).parent / "flyball"


class Run:
    def __init__(self, folder, **config):
        config.setdefault("http_server", {"address": "127.0.0.1", "port": 0})
        self.file = folder / "config.json"
        self.write(**config)
        self.process = subprocess.Popen(
            [FLYBALL, "-c", self.file], stderr=subprocess.PIPE, text=True, cwd=folder
        )
        self.lines = []

    def write(self, **config):
        self.file.write_text(json.dumps(config))

    def read(self, message):
        """The next line that says ``message``."""
        end = time.monotonic() + 15
        while time.monotonic() < end:
            text = self.process.stderr.readline()
            assert text, self.lines
            line = json.loads(text)
            self.lines.append(line["message"])
            if line["message"] == message:
                return line
        raise AssertionError(self.lines)


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:

        def run(**config):
            server = Run(tmp_path, **config)
            stack.callback(server.process.stderr.close)
            stack.callback(server.process.wait)
            stack.callback(server.process.kill)
            return server

        yield run


def test_pid_file_comes_and_goes(start, tmp_path):
    path = tmp_path / "pid"
    server = start(pid_file=str(path))
    server.read("started")
    for _ in range(100):
        if path.exists() and path.read_text():
            break
        time.sleep(0.05)
    assert path.read_text() == str(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    server.read("stopped")
    assert server.process.wait(10) == 0
    assert not path.exists()


def test_pid_file_that_cannot_be_written(start):
    server = start(pid_file="/no/such/place")
    error = server.read("cannot start")["error"]
    assert error == "pid_file: cannot write '/no/such/place': No such file or directory"
    assert server.process.wait(10) == 1


def test_a_port_in_use_leaves_the_pid_file_of_another(start, tmp_path):
    path = tmp_path / "pid"
    path.write_text("1")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        server = start(pid_file=str(path), http_server={"address": "127.0.0.1", "port": port})
        assert "Address already in use" in server.read("cannot start")["error"]
    assert server.process.wait(10) == 1
    assert path.read_text() == "1"


def test_reload_says_what_waits_for_a_restart(start):
    server = start()
    server.read("started")
    http = {"address": "127.0.0.1", "port": 0, "tls": {"server_name": "x"}}
    client = {"allowed_origins": ["*"], "token": {"hmac_secret_key": "secret-of-the-test"}}
    server.write(http_server=http, client=client, channel={"namespaces": [{"name": "news"}]})
    server.process.send_signal(signal.SIGHUP)
    line = server.read("some options that changed wait for a restart")
    assert line["keys"] == ["http_server.tls.server_name", "client.allowed_origins"]
    server.read("configuration reloaded")
    server.write(http_server={"address": "127.0.0.1", "port": 0}, client={"token": client["token"]})
    server.process.send_signal(signal.SIGHUP)
    server.read("configuration reloaded")
    assert server.lines.count("some options that changed wait for a restart") == 1

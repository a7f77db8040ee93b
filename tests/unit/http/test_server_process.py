"""The server as a process: what it says on its way in, on reload and on its way out."""

import contextlib
import json
import os
import re
import shutil
import signal
import socket
import urllib.request

import pytest
from ports import free_port
from processes import FLYBALL, Program
from waiting import wait_for


class Run(Program):
    """``flyball`` with a configuration that the test may change."""

    def __init__(self, folder, *, port=0, files=None, **config):
        self.file = folder / "config.json"
        self.write(**config)
        # In the file 0 would be the default.
        where = ("--http_server.address", "127.0.0.1", "--http_server.port", str(port))
        command = (FLYBALL, "-c", self.file, *where)
        if files is not None:
            command = ("prlimit", f"--nofile={files}", *command)
        super().__init__(*command, cwd=folder)

    @property
    def port(self):
        """The port in use."""
        return self.record("serving")["port"]

    def write(self, **config):
        self.file.write_text(json.dumps(config))

    def __exit__(self, *_):
        self.stop()  # as an operator does


@pytest.fixture
def start(tmp_path):
    with contextlib.ExitStack() as stack:
        yield lambda **config: stack.enter_context(Run(tmp_path, **config))


def test_pid_file_comes_and_goes(start, tmp_path):
    path = tmp_path / "pid"
    server = start(pid_file=str(path))
    server.record("started")
    wait_for(lambda: path.exists() and path.read_text(), "pid file")
    assert path.read_text() == str(server.process.pid)
    server.process.send_signal(signal.SIGTERM)
    server.record("stopped")
    assert server.end() == 0
    assert not path.exists()


def test_pid_file_that_cannot_be_written(start):
    server = start(pid_file="/no/such/place")
    error = server.record("error validating config")["error"]
    assert error.startswith(
        "pid_file (FLYBALL_PID_FILE): cannot write '/no/such/place': it needs a directory that"
    )
    assert server.end() == 1


def test_each_error_has_a_record_of_its_own(start):
    wrong = [{"name": f"n{n}", "channel_regex": "(" * 60} for n in range(9)]
    server = start(channel={"namespaces": wrong}, pid_file="/no/such/place")
    found = server.wait_for(lambda: (r := server.records("error validating config"))[9:] and r)
    errors = [record["error"] for record in found]
    assert server.end() == 1
    assert len(errors) == 10
    assert not any("…" in error for error in errors)


def test_a_port_in_use_leaves_the_pid_file_of_another(start, tmp_path):
    path = tmp_path / "pid"
    path.write_text("1")
    with socket.create_server(("127.0.0.1", 0)) as busy:
        port = busy.getsockname()[1]
        server = start(pid_file=str(path), port=port)
        assert "Address already in use" in server.record("cannot start")["error"]
    assert server.end() == 1
    assert path.read_text() == "1"


def test_reload_says_what_waits_for_a_restart(start):
    server = start()
    server.record("started")
    http = {"tls": {"server_name": "x"}}
    client = {"allowed_origins": ["*"], "token": {"hmac_secret_key": "secret-of-the-test"}}
    server.write(http_server=http, client=client, channel={"namespaces": [{"name": "news"}]})
    server.process.send_signal(signal.SIGHUP)
    waits = "some options that changed wait for a restart"
    line = server.record(waits)
    assert line["keys"] == ["http_server.tls.server_name", "client.allowed_origins"]
    server.record("configuration reloaded")
    server.write(client={"token": client["token"]})
    server.process.send_signal(signal.SIGHUP)
    server.record("configuration reloaded", after=1)
    assert len(server.records(waits)) == 1


def test_the_configuration_is_read_once_at_the_start(tmp_path):
    pipe = tmp_path / "config.json"
    os.mkfifo(pipe)
    flags = ("--http_server.address", "127.0.0.1", "--http_server.port", str(free_port()))
    with Program(FLYBALL, "-c", pipe, *flags, cwd=tmp_path) as server:
        # Who opened it once more would wait for a second writer.
        pipe.write_text('{"health": {"enabled": true}}')
        server.record("started")
        assert server.stop() == 0


def test_a_reload_without_its_file_keeps_the_old_configuration(start):
    server = start()
    server.record("started")
    server.file.unlink()
    server.process.send_signal(signal.SIGHUP)
    line = server.record("configuration not reloaded, the old one stays")
    assert "there is no such file any more" in line["error"]
    server.write(client={"token": {"hmac_secret_key": "secret-of-the-test"}})
    server.process.send_signal(signal.SIGHUP)
    server.record("configuration reloaded")


@pytest.mark.skipif(shutil.which("prlimit") is None, reason="there is no prlimit")
def test_a_process_that_may_open_few_files(start):
    server = start(files=120, prometheus={"enabled": True})
    line = server.record("few file descriptors: connections beyond them are refused")
    assert (line["limit"], line["connections"]) == (120, 56)
    server.record("started")
    with contextlib.ExitStack() as stack:
        for _ in range(150):
            stack.enter_context(socket.create_connection(("127.0.0.1", server.port)))
        refused = server.wait_for(
            lambda: [line for line in server.lines if "out of file descriptors" in line]
        )
    assert "raise the limit" in refused[0]
    with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/metrics", timeout=10) as answer:
        text = answer.read().decode()
    (value,) = re.findall(r"^flyball_connections_refused_no_files_total (\d+)", text, re.MULTILINE)
    assert int(value) > 0

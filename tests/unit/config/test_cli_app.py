"""The program's own commands, and how it is started."""

import socket
import subprocess
import sys
import threading
from http.client import HTTPConnection

import pytest
from typer.testing import CliRunner
from waiting import PATIENCE

from flyball._version import __version__
from flyball.cli import static_files
from flyball.cli.app import app
from flyball.cli.static_files import serve_directory


@pytest.mark.parametrize("arguments", [["version"], ["--version"], ["-v"]])
def test_version(arguments):
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0
    assert result.output.startswith(f"Flyball v{__version__} (Python ")


def test_the_package_is_a_program():
    command = [sys.executable, "-m", "flyball", "version"]
    ended = subprocess.run(command, capture_output=True, text=True, check=True, timeout=PATIENCE)
    assert __version__ in ended.stdout


def test_a_directory_is_served_until_interrupted(tmp_path, monkeypatch):
    (tmp_path / "page.txt").write_text("hello")

    class Interrupted(static_files.ThreadingHTTPServer):
        """Answers one request, and is interrupted then."""

        def serve_forever(self):
            answers = []
            asking = threading.Thread(target=ask, args=(self.server_port, answers))
            asking.start()
            self.handle_request()
            asking.join(PATIENCE)
            assert answers == [(200, b"hello")]
            raise KeyboardInterrupt

    def ask(port, answers):
        connection = HTTPConnection("127.0.0.1", port, timeout=PATIENCE)
        connection.request("GET", "/page.txt")
        answer = connection.getresponse()
        answers.append((answer.status, answer.read()))
        connection.close()

    monkeypatch.setattr(static_files, "ThreadingHTTPServer", Interrupted)
    result = CliRunner().invoke(app, ["serve", "-a", "127.0.0.1", "-p", "0", "-d", str(tmp_path)])
    assert result.exit_code == 0, result.output
    assert f"serving {tmp_path} on http://127.0.0.1:" in result.output


def test_what_cannot_be_served(tmp_path, capsys):
    assert serve_directory("127.0.0.1", str(tmp_path / "nothing"), 0) == 1
    assert "no such directory" in capsys.readouterr().out
    with socket.create_server(("127.0.0.1", 0)) as taken:
        assert serve_directory("127.0.0.1", str(tmp_path), taken.getsockname()[1]) == 1
    assert "cannot listen on 127.0.0.1:" in capsys.readouterr().out

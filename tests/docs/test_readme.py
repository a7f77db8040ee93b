"""The README's quickstart and example, run as they are written (but for the port)."""

import os
import re

import pytest
from pages import block
from ports import accepts, free_port
from processes import BIN, ROOT, Program
from waiting import wait_for

README = (ROOT / "README.md").read_text()


@pytest.fixture
def folder(tmp_path):
    """A folder in which ``.venv/bin/...`` is what the README says it is."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    return tmp_path


def test_quickstart(folder):
    port = free_port()
    environ = {**os.environ, "FLYBALL_HTTP_SERVER_PORT": str(port)}

    def shell(name):
        command = block(README, f"quickstart: {name}").replace(
            "localhost:8000", f"localhost:{port}"
        )
        return Program("bash", "-c", f"exec {command.strip()}", cwd=folder, env=environ)

    (folder / "config.json").write_text(block(README, "quickstart: config.json"))
    client_code = block(README, "quickstart: client.py").replace(
        "localhost:8000", f"localhost:{port}"
    )
    (folder / "client.py").write_text(client_code)
    with shell("server") as server:
        wait_for(lambda: accepts(port), "server")
        with shell("token") as issued:
            assert issued.end() == 0
        token = issued.output.strip()
        with Program(BIN / "python", "client.py", token, cwd=folder) as client:
            client.wait_for(lambda: "num_clients=1" in client.output)
            with shell("publish") as answer:
                answer.wait_for(lambda: '"result":{"offset":1,"epoch":"' in answer.output)
            client.wait_for(lambda: "news: {'text': 'it works'}\n" in client.lines)
        assert server.stop() == 0
    assert '"level":"error"' not in server.output
    assert "Traceback" not in server.output


def test_the_readmes_program_is_the_librarys():
    """The program in the README runs as far as it can without taking a port."""
    code = next(
        c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "flyball.run" in c
    )
    namespace = {}
    exec(compile(code.replace("flyball.run(node, port=8000)", ""), "README.md", "exec"), namespace)
    node = namespace["node"]
    assert all(
        getattr(node._handlers, kind).registered
        for kind in ("on_connecting", "on_subscribe", "on_publish")
    )

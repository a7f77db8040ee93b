"""The README's quickstart and example, run as they are written (but for the port)."""

import os
import re
import subprocess

import pytest
from doc_tools import BIN, ROOT, WAIT, accepts, free_port, read_line, stop, wait_for

README = (ROOT / "README.md").read_text()


def block(name):
    """The code block under ``<!-- quickstart: name -->``."""
    found = re.search(
        rf"<!-- quickstart: {re.escape(name)} -->\n```\w+\n(.*?)```", README, re.DOTALL
    )
    assert found, f"README.md has no block {name!r}"
    return found[1]


@pytest.fixture
def folder(tmp_path):
    """A folder in which ``.venv/bin/...`` is what the README says it is."""
    (tmp_path / ".venv").mkdir()
    (tmp_path / ".venv" / "bin").symlink_to(BIN)
    return tmp_path


def test_quickstart(folder):
    port = free_port()
    environ = {**os.environ, "FLYBALL_HTTP_SERVER_PORT": str(port)}

    def shell(name, **kwargs):
        command = block(name).replace("localhost:8000", f"localhost:{port}")
        return subprocess.Popen(
            ["bash", "-c", f"exec {command.strip()}"],
            cwd=folder,
            env=environ,
            stdout=subprocess.PIPE,
            text=True,
            **kwargs,
        )

    (folder / "config.json").write_text(block("config.json"))
    client_code = block("client.py").replace("localhost:8000", f"localhost:{port}")
    (folder / "client.py").write_text(client_code)
    server = shell("server", stderr=subprocess.PIPE)
    try:
        wait_for(lambda: accepts(port), "the server's start")
        token = shell("token").communicate(timeout=WAIT)[0].strip()
        client = subprocess.Popen(
            [str(BIN / "python"), "client.py", token],
            cwd=folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        try:
            assert "num_clients=1" in read_line(client)
            answer = shell("publish").communicate(timeout=WAIT)[0]
            assert '"result":{"offset":1,"epoch":"' in answer
            assert read_line(client) == "news: {'text': 'it works'}\n"
        finally:
            client.kill()
            client.communicate()
    finally:
        assert stop(server) == 0
        log = server.communicate()[1]
    assert '"level":"error"' not in log
    assert "Traceback" not in log


def test_the_readmes_program_is_the_librarys():
    """The program in the README runs as far as it can without taking a port."""
    code = next(
        c for c in re.findall(r"```python\n(.*?)```", README, re.DOTALL) if "flyball.run" in c
    )
    namespace = {}
    exec(compile(code.replace("flyball.run(node, port=8000)", ""), "README.md", "exec"), namespace)
    node = namespace["node"]
    assert all(
        getattr(node, kind).registered for kind in ("on_connecting", "on_subscribe", "on_publish")
    )


def test_links_lead_somewhere():
    for target in re.findall(r"\]\((?!https?://|#)([^)#]+)", README):
        assert (ROOT / target).exists(), target

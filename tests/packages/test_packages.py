"""The packages that users install: built, put into an environment of its own, and run there."""

import json
import os
import re
import subprocess
import sys
import tarfile
import urllib.request
import zipfile
from urllib.error import HTTPError

import pytest
from ports import accepts, free_port
from processes import ROOT, Program
from waiting import wait_for

UNREACHABLE = re.compile(
    r"Temporary failure in name resolution|Name or service not known|Network is unreachable"
    r"|Connection refused|Connection reset|timed out|NewConnectionError|ProxyError"
)
"""What pip says where no package index can be reached."""
NO_PROXY = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def run(*command, cwd):
    """Runs a program that may need a package index."""
    environ = {
        k: v for k, v in os.environ.items() if not k.startswith(("PYTHON", "COV_", "COVERAGE"))
    }
    done = subprocess.run(
        command, cwd=cwd, env=environ, capture_output=True, text=True, timeout=200, check=False
    )
    said = done.stdout + done.stderr
    if done.returncode and UNREACHABLE.search(said):
        pytest.skip(f"no package index can be reached: {UNREACHABLE.search(said)[0]}")
    assert done.returncode == 0, said


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    """The source package, and the wheel that is made of it."""
    folder = tmp_path_factory.mktemp("packages")
    run(sys.executable, "-m", "build", "--outdir", str(folder), str(ROOT), cwd=folder)
    (source,), (wheel,) = folder.glob("*.tar.gz"), folder.glob("*.whl")
    return source, wheel


@pytest.fixture(scope="module")
def installed(built, tmp_path_factory):
    """Programs of an environment that has the wheel alone."""
    folder = tmp_path_factory.mktemp("venv")
    run(sys.executable, "-m", "venv", str(folder), cwd=folder)
    python = str(folder / "bin" / "python")
    run(python, "-m", "pip", "install", "--disable-pip-version-check", str(built[1]), cwd=folder)
    return folder / "bin"


def package_files():
    """Files of the package that are kept in the repository, by their paths in it."""
    known = subprocess.run(
        ["git", "ls-files", "src/flyball"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if known.returncode:
        pytest.skip("this is no checkout of git")
    return {line.removeprefix("src/") for line in known.stdout.splitlines()}


def test_wheel_has_all_files_of_the_package_and_no_others(built):
    with zipfile.ZipFile(built[1]) as wheel:
        names = {name for name in wheel.namelist() if ".dist-info/" not in name}
    assert "flyball/server/admin/web_built/index.html" in names
    assert package_files() - names == set()
    assert {name.split("/")[0] for name in names} == {"flyball"}
    assert not [name for name in names if "__pycache__" in name]


def test_source_package_has_what_the_wheel_is_made_of(built):
    with tarfile.open(built[0]) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {f"src/{name}" for name in package_files()} <= names
    assert {"pyproject.toml", "README.md", "LICENSE", "web/src/app.tsx"} <= names
    assert not [name for name in names if "node_modules" in name or name.startswith(".venv")]


def get(url, **headers):
    return NO_PROXY.open(urllib.request.Request(url, headers=headers), timeout=30)


def test_installed_server_serves_the_page(installed, tmp_path):
    port = free_port()
    config = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "admin": {"enabled": True, "password": "let me in", "secret": "signs"},
        "client": {"token": {"hmac_secret_key": "a secret for tokens"}},
    }
    (tmp_path / "config.json").write_text(json.dumps(config))
    home = f"http://127.0.0.1:{port}/"
    with Program(installed / "flyball", "-c", "config.json", cwd=tmp_path) as server:
        wait_for(lambda: accepts(port), "server")
        page = get(home).read().decode()
        (script,) = re.findall(r'<script[^>]* src="\./(assets/[^"]+)"', page)
        answer = get(home + script, **{"Accept-Encoding": "gzip"})
        assert answer.headers["Content-Encoding"] == "gzip"
        assert len(answer.read()) > 50_000
        for style in re.findall(r'href="\./(assets/[^"]+\.css)"', page):
            assert get(home + style).status == 200
        signed_in = NO_PROXY.open(f"{home}admin/auth", b"password=let+me+in", timeout=30)
        token = json.load(signed_in)["token"]
        settings = json.load(get(f"{home}admin/settings", Authorization=f"token {token}"))
        assert settings["methods"]
        with pytest.raises(HTTPError, match="401"):
            get(f"{home}admin/settings")
        assert server.stop() == 0
    assert "Traceback" not in server.output


def test_installed_library_can_be_imported(installed, tmp_path):
    code = "import flyball, flyball.asgi; print(flyball.__version__, flyball.__file__)"
    done = subprocess.run(
        [str(installed / "python"), "-c", code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=True,
    )
    assert str(installed.parent) in done.stdout

"""Folders for unix sockets, wherever temporary files are."""

import socket
import tempfile
from pathlib import Path

import pytest

from flyball.core.errors import ConfigError
from flyball.engines.common import socket_folder as module
from flyball.engines.common.socket_folder import MAX_ADDRESS, socket_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    """Makes a folder of so many bytes the one for temporary files."""
    monkeypatch.delenv("XDG_RUNTIME_DIR", raising=False)

    def make(length):
        found = tmp_path / "t"
        while len(str(found)) < length:
            found /= "d" * min(length - len(str(found)) - 1, 100)
        found.mkdir(parents=True)
        assert len(str(found)) == length
        monkeypatch.setattr(tempfile, "tempdir", str(found))
        return found

    return make


LONGEST = MAX_ADDRESS - len("/x-12345678/a.sock")


@pytest.fixture
def short(tmp_path_factory, monkeypatch):
    """Another place, as /tmp is."""
    with tempfile.TemporaryDirectory(dir="/tmp") as found:
        monkeypatch.setattr(module, "SHORT_PLACES", (found,))
        yield Path(found)


def test_a_socket_fits_in_the_longest_folder(place, short):
    where = place(LONGEST)
    with socket_folder("x-", "a.sock") as folder:
        assert Path(folder).parent == where
        assert Path(folder).stat().st_mode & 0o777 == 0o700
        path = f"{folder}/a.sock"
        assert len(path) == MAX_ADDRESS
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(path)
            with pytest.raises(OSError, match="path too long"):
                server.bind(f"{path}k")
    assert not Path(folder).exists()


def test_a_longer_one_is_not_used(place, short):
    place(LONGEST + 1)
    with socket_folder("x-", "a.sock") as folder:
        assert Path(folder).parent == short
        assert Path(folder).stat().st_mode & 0o777 == 0o700


def test_one_of_the_session_before_those_of_all(place, short, tmp_path, monkeypatch):
    place(LONGEST + 1)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    with socket_folder("x-", "a.sock") as folder:
        assert Path(folder).parent == tmp_path


def test_no_place_at_all(place, monkeypatch):
    where = place(LONGEST + 1)
    monkeypatch.setattr(module, "SHORT_PLACES", ("/no/such",))
    with pytest.raises(ConfigError) as error:
        socket_folder("x-", "a.sock")
    assert str(error.value) == (
        f"the folder for temporary files, {str(where)!r}, is too long for unix sockets: it has"
        f" {LONGEST + 1} bytes, at most {LONGEST} are allowed; set TMPDIR to a shorter folder that"
        " this user may write to"
    )

"""A log that cannot be written: said once, counted, and over when there is room again."""

import contextlib
import errno
import io
import logging
import os

import pytest

from flyball.server.logs import handlers
from flyball.server.logs.handlers import FileHandler, StreamHandler


class FullStream(io.StringIO):
    """Takes nothing while it is full."""

    full = True

    def write(self, text):
        if self.full:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return super().write(text)


def record(text="hello"):
    return logging.LogRecord("test", logging.INFO, __file__, 1, text, None, None)


def test_it_is_said_once_and_counted(capsys):
    before = handlers.lost_records()
    handler = StreamHandler(FullStream())
    for _ in range(1000):
        handler.emit(record())
    told = "log records cannot be written and are lost: No space left on device\n"
    assert capsys.readouterr().err == told
    assert handlers.lost_records() == before + 1000


def test_it_goes_on_when_there_is_room_again(capsys):
    stream = FullStream()
    handler = StreamHandler(stream)
    handler.emit(record())
    handler.emit(record())
    stream.full = False
    handler.emit(record("back"))
    handler.emit(record("later"))
    assert stream.getvalue() == "back\n2 log records could not be written\nlater\n"
    stream.full = True
    handler.emit(record())
    assert len(capsys.readouterr().err.splitlines()) == 2


def test_a_stream_of_errors_that_is_full_itself(monkeypatch):
    stream = FullStream()
    monkeypatch.setattr("sys.stderr", stream)
    StreamHandler(stream).emit(record())
    assert stream.getvalue() == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is no /dev/full")
def test_a_file_on_a_full_disk(capsys):
    handler = FileHandler("/dev/full", encoding="utf-8")
    for _ in range(100):
        handler.emit(record("x" * 1000))
    assert len(capsys.readouterr().err.splitlines()) == 1
    with contextlib.suppress(OSError):  # what is left in its buffer cannot be written either
        handler.stream.close()


def test_a_file_whose_folder_went_away(tmp_path, capsys):
    folder = tmp_path / "logs"
    folder.mkdir()
    handler = FileHandler(folder / "log", encoding="utf-8")
    handler.emit(record("one"))
    (folder / "log").unlink()
    folder.rmdir()
    handler.emit(record("two"))
    assert "No such file or directory" in capsys.readouterr().err
    folder.mkdir()
    handler.emit(record("three"))
    assert (folder / "log").read_text() == "three\n1 log records could not be written\n"
    handler.close()


def test_a_fault_of_a_record_is_told_in_its_line(capsys):
    handler = StreamHandler(io.StringIO())
    handler.emit(logging.LogRecord("test", logging.INFO, __file__, 1, "%d", ("x",), None))
    assert handler.stream.getvalue() == "%d (its values cannot be shown: TypeError)\n"
    assert not capsys.readouterr().err

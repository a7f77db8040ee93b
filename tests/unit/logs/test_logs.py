"""Log records: form, levels, place, and what never gets into them."""

import io
import json
import logging
import re

import pytest
import structlog

from flyball.core.errors import ConfigError
from flyball.server.common.levels import TRACE
from flyball.server.config import secret_options
from flyball.server.logs import REDACTED, LogOptions, configure_logging, redact_text

JWT = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.c2lnbmF0dXJl"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def restore_logging():
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    config = structlog.get_config()
    for handler in handlers:  # pytest's own must not be closed
        root.removeHandler(handler)
    yield
    for handler in root.handlers[:]:
        root.removeHandler(handler)
        handler.close()
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.configure(**config)


def records(stream: io.StringIO) -> list[dict]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def setup(level: str = "info", secret_options=frozenset()) -> io.StringIO:
    stream = io.StringIO()
    options = LogOptions(level=level, secret_options=secret_options)
    configure_logging(options, stdout=io.StringIO(), stderr=stream)
    return stream


def test_json_lines_on_stderr_when_stdout_is_no_terminal():
    stream = setup()
    structlog.get_logger("flyball.test").info("serving", port=8000, endpoints=["/health"])
    (line,) = records(stream)
    assert stream.getvalue().startswith('{"level":"info","time":"')
    assert list(line) == ["level", "time", "message", "port", "endpoints"]
    assert line["level"] == "info"
    assert line["message"] == "serving"
    assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", line["time"])


def test_text_on_stdout_when_it_is_a_terminal(monkeypatch):
    monkeypatch.delenv("NO_COLOR", raising=False)
    out, err = Terminal(), io.StringIO()
    configure_logging(stdout=out, stderr=err)
    structlog.get_logger("flyball.test").warning("slow client", user="42")
    assert err.getvalue() == ""
    assert "\x1b[" in out.getvalue()
    plain = re.sub(r"\x1b\[[\d;]*m", "", out.getvalue())
    assert "slow client" in plain
    assert "user=42" in plain
    assert "warn" in plain


def test_no_color_is_respected(monkeypatch):
    monkeypatch.setenv("NO_COLOR", "1")
    out = Terminal()
    configure_logging(stdout=out, stderr=io.StringIO())
    structlog.get_logger("flyball.test").error("bad")
    assert "\x1b[" not in out.getvalue()


def test_log_file(tmp_path):
    path = tmp_path / "flyball.log"
    out = Terminal()
    configure_logging(LogOptions(file=str(path)), stdout=out, stderr=out)
    structlog.get_logger("flyball.test").info("in the file")
    assert out.getvalue() == ""
    assert json.loads(path.read_text())["message"] == "in the file"


def test_a_log_file_that_cannot_be_opened_is_a_config_error(tmp_path):
    with pytest.raises(ConfigError, match=r"log\.file.*nowhere"):
        configure_logging(LogOptions(file=str(tmp_path / "nowhere" / "x.log")))


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["debug", "info", "warn", "error", "fatal"]),
        ("info", ["info", "warn", "error", "fatal"]),
        ("warn", ["warn", "error", "fatal"]),
        ("error", ["error", "fatal"]),
        ("fatal", ["fatal"]),
        ("none", []),
        ("INFO", ["info", "warn", "error", "fatal"]),
    ],
)
def test_levels_and_their_names(level, shown):
    stream = setup(level)
    log = structlog.get_logger("flyball.test")
    for method in (log.debug, log.info, log.warning, log.error, log.critical):
        method("hello")
    assert [line["level"] for line in records(stream)] == shown


def test_trace_lets_libraries_speak():
    def levels(stream):
        # Other libraries speak when they like, as when garbage of an earlier test goes.
        names = ("aiohttp", "grpc.aio", "flyball.core")
        return [line["level"] for line in records(stream) if line["logger"] in names]

    stream = setup("trace")
    logging.getLogger("aiohttp").debug("inside")
    logging.getLogger("flyball.core").log(TRACE, "finest")
    assert levels(stream) == ["debug", "trace"]
    stream = setup("debug")
    logging.getLogger("aiohttp").debug("inside")
    logging.getLogger("grpc.aio").debug("inside")
    assert levels(stream) == []


def test_no_line_for_each_quic_connection():
    stream = setup("debug")
    logging.getLogger("quic").info("ALPN negotiated protocol h3")
    logging.getLogger("quic").warning("shown")
    assert [line["message"] for line in records(stream)] == ["shown"]


def test_an_unknown_level_means_info():
    stream = setup("loud")
    log = structlog.get_logger("flyball.test")
    log.debug("hidden")
    log.info("shown")
    assert [line["message"] for line in records(stream)] == ["shown"]


def test_records_of_the_standard_library_look_the_same():
    stream = setup()
    logging.getLogger("flyball.core").warning("position of %s lost", "chat:1", extra={"offset": 7})
    (line,) = records(stream)
    assert line["message"] == "position of chat:1 lost"
    assert line["level"] == "warn"
    assert line["offset"] == 7
    assert line["logger"] == "flyball.core"


def test_exceptions_are_one_line():
    stream = setup()
    try:
        raise ValueError(f"broken {JWT}")
    except ValueError:
        structlog.get_logger("flyball.test").exception("task failed")
    (line,) = records(stream)
    assert line["level"] == "error"
    assert "ValueError: broken" in line["exception"]
    assert JWT not in stream.getvalue()


def test_secrets_are_not_logged():
    stream = setup()
    structlog.get_logger("flyball.test").info(
        f"refused {JWT}",
        token="abc",
        headers={"authorization": "apikey top", "Cookie": "s=1", "x-request-id": "7"},
        url="redis://user:hunter2@127.0.0.1:6379/0",
        query="/api/publish?api_key=top&x=1",
        hmac_secret_key="top",
        frame=b'{"connect":{"token":"' + JWT.encode() + b'"}}',
        items=[{"password": "top"}],
        user="42",
        channel="token:42",
    )
    (line,) = records(stream)
    for secret in ("abc", "top", "s=1", "hunter2", JWT):
        assert secret not in stream.getvalue()
    assert line["token"] == REDACTED
    assert line["headers"]["x-request-id"] == "7"
    assert line["url"] == f"redis://user:{REDACTED}@127.0.0.1:6379/0"
    assert line["query"].endswith("&x=1")
    assert line["items"] == [{"password": REDACTED}]
    assert line["user"] == "42"
    assert line["channel"] == "token:42"


def test_the_value_of_a_secret_option_is_hidden_and_its_name_is_not():
    stream = setup(secret_options=secret_options())
    log = structlog.get_logger("flyball.test")
    log.error("wrong value", key="client.token.hmac_secret_key", value="top")
    log.error("wrong value", key="http_api.key", value="top")
    log.error("wrong value", key="proxies[12].http.static_headers", value="top")
    log.error("wrong value", key="client.ping_interval", value="-x")
    first, second, third, fourth = records(stream)
    assert (first["key"], first["value"]) == ("client.token.hmac_secret_key", REDACTED)
    assert second["value"] == third["value"] == REDACTED
    assert fourth["value"] == "-x"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Authorization: Bearer abc.def", f"Authorization: Bearer {REDACTED}"),
        ("apikey K", f"apikey {REDACTED}"),
        ("?token=abc&a=1", f"?token={REDACTED}&a=1"),
        ("nothing secret: 12:30", "nothing secret: 12:30"),
        ("-----BEGIN PRIVATE KEY-----\nMII\n-----END PRIVATE KEY-----\nrest", f"{REDACTED}\nrest"),
    ],
)
def test_redact_text(text, shown):
    assert redact_text(text) == shown


def test_configuring_again_replaces_the_handler():
    first, second = setup(), setup()
    structlog.get_logger("flyball.test").info("once")
    assert first.getvalue() == ""
    assert len(records(second)) == 1

"""What the start refuses is what ``checkconfig`` refuses: all of it, with keys, each on one line."""

import asyncio
import json

import pytest
import typer
from typer.testing import CliRunner

# Imported when they are wanted; here before, for an import blocks the event loop.
import flyball.engines.nats.credentials
import flyball.engines.redis
import flyball.engines.tarantool  # noqa: F401
from flyball.cli.config_commands import register
from flyball.server import main
from flyball.server.app import Server, problems_of
from flyball.server.config import Config, ConfigProblems, Problem, load_config, problems_in
from flyball.server.main import ConfigSource


@pytest.fixture(autouse=True)
def workplace(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    # The log of the tests stays as it is.
    monkeypatch.setattr(main, "configure_logging", lambda _options: None)
    return tmp_path


async def make(config):
    Server(config)


def refused_at_start(path):
    try:
        loaded = ConfigSource(str(path), {}).read()
        asyncio.run(make(loaded.config))
    except ConfigProblems as error:
        return str(error).splitlines()
    return []


def refused_by_check(path):
    app = typer.Typer()
    register(app)
    app.command("other")(lambda: None)
    result = CliRunner().invoke(app, ["checkconfig", "-c", str(path)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    lines = [line.removeprefix("error: ") for line in result.stdout.splitlines()]
    assert result.exit_code == bool(lines)
    return lines


def kafka(name, **options):
    section = {"brokers": ["h:9092"], "topics": ["t"], "consumer_group": "g", **options}
    return {"name": name, "enabled": True, "type": "kafka", "kafka": section}


def asked(endpoint, **options):
    return {
        "proxies": [{"name": "pp", "endpoint": endpoint, **options}],
        "rpc": {"without_namespace": {"proxy_enabled": True, "proxy_name": "pp"}},
    }


def redis(address):
    return {"type": "redis", "redis": {"address": [address]}}


def postgres(dsn):
    return {"broker": {"enabled": True, "type": "postgres", "postgres": {"dsn": dsn}}}


BAD_BROKER = kafka("k9", brokers=["[x"])

REFUSED = [
    ({"consumers": [kafka("k1", brokers=["a b"]), kafka("k2", topics=["a b"])]},
     ["consumers[0].kafka.brokers", "consumers[1].kafka.topics"]),
    ({"consumers": [kafka("k1", max_poll_records=-1)]}, ["consumers[0].kafka.max_poll_records"]),
    # What a rule, a value and a part refuse is told together.
    ({"engine": redis("foo://x"), "consumers": [BAD_BROKER], "sse": {"enabled": "x"},
      "client": {"allowed_origins": ["example.com"]}},
     ["sse.enabled", "client.allowed_origins[0]", "engine.redis.address",
      "consumers[0].kafka.brokers"]),
    ({"consumers": [{"name": "aa", "enabled": True, "type": "zzz"}, BAD_BROKER]},
     ["consumers[0].type", "consumers[1].kafka.brokers"]),
    *(({section: {"enabled": True, "type": "zzz"}, "consumers": [BAD_BROKER]},
       [f"{section}.type", "consumers[0].kafka.brokers"])
      for section in ("broker", "presence_manager", "controller")),
    ({**asked("grpc://h:1", grpc={"tls": {"enabled": True, "insecure_skip_verify": True}}),
      "engine": redis("h:99999")},
     ["engine.redis.address", "proxies[0].grpc.tls.insecure_skip_verify"]),
    # Addresses
    ({"engine": redis("redis://[::1")}, ["engine.redis.address"]),
    ({"engine": {"type": "redis", "redis": {"sentinel_address": ["h:1"]}}},
     ["engine.redis.sentinel_master_name"]),
    ({"engine": {"type": "redis", "redis": {"cluster_address": [","]}}},
     ["engine.redis.cluster_address"]),
    ({"engine": {"type": "tarantool", "tarantool": {"address": ["http://[::1"]}}},
     ["engine.tarantool.address"]),
    ({"engine": {"type": "tarantool", "tarantool": {"mode": "zzz"}}}, ["engine.tarantool.mode"]),
    ({"broker": {"enabled": True, "type": "nats", "nats": {"url": "nats://h:zz"}}},
     ["broker.nats.url"]),
    *((postgres(dsn), ["broker.postgres.dsn"])
      for dsn in ("postgres://[::1/d", "postgres://h:zz/d", "host=h port=zz", "postgres://h:0/d",
                  "postgres://h/d?sslmode=zzz", "postgres://h/d?target_session_attrs=zzz",
                  "postgres://h/d?sslrootcert=/no/such", "host=h =")),
    # Files
    ({"broker": {"enabled": True, "type": "nats", "nats": {"credentials_file": "/no/such"}}},
     ["broker.nats.credentials_file"]),
    ({"consumers": [{"name": "nn", "enabled": True, "type": "nats_jetstream",
                     "nats_jetstream": {"stream_name": "s", "durable_consumer_name": "d",
                                        "credentials_file": "/no/such"}}]},
     ["consumers[0].nats_jetstream.credentials_file"]),
    ({"pid_file": "a\0b"}, ["pid_file"]),
    *(({key: "x" * 3000}, [key]) for key in ("pid_file", "log.file")),
    ({"admin": {"enabled": True, "password": "p", "secret": "s", "web_path": "x" * 3000}},
     ["admin.web_path"]),
    # Ports and paths
    ({"http_server.port": 8000, "grpc_api": {"enabled": True, "port": 8000}}, ["grpc_api.port"]),
    ({"http_server": {"address": "127.0.0.1", "internal_address": "0.0.0.0"}},
     ["http_server.internal_port"]),
    ({"prometheus": {"enabled": True, "handler_prefix": "/api/publish"}},
     ["prometheus.handler_prefix"]),
    # Proxies
    *((asked(endpoint), ["proxies[0].endpoint"])
      for endpoint in ("ftp://h/x", "http://", "http://[::1", "http://h:99999/", "http://h:0/",
                       "http://a b/", "grpc://:1", "h:zz", "http://h/\x01")),
    *((asked("http://h", http={"static_headers": pair}), ["proxies[0].http.static_headers"])
      for pair in ({"a b": "x"}, {"a": "x\r\nb: c"}, {"a": "\u20ac"})),
    *((asked("grpc://h:1", grpc={"static_metadata": pair}), ["proxies[0].grpc.static_metadata"])
      for pair in ({"a:": "x"}, {"k k": "x"}, {"k": "a\tb"}, {"k": "\xe9"})),
    (asked("grpc://h:1", grpc={"credentials_key": "k", "credentials_value": "\xe9"}),
     ["proxies[0].grpc.credentials_key"]),
]  # fmt: skip


@pytest.mark.parametrize(("tree", "keys"), REFUSED)
def test_both_refuse_the_same(workplace, tree, keys):
    path = workplace / "c.json"
    path.write_text(json.dumps(tree))
    lines = refused_by_check(path)
    assert [line.partition(" ")[0] for line in lines] == keys
    assert all("FLYBALL_" in line for line in lines)
    assert refused_at_start(path) == lines


def test_a_good_one_is_not_refused(workplace):
    path = workplace / "c.json"
    path.write_text(json.dumps(asked("unix:/run/x.sock")))
    assert refused_by_check(path) == refused_at_start(path) == []


@pytest.mark.parametrize(
    "endpoint",
    ["h", "h:1", "grpc://h:1", "dns:///h:1", "ipv4:10.0.0.1:5,10.0.0.2:5", "http://[::1]:5/x y"],
)
def test_endpoints_that_work(workplace, endpoint):
    path = workplace / "c.json"
    path.write_text(json.dumps(asked(endpoint)))
    assert refused_by_check(path) == []


def test_what_parts_say_is_a_warning(workplace, capfd):
    path = workplace / "c.json"
    path.write_text(json.dumps({"consumers": [kafka("k1", assume_role_arn="x")]}))
    assert refused_by_check(path) == []


def test_a_fault_of_ours_is_not_hidden(monkeypatch):
    def fails(*_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("flyball.server.build.admin_page", fails)
    with pytest.raises(ZeroDivisionError):
        problems_of(Config())


def test_one_that_follows_from_a_problem_is(monkeypatch, workplace):
    def fails(*_arguments):
        raise ZeroDivisionError

    monkeypatch.setattr("flyball.server.build.admin_page", fails)
    path = workplace / "c.json"
    path.write_text('{"http_server.workers": -1}')
    assert [p.key for p in problems_of(load_config(path, environ={}).config)] == [
        "http_server.workers"
    ]


def test_workers_need_a_store(monkeypatch, workplace):
    from flyball.core.errors import ConfigError

    def none():
        raise ConfigError("there is no server program")

    monkeypatch.setattr("flyball.engines.redis.embedded.find_server", none)
    path = workplace / "c.json"
    path.write_text('{"http_server.workers": 2}')
    (line,) = refused_by_check(path)
    assert line == "engine.type (FLYBALL_ENGINE_TYPE): there is no server program"


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("log.level is 5; 6 is allowed", Problem("log.level", "5 is not allowed; 6 is allowed")),
        ("log.level: it is bad; yes", Problem("log.level", "it is bad; yes")),
        ("broker.postgres: dsn: no; x", Problem("broker.postgres.dsn", "no; x")),
        ("engine.redis: Redis: x", Problem("engine.redis", "Redis: x")),
        ("log.level, log.file: no", Problem("log.level, log.file", "no")),
        ("a.b: no", Problem("", "a.b: no")),
    ],
)
def test_errors_of_parts(text, problem):
    from flyball.core.errors import ConfigError

    assert problems_in(ConfigError(text)) == [problem]


@pytest.mark.parametrize(
    ("text", "line"),
    [
        ('"a\nb\x1b" is bad', '"a\\nb\\x1b" is bad'),
        (f'"{"x" * 81}" is bad', f'"{"x" * 80}..." is bad'),
        ("'redis://u:secret@h' is bad", "'redis://***@h' is bad"),
    ],
)
def test_values_in_messages(text, line):
    assert str(Problem("", text)) == line


def test_both_options_have_their_variables():
    line = str(Problem("log.level, log.file", "no"))
    assert line == "log.level, log.file (FLYBALL_LOG_LEVEL, FLYBALL_LOG_FILE): no"


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("c.yaml", "log: !!float hush"),
        ("c.yaml", "log: !!int hush"),
        ("c.json", f'{{"log": {"9" * 5000}}}'),
        ("c.toml", f"log = {'9' * 5000}"),
    ],
)
def test_numbers_that_cannot_be_read(workplace, name, text):
    path = workplace / name
    path.write_text(text)
    (line,) = refused_by_check(path)
    assert line.endswith("it holds a number that cannot be read")


@pytest.mark.parametrize(
    ("variable", "text", "expected"),
    [
        ("HTTP_SERVER_PORT", "9" * 5000, "expected a whole number such as 10"),
        ("CLIENT_PING_INTERVAL", f"{'9' * 5000}s", "expected a duration such as"),
        ("PROXIES", f"[{'9' * 5000}]", "expected JSON (it holds a number with too many digits)"),
    ],
)
def test_long_numbers_in_variables(variable, text, expected):
    with pytest.raises(ConfigProblems, match="FLYBALL") as caught:
        load_config(environ={f"FLYBALL_{variable}": text})
    assert expected in str(caught.value)

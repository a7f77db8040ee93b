"""Addresses of databases, what may be set, and which shard a channel is in."""

import re

import pytest

from flyball.core.errors import ConfigError
from flyball.engines.postgres import ControllerOptions, StreamOptions, parse_dsn
from flyball.engines.postgres.schema import BINARY, CONTROLLER, STREAM, Tables
from flyball.engines.postgres.shards import hash_text, shard_of

READ_WRITE = "target_session_attrs=read-write"


class TestAddresses:
    @pytest.mark.parametrize(
        ("text", "url", "shown"),
        [
            ("postgres://u:p@h:1/d", f"postgres://u:p@h:1/d?{READ_WRITE}", "h:1/d"),
            (
                "postgresql://h/d?sslmode=disable",
                f"postgresql://h/d?sslmode=disable&{READ_WRITE}",
                "h/d",
            ),
            ("postgres://a:1,b:2/d", f"postgres://a:1,b:2/d?{READ_WRITE}", "a:1,b:2/d"),
            (
                "postgres://h/d?target_session_attrs=any&pool_max_conns=4",
                "postgres://h/d?target_session_attrs=any",
                "h/d",
            ),
            (
                r"host=/run/pg user=u password='a b\'c' dbname=d",
                f"postgres:///d?host=%2Frun%2Fpg&user=u&password=a+b%27c&{READ_WRITE}",
                "local socket/d",
            ),
        ],
    )
    def test_what_is_read(self, text, url, shown):
        server = parse_dsn(text)
        assert server.dsn == url
        assert str(server) == shown

    def test_what_is_ours_to_keep(self):
        server = parse_dsn("postgres://h/d?connect_timeout=7&default_query_exec_mode=exec")
        assert (server.connect_timeout, server.prepares) == (7.0, False)
        assert not parse_dsn("postgres://h/d?statement_cache_capacity=0").prepares
        assert parse_dsn("postgres://h/d?default_query_exec_mode=cache_statement").prepares

    @pytest.mark.parametrize(
        ("text", "word"),
        [
            ("mysql://u:hunter2@h/d", "mysql"),
            ("u:hunter2@h/d", "pairs"),
            ("host=h password='hunter2", "pairs"),
            ("postgres://u:hunter2@h/d?connect_timeout=0", "connect_timeout"),
            ("postgres://u:hunter2@h/d?connect_timeout=2s", "connect_timeout"),
        ],
    )
    def test_what_is_none(self, text, word):
        with pytest.raises(ConfigError, match=word) as caught:
            parse_dsn(text)
        assert "hunter2" not in str(caught.value)

    def test_passwords_are_not_shown(self):
        server = parse_dsn("postgres://u:hunter2@h/d", notify_dsn="postgres://u:hunter2@h/d")
        assert "hunter2" not in f"{server} {server!r}"


@pytest.mark.parametrize("kind", [StreamOptions, ControllerOptions])
@pytest.mark.parametrize(
    "option",
    [
        {"table_prefix": ""},
        {"table_prefix": "Cf"},
        {"table_prefix": "cf; drop"},
        {"table_prefix": "c" * 21},
        {"num_shards": 0},
        {"num_shards": 1025},
        {"poll_interval": 0},
        {"batch_size": 0},
        {"cleanup_interval": 0},
        {"partition_lookahead_days": -1},
        {"partition_retention_days": -1},
    ],
)
def test_options_that_make_no_sense(kind, option):
    (name,) = option
    with pytest.raises(ConfigError, match=name):
        kind(**option)


@pytest.mark.parametrize("name", ["stream_retention", "history_meta_ttl", "idempotent_result_ttl"])
def test_times_that_make_no_sense(name):
    with pytest.raises(ConfigError, match=name):
        StreamOptions(**{name: 0})


@pytest.mark.parametrize("name", ["pool_size", "connect_timeout", "io_timeout"])
def test_limits_that_make_no_sense(name):
    with pytest.raises(ConfigError, match=name):
        parse_dsn("postgres://h/d", **{name: 0})


def test_the_longest_names_fit():
    """PostgreSQL cuts what is longer than 63 bytes off."""
    for kind in (STREAM, BINARY, CONTROLLER):
        tables = Tables(kind, "p" * 20)
        script = "\n".join(tables.script(8, 2))
        names = {word for word in script.replace("(", " ").split() if "p" * 20 in word}
        longest = [f"{tables.parts}_2026_11_27", *names]
        assert max(len(name.rpartition(".")[2]) for name in longest) <= 63
        assert not re.search(r"{[a-z]+}", script)


@pytest.mark.parametrize(
    ("text", "number"),
    [
        ("", -1477818771),
        ("channel", 1458556974),
        ("news:1234567890", 587414875),
        ("ünicode" * 9, 1976393214),
    ],
)
def test_hashes_are_those_of_postgres(text, number):
    """Seen on PostgreSQL 16; the tests with a server compare more."""
    assert hash_text(text) == number
    assert shard_of(text, 8) == abs(number) % 8

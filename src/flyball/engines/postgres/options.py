"""How a PostgreSQL database is reached, and what is kept there."""

from __future__ import annotations

import re
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qsl, quote, urlencode, urlsplit

from flyball.core.errors import ConfigError

DEFAULT_META_TTL: Final = 2_592_000.0
"""Seconds."""
SCHEMES: Final = ("postgres", "postgresql")
_PREFIX: Final = re.compile(r"[a-z_][a-z0-9_]{0,19}")
_PAIR: Final = re.compile(r"\s*(\w+)\s*=\s*('(?:[^'\\]|\\.)*'|(?:[^\s'\\]|\\.)*)")
_CHOICES: Final[Mapping[str, tuple[str, ...]]] = {
    "sslmode": ("disable", "allow", "prefer", "require", "verify-ca", "verify-full"),
    "target_session_attrs": (
        *("any", "primary", "standby", "prefer-standby"),
        *("read-write", "read-only"),
    ),
}
_OURS: Final = ("connect_timeout", "default_query_exec_mode", "statement_cache_capacity")
"""Parameters of addresses, as the original's driver has them, that are no settings of a server."""
_WITHOUT_CACHE: Final = ("cache_describe", "describe_exec", "exec", "simple_protocol")
"""Ways to run statements that leave nothing in the connection, for poolers of transactions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Server:
    """A database, and how to log in. Durations are seconds. See :func:`parse_dsn`."""

    dsn: str = field(repr=False)
    """A URL of PostgreSQL."""
    notify_dsn: str = field(default="", repr=False)
    """Another way there for LISTEN, past a pooler of connections; empty takes ``dsn``."""
    tls: ssl.SSLContext | None = None
    """In place of what ``sslmode`` of the URL says."""
    pool_size: int = 16
    """Connections at most."""
    connect_timeout: float = 2.0
    """Seconds until a connection counts as refused."""
    io_timeout: float = 4.0
    """Seconds in which the database must answer; its link is lost otherwise."""
    prepares: bool = True
    """Keep prepared statements in connections. Poolers of transactions may not stand that."""
    name: str = "flyball"
    """Of the connections, in ``pg_stat_activity``."""

    def __post_init__(self) -> None:
        _above_zero(self, "pool_size", "connect_timeout", "io_timeout")

    def __str__(self) -> str:
        place = urlsplit(self.dsn)
        return f"{place.netloc.rpartition('@')[2] or 'local socket'}{place.path}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Layout:
    """Tables with a prefix, in shards, with a partition for each day."""

    table_prefix: str = "cf"
    """Start of all names: nodes with the same one in a database are one cluster."""
    num_shards: int = 8
    """Shards that order what is written; the same on all nodes."""
    skip_schema_init: bool = False
    """Somebody else makes and upgrades the tables: ``flyball postgres apply``."""
    use_notify: bool = False
    """Wake up by LISTEN, not by polling alone."""
    poll_interval: float = 0.1
    """Seconds between looks for new rows."""
    batch_size: int = 1000
    """Rows of a shard read at once."""
    partition_lookahead_days: int = 2
    """Days for which partitions are made ahead."""
    partition_retention_days: int = 7
    """Days after which partitions are dropped."""
    cleanup_interval: float = 60.0
    """Seconds between removals of what is over."""

    def __post_init__(self) -> None:
        if not _PREFIX.fullmatch(self.table_prefix):
            raise ConfigError(
                f"table_prefix is {self.table_prefix!r}; up to 20 lower case letters, digits and"
                " underscores are allowed, no digit first"
            )
        if not 1 <= self.num_shards <= 1024:
            raise ConfigError(f"num_shards is {self.num_shards}; 1 to 1024 are allowed")
        _above_zero(self, "poll_interval", "batch_size", "cleanup_interval")
        for name in ("partition_lookahead_days", "partition_retention_days"):
            if getattr(self, name) < 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; 0 and more are allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions(Layout):
    """How publications are kept. Durations are seconds."""

    binary_data: bool = False
    """Keep payloads as bytes, not as JSONB."""
    stream_retention: float = 86_400.0
    """Age of rows kept: no history is longer than that."""
    idempotent_result_ttl: float = 300.0
    """How long idempotency keys are remembered, if a publish does not say."""
    history_meta_ttl: float = DEFAULT_META_TTL
    """How long offset and epoch of a stream live, if not said otherwise."""

    def __post_init__(self) -> None:
        # No super(): dataclasses with slots are made anew, which it does not know.
        Layout.__post_init__(self)
        _above_zero(self, "stream_retention", "idempotent_result_ttl", "history_meta_ttl")


@dataclass(frozen=True, slots=True, kw_only=True)
class ControllerOptions(Layout):
    """How control messages are carried. Durations are seconds."""

    num_shards: int = 1
    """Shards that order messages; the same on all nodes."""
    poll_interval: float = 0.05
    """Seconds between looks for new messages."""
    partition_retention_days: int = 1
    """Days after which partitions are dropped."""


def parse_dsn(text: str, *, notify_dsn: str = "", **others: Any) -> Server:
    """Reads ``postgres://user:password@host:port/database?…``, or ``host=… user=…`` of libpq.

    Parameters are those of libpq, several hosts included. ``connect_timeout`` (seconds) is ours
    to keep; ``default_query_exec_mode`` and ``statement_cache_capacity=0`` keep prepared
    statements out of connections. ``pool_…`` has no meaning: the pool has options of its own.
    Unless ``target_session_attrs`` says otherwise servers that only read are passed over.

    Args:
        text: the address.
        notify_dsn: another address for LISTEN; empty for the same.
        others: further fields of :class:`Server`.

    Raises:
        ConfigError: it is malformed. The message shows no password.
    """
    try:
        url = urlsplit(text if "://" in text else _url(text))
    except ValueError as error:
        raise ConfigError(f"dsn: {error}; it looks like postgres://host:port/database") from None
    if url.scheme not in SCHEMES:
        raise ConfigError(f"dsn: scheme {url.scheme!r} is not one of {', '.join(SCHEMES)}")
    query = dict(parse_qsl(url.query, keep_blank_values=True))
    kept = {k: v for k, v in query.items() if k not in _OURS and not k.startswith("pool_")}
    kept.setdefault("target_session_attrs", "read-write")
    _check_ports(url.netloc, kept.get("port", ""))
    _check_parameters(kept)
    if "connect_timeout" in query:
        others["connect_timeout"] = _seconds("connect_timeout", query["connect_timeout"])
    if (
        query.get("default_query_exec_mode") in _WITHOUT_CACHE
        or query.get("statement_cache_capacity") == "0"
    ):
        others["prepares"] = False
    return Server(
        dsn=f"{url.scheme}://{url.netloc}{url.path}?{urlencode(kept)}",
        notify_dsn=parse_dsn(notify_dsn).dsn if notify_dsn else "",
        **others,
    )


def _check_ports(netloc: str, parameter: str) -> None:
    """Of all hosts: the driver would find out when it connects, in words of its own."""
    hosts = netloc.rpartition("@")[2].split(",")
    found = [host.rpartition("]")[2].partition(":")[2] for host in hosts]
    for port in filter(None, (*found, *parameter.split(","))):
        if not (port.isascii() and port.isdecimal() and 0 < int(port[:9]) < 65536):
            raise ConfigError(f"dsn: port is {port!r}; a number from 1 to 65535 is allowed")


def _check_parameters(parameters: Mapping[str, str]) -> None:
    for name, allowed in _CHOICES.items():
        if parameters.get(name, allowed[0]) not in allowed:
            text = f"dsn: {name} is {parameters[name]!r}; {', '.join(allowed)} are allowed"
            raise ConfigError(text)
    for name in ("sslrootcert", "sslcert", "sslkey"):
        file = parameters.get(name, "")
        try:
            if file:
                Path(file).read_bytes()
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or error
            raise ConfigError(f"dsn: {name}: cannot read {file!r}: {reason}") from None


def _url(text: str) -> str:
    """Makes a URL of ``key=value`` pairs."""
    pairs, end = {}, 0
    while text[end:].strip():
        pair = _PAIR.match(text, end)
        if pair is None:
            raise ConfigError(
                "dsn: neither a URL (postgres://host/database) nor pairs (host=… dbname=…)"
            )
        value = pair[2][1:-1] if pair[2].startswith("'") else pair[2]
        pairs[pair[1]] = re.sub(r"\\(.)", r"\1", value)
        end = pair.end()
    database = quote(pairs.pop("dbname", ""), safe="")
    return f"postgres:///{database}?{urlencode(pairs)}"


def _seconds(name: str, text: str) -> float:
    if not text.isdecimal() or int(text) == 0:
        raise ConfigError(f"dsn: {name} is {text!r}; whole seconds above 0 are allowed")
    return float(text)


def _above_zero(options: object, *names: str) -> None:
    for name in names:
        if getattr(options, name) <= 0:
            raise ConfigError(f"{name} is {getattr(options, name)}; more than 0 is allowed")

"""How Tarantool servers are reached: options, and the addresses that say so."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from flyball.core.errors import ConfigError
from flyball.engines.common.address import ServerAddress

DEFAULT_PORT: Final = 3301
DEFAULT_PREFIX: Final = "centrifugo"
SEPARATOR: Final = ":"
"""Between a prefix and what is behind it; no prefix has it."""
SCHEMES: Final = ("tcp", "tarantool", "unix")
"""What an address may begin with; one without a scheme is ``host:port``."""

STANDALONE: Final = "standalone"
LEADER_FOLLOWER: Final = "leader-follower"
RAFT: Final = "leader-follower-raft"
MODES: Final = (STANDALONE, LEADER_FOLLOWER, RAFT)
"""What the servers of a shard are to each other."""


@dataclass(frozen=True, slots=True)
class Endpoint(ServerAddress):
    """Where one server listens."""

    port: int = DEFAULT_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOptions:
    """One shard: a server, or a leader with its followers. Durations are seconds."""

    servers: tuple[Endpoint, ...] = (Endpoint(),)
    """The server; or the leader and its followers, in any order."""
    mode: str = STANDALONE
    """``leader-follower``: the leader is the one that is not read-only. ``leader-follower-raft``:
    it is the one that was elected."""
    user: str = ""
    """``guest``, who needs no password, if empty."""
    password: str = field(default="", repr=False)
    connect_timeout: float = 1.0
    """Until a connection counts as refused."""
    io_timeout: float = 4.0
    """In which a server must answer; its link is lost otherwise."""

    def __post_init__(self) -> None:
        for name in ("connect_timeout", "io_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; seconds above 0 are allowed")
        if bool(self.user) != bool(self.password):
            raise ConfigError("user and password belong together; with neither it is the guest")
        if self.mode not in MODES:
            raise ConfigError(f"mode is {self.mode!r}; {', '.join(MODES)} are allowed")
        if self.mode == STANDALONE and len(self.servers) > 1:
            raise ConfigError(
                f"{self} are several servers of one shard; mode {STANDALONE!r} has one for each:"
                f" choose {LEADER_FOLLOWER!r}, or make them items of their own"
            )

    def __str__(self) -> str:
        return ",".join(map(str, self.servers))


@dataclass(frozen=True, slots=True, kw_only=True)
class TarantoolOptions:
    """What is kept in Tarantool, and how long. Durations are seconds."""

    prefix: str = DEFAULT_PREFIX
    """Start of all names: nodes with the same one are one cluster."""
    history_meta_ttl: float = 2_592_000.0
    """How long offset and epoch of a stream live, if not said otherwise."""
    presence_ttl: float = 60.0
    """How long a presence entry lives that is not renewed; more than the update interval."""

    def __post_init__(self) -> None:
        for name in ("history_meta_ttl", "presence_ttl"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; seconds above 0 are allowed")
        if SEPARATOR in self.prefix:
            raise ConfigError(f"prefix is {self.prefix!r}; it must not have a {SEPARATOR!r}")


def parse_address(text: str, base: ShardOptions | None = None) -> ShardOptions:
    """Reads the address of a shard; what it does not say is taken from ``base``.

    ``host:port``, or a URL with one of :data:`SCHEMES` and perhaps ``user:password@``; several of
    them, comma separated, are a leader and its followers. Parameters of a URL: ``connect_timeout``,
    ``io_timeout`` (durations such as ``500ms``).

    Raises:
        ConfigError: the address is malformed, or has a parameter that is not known.
    """
    base = base or ShardOptions()
    changes: dict[str, Any] = {}
    parts = filter(None, map(str.strip, text.split(",")))
    endpoints = tuple(_parse(part, changes) for part in parts)
    if not endpoints:
        raise _bad(text, "there is no host")
    return replace(base, servers=endpoints, **changes)


def _parse(text: str, changes: dict[str, Any]) -> Endpoint:
    """One server; what its URL says beside the place goes to ``changes``."""
    try:
        url = urlsplit(text if "://" in text else f"tcp://{text}")
        port = url.port
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if url.scheme not in SCHEMES:
        raise _bad(text, f"scheme {url.scheme!r} is not one of {', '.join(SCHEMES)}")
    _take_login(url, changes)
    for name, value in parse_qsl(url.query, keep_blank_values=True):
        if name not in ("connect_timeout", "io_timeout"):
            raise _bad(text, f"parameter {name!r} is not known")
        changes[name] = _seconds(text, name, value)
    if url.scheme == "unix":
        if not url.path:
            raise _bad(text, "there is no path")
        return Endpoint(path=unquote(url.path))
    if not url.hostname:
        raise _bad(text, "there is no host")
    if url.path.strip("/"):
        raise _bad(text, "there is a path behind host and port; it has no meaning")
    return Endpoint(url.hostname, DEFAULT_PORT if port is None else port)


def _take_login(url: SplitResult, changes: dict[str, Any]) -> None:
    user, _, password = url.netloc.rpartition("@")[0].partition(":")
    if user:
        changes["user"] = unquote(user)
    if password:
        changes["password"] = unquote(password)


def _seconds(text: str, name: str, value: str) -> float:
    for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
        number = value.removesuffix(unit)
        if number != value and number.replace(".", "", 1).isdecimal():
            return float(number) * factor
    raise _bad(text, f"{name} is {value!r}; a duration such as 500ms or 2s is allowed")


def _bad(text: str, reason: str) -> ConfigError:
    shown = text
    if "@" in text:  # never the password
        scheme, _, rest = text.rpartition("://")
        shown = f"{scheme or 'tcp'}://***@{rest.rpartition('@')[2]}"
    return ConfigError(f"Tarantool address {shown!r}: {reason}")

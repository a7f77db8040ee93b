"""How Redis servers are reached: options, and the addresses that say so."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field, replace
from typing import Any, Final
from urllib.parse import SplitResult, parse_qsl, unquote, urlsplit

from flyball.core.errors import ConfigError
from flyball.engines.common.address import ServerAddress

DEFAULT_PORT: Final = 6379
SENTINEL_PORT: Final = 26379
SCHEMES: Final = (
    *("redis", "rediss", "tcp", "unix"),
    *("redis+sentinel", "rediss+sentinel", "redis+cluster", "rediss+cluster"),
)
"""What an address may begin with; one without a scheme is ``host:port``."""


@dataclass(frozen=True, slots=True)
class Endpoint(ServerAddress):
    """Where one server listens."""

    port: int = DEFAULT_PORT


@dataclass(frozen=True, slots=True, kw_only=True)
class Login:
    """What a connection says of itself, and how it is secured."""

    user: str = ""
    password: str = field(default="", repr=False)
    client_name: str = ""
    db: int = 0
    force_resp2: bool = False
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""
    """Name that the certificate must be for, if not the host's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ShardOptions:
    """One shard: a server, those that Sentinels watch, or a Cluster."""

    seeds: tuple[Endpoint, ...] = (Endpoint(),)
    """The server; the Sentinels; or some nodes of the Cluster."""
    login: Login = field(default_factory=Login)
    cluster: bool = False
    """It must be a Cluster. A plain address finds out by itself."""
    sentinel_master: str = ""
    """Name of the master that the Sentinels, which are the seeds, know."""
    sentinel_login: Login = field(default_factory=Login)
    connect_timeout: float = 1.0
    """Seconds until a connection counts as refused."""
    io_timeout: float = 4.0
    """Seconds in which a server must answer; its link is lost otherwise."""

    def __str__(self) -> str:
        seeds = ",".join(map(str, self.seeds))
        if self.sentinel_master:
            return f"master {self.sentinel_master} of the Sentinels {seeds}"
        return f"cluster {seeds}" if self.cluster else seeds


def parse_endpoint(text: str, default_port: int = DEFAULT_PORT) -> Endpoint:
    """Reads ``host``, ``host:port`` or ``[ipv6]:port``.

    Raises:
        ConfigError: it is none.
    """
    try:
        parts = urlsplit(f"//{text.strip()}")
        port = parts.port
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if not parts.hostname:
        raise _bad(text, "there is no host")
    return Endpoint(parts.hostname, default_port if port is None else port)


def parse_endpoints(text: str, default_port: int = DEFAULT_PORT) -> tuple[Endpoint, ...]:
    """Reads a comma separated list of endpoints."""
    found = tuple(parse_endpoint(part, default_port) for part in text.split(",") if part.strip())
    if not found:
        raise _bad(text, "there is no host")
    return found


def parse_address(text: str, base: ShardOptions | None = None) -> ShardOptions:
    """Reads the address of a shard; what it does not say is taken from ``base``.

    ``host:port``, or a URL with one of :data:`SCHEMES`: user, password, the number of the
    database as path, further seeds as ``addr`` parameters, and the parameters
    ``connect_timeout``, ``io_timeout`` (durations such as ``500ms``), ``force_resp2``,
    ``tls_enabled``, ``sentinel_master_name``, ``sentinel_user``, ``sentinel_password`` and
    ``sentinel_tls_enabled``.

    Raises:
        ConfigError: the address is malformed, or has a parameter that is not known.
    """
    base = base or ShardOptions()
    if "://" not in text:
        return replace(base, seeds=(parse_endpoint(text),))
    try:
        url = urlsplit(text)
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if url.scheme not in SCHEMES:
        raise _bad(text, f"scheme {url.scheme!r} is not one of {', '.join(SCHEMES)}")
    return _Address(text, url, base).options()


class _Address:
    """A URL being read."""

    def __init__(self, text: str, url: SplitResult, base: ShardOptions) -> None:
        self._text = text
        self._url = url
        self._base = base
        self._query = parse_qsl(url.query, keep_blank_values=True)

    def options(self) -> ShardOptions:
        scheme = self._url.scheme
        sentinel = scheme.endswith("+sentinel")
        shard = replace(
            self._base,
            seeds=self._seeds(SENTINEL_PORT if sentinel else DEFAULT_PORT),
            login=self._login(),
            cluster=self._base.cluster or scheme.endswith("+cluster"),
        )
        changes: dict[str, Any] = {}
        sentinel_login: dict[str, Any] = {}
        for name, value in self._query:
            self._take(name, value, changes, sentinel_login)
        if sentinel_login:
            changes["sentinel_login"] = replace(shard.sentinel_login, **sentinel_login)
        shard = replace(shard, **changes)
        if sentinel and not shard.sentinel_master:
            raise _bad(self._text, "sentinel_master_name is missing")
        return shard

    def _take(
        self, name: str, value: str, changes: dict[str, Any], sentinel: dict[str, Any]
    ) -> None:
        match name:
            case "connect_timeout" | "io_timeout":
                changes[name] = self._seconds(name, value)
            case "sentinel_master_name":
                changes["sentinel_master"] = value
            case "sentinel_user" | "sentinel_password":
                sentinel[name.removeprefix("sentinel_")] = value
            case "sentinel_tls_enabled":
                sentinel["tls"] = ssl.create_default_context() if self._flag(name, value) else None
            case "addr" | "tls_enabled" | "force_resp2" | "replica_client_enabled":
                pass  # read elsewhere, or without effect in the original too
            case _:
                raise _bad(self._text, f"parameter {name!r} is not known")

    def _seeds(self, port: int) -> tuple[Endpoint, ...]:
        url = self._url
        if url.scheme == "unix":
            if not url.path:
                raise _bad(self._text, "there is no path")
            return (Endpoint(path=unquote(url.path)),)
        place = url.netloc.rpartition("@")[2]
        more = [value for name, value in self._query if name == "addr"]
        return parse_endpoints(",".join((place, *more)), port)

    def _login(self) -> Login:
        url, base = self._url, self._base.login
        flags = {n: self._flag(n, v) for n, v in self._query if n in ("tls_enabled", "force_resp2")}
        secure = url.scheme.startswith("rediss") or flags.get("tls_enabled", False)
        user, _, password = url.netloc.rpartition("@")[0].partition(":")
        return replace(
            base,
            user=unquote(user) or base.user,
            password=unquote(password) or base.password,
            db=self._db(),
            force_resp2=flags.get("force_resp2", base.force_resp2),
            tls=(base.tls or ssl.create_default_context()) if secure else base.tls,
        )

    def _db(self) -> int:
        path = self._url.path.strip("/")
        if not path or self._url.scheme == "unix":
            return self._base.login.db
        if not path.isdecimal():
            raise _bad(self._text, f"database {path!r} is no number")
        return int(path)

    def _flag(self, name: str, value: str) -> bool:
        if value.lower() not in ("true", "1", "false", "0"):
            raise _bad(self._text, f"{name} is {value!r}; true and false are allowed")
        return value.lower() in ("true", "1")

    def _seconds(self, name: str, value: str) -> float:
        for unit, factor in (("ms", 0.001), ("s", 1.0), ("m", 60.0)):
            number = value.removesuffix(unit)
            if number != value and number.replace(".", "", 1).isdecimal():
                return float(number) * factor
        raise _bad(self._text, f"{name} is {value!r}; a duration such as 500ms or 2s is allowed")


def _bad(text: str, reason: str) -> ConfigError:
    shown = text
    if "@" in text:  # never the password
        scheme, _, rest = text.rpartition("://")
        shown = f"{scheme}://***@{rest.rpartition('@')[2]}"
    return ConfigError(f"Redis address {shown!r}: {reason}")

"""How NATS servers are reached, and what is done there."""

from __future__ import annotations

import ssl
from dataclasses import dataclass, field
from typing import Final
from urllib.parse import unquote, urlsplit

from flyball.core.errors import ConfigError

DEFAULT_PORT: Final = 4222
DEFAULT_PREFIX: Final = "centrifugo"
SCHEMES: Final = ("nats", "tls")
"""What an address may begin with; one without a scheme is ``host:port``."""


@dataclass(frozen=True, slots=True)
class Server:
    """One address, with what its URL says of how to log in."""

    host: str
    port: int = DEFAULT_PORT
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    tls: bool = False
    """It was named with ``tls://``."""

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerOptions:
    """The servers of one cluster, and how to log in. Durations are seconds."""

    servers: tuple[Server, ...] = (Server("localhost"),)
    user: str = ""
    password: str = field(default="", repr=False)
    token: str = field(default="", repr=False)
    credentials_file: str = ""
    """A user's JWT and seed, as ``nsc`` writes them."""
    tls: ssl.SSLContext | None = None
    tls_server_name: str = ""
    """Name that the certificate must be for, if not the host's."""
    name: str = "flyball"
    """Of the connections, in the server's monitoring."""
    dial_timeout: float = 1.0
    """Longest wait for a connection."""
    write_timeout: float = 1.0
    """Longest wait until the server has taken what was sent; its link is lost otherwise."""
    request_timeout: float = 4.0
    """Longest wait for an answer of JetStream."""

    def __post_init__(self) -> None:
        for name in ("dial_timeout", "write_timeout", "request_timeout"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; seconds above 0 are allowed")

    def __str__(self) -> str:
        return ",".join(map(str, self.servers))


@dataclass(frozen=True, slots=True, kw_only=True)
class RawMode:
    """Plain subjects and bodies, for programs that know nothing of channels."""

    prefix: str = ""
    """Put before the subject."""
    channel_replacements: tuple[tuple[str, str], ...] = ()
    """Texts of a channel, and what stands for them in its subject; in this order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JetStreamOptions:
    """How JetStream keeps history and presence. Durations are seconds.

    The streams are made when they are missing; of those that are there nothing is changed.
    """

    storage: str = "file"
    """Where publications are kept: ``file`` or ``memory``. Presence is always in memory."""
    replicas: int = 1
    """Servers that keep a copy: 1, 3 or 5."""
    max_bytes: int = -1
    """Bytes of the history of all channels; when it is full publishing fails. -1: no limit."""
    history_meta_ttl: float = 2_592_000.0
    """How long offset and epoch of a channel live, if not said otherwise."""
    presence_ttl: float = 60.0
    """How long a presence entry lives that is not renewed; more than the update interval."""
    idempotency_window: float = 300.0
    """How long idempotency keys are remembered at most."""

    def __post_init__(self) -> None:
        allowed = {
            "storage": ("file", "memory"),
            "replicas": (1, 3, 5),
        }
        for name, values in allowed.items():
            value = getattr(self, name)
            if value not in values:
                shown = ", ".join(map(str, values))
                raise ConfigError(f"{name} is {value!r}; {shown} are allowed")
        for name in ("history_meta_ttl", "presence_ttl", "idempotency_window"):
            if getattr(self, name) <= 0:
                raise ConfigError(f"{name} is {getattr(self, name)}; seconds above 0 are allowed")
        if self.max_bytes != -1 and self.max_bytes <= 0:
            raise ConfigError(f"max_bytes is {self.max_bytes}; -1 and more than 0 are allowed")


@dataclass(frozen=True, slots=True, kw_only=True)
class NatsOptions:
    """What is sent by NATS, and how."""

    prefix: str = DEFAULT_PREFIX
    """Start of all subjects: nodes with the same one are one cluster."""
    allow_wildcards: bool = False
    """Channels may have the wildcards ``*`` and ``>``: a subscriber gets all that they match."""
    raw_mode: RawMode | None = None
    """Plain subjects and bodies."""
    jetstream: JetStreamOptions | None = None
    """Keep history and presence by JetStream."""

    def __post_init__(self) -> None:
        if self.jetstream is not None and self.raw_mode is not None:
            raise ConfigError("JetStream keeps positions, which raw mode has no place for")


def parse_servers(text: str) -> tuple[Server, ...]:
    """Reads addresses, comma separated: ``host:port``, or a URL with one of :data:`SCHEMES`.

    A URL may have a user and a password; a user alone is a token. What the first one that has
    them says holds for those without.

    Raises:
        ConfigError: an address is malformed.
    """
    found = [_parse(part.strip()) for part in text.split(",") if part.strip()]
    if not found:
        raise _bad(text, "there is no host")
    return tuple(found)


def _parse(text: str) -> Server:
    url = text if "://" in text else f"nats://{text}"
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError as error:
        raise _bad(text, str(error)) from None
    if parts.scheme not in SCHEMES:
        raise _bad(text, f"scheme {parts.scheme!r} is not one of {', '.join(SCHEMES)}")
    if not parts.hostname:
        raise _bad(text, "there is no host")
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise _bad(text, "there is more behind host and port; it has no meaning")
    userinfo, at, _ = parts.netloc.rpartition("@")
    user, colon, password = userinfo.partition(":")
    return Server(
        parts.hostname,
        DEFAULT_PORT if port is None else port,
        user=unquote(user) if colon else "",
        password=unquote(password),
        token=unquote(user) if at and not colon else "",
        tls=parts.scheme == "tls",
    )


def _bad(text: str, reason: str) -> ConfigError:
    shown = text
    if "@" in text:  # never the password
        scheme, _, rest = text.rpartition("://")
        shown = f"{scheme or 'nats'}://***@{rest.rpartition('@')[2]}"
    return ConfigError(f"NATS address {shown!r}: {reason}")

"""What handlers see of a connection: everything about it, and nothing that moves it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from flyball.core.payload import Data
from flyball.core.types import SubscribeOptions, SubscriptionSource

if TYPE_CHECKING:
    from collections.abc import Mapping

    from msgspec import Raw

    from flyball.core.transport import Transport


@dataclass(frozen=True, slots=True)
class SubscriptionInfo:
    """One subscription of a connection, as it stands when it is asked for."""

    channel: str
    """Name of the channel."""
    options: SubscribeOptions
    """As the program answered when it was made."""
    source: SubscriptionSource
    """Who wanted it."""
    server_side: bool
    """The client did not subscribe itself: made at connect, or by ``node.subscribe_user``."""
    expire_at: float
    """Unix seconds when it ends unless refreshed, 0 never."""


class ShownSession(Protocol):
    """What a session shows of itself."""

    client_id: str
    session_id: str
    user: str
    info: Raw
    meta: Any
    storage: dict[str, Any] | None
    headers: Mapping[str, str] | None
    emulated_headers: Mapping[str, str] | None
    name: str
    version: str
    latency: float
    expire_at: float
    client_side_refresh: bool

    @property
    def remote_addr(self) -> str:
        """Address of the peer, empty if not known."""

    @property
    def transport(self) -> Transport:
        """What carries it."""

    @property
    def unidirectional(self) -> bool:
        """It only receives."""

    @property
    def closed(self) -> bool:
        """It has ended."""

    def is_subscribed(self, channel: str) -> bool:
        """Whether it has a live subscription to ``channel``."""

    def subscription_info(self, channel: str) -> SubscriptionInfo | None:
        """Its live subscription to ``channel``."""

    def live_channels(self) -> frozenset[str]:
        """Channels of its live subscriptions."""


class Connection:
    """One client connection, read-only: handlers find it in their events.

    To end it raise :class:`~flyball.core.errors.Disconnect` from a handler that is asked, or
    call ``node.disconnect_user(user, client=connection.client_id)``.
    """

    __slots__ = ("_session",)

    def __init__(self, session: ShownSession) -> None:
        self._session = session

    def __repr__(self) -> str:
        return f"<Connection {self.client_id} user={self.user!r}>"

    @property
    def client_id(self) -> str:
        """Id of the connection, known to all clients that see it."""
        return self._session.client_id

    @property
    def session_id(self) -> str:
        """A secret id of emulated and unidirectional connections, empty for others."""
        return self._session.session_id

    @property
    def user(self) -> str:
        """Who it is; empty for anonymous connections, and before ``on_connecting`` answered."""
        return self._session.user

    @property
    def info(self) -> Data:
        """``conn_info``, which other clients see."""
        return Data(self._session.info)

    @property
    def meta(self) -> Any:
        """What ``Credentials.meta`` brought along; never sent to clients."""
        return self._session.meta

    @property
    def storage(self) -> dict[str, Any]:
        """For handlers: anything to remember as long as the connection lives."""
        session = self._session
        if session.storage is None:
            session.storage = {}
        return session.storage

    @property
    def headers(self) -> Mapping[str, str]:
        """Headers of the request that opened the connection, names in lower case."""
        return self._session.headers or {}

    @property
    def emulated_headers(self) -> Mapping[str, str]:
        """Headers that the client sent inside its connect command."""
        return self._session.emulated_headers or {}

    @property
    def name(self) -> str:
        """What the client calls itself, such as ``js``."""
        return self._session.name

    @property
    def version(self) -> str:
        """Version that the client tells."""
        return self._session.version

    @property
    def remote_addr(self) -> str:
        """Address of the peer, empty if not known."""
        return self._session.remote_addr

    @property
    def latency(self) -> float:
        """Seconds that the client's last answer to a ping took; 0 before the first one."""
        return self._session.latency

    @property
    def transport(self) -> str:
        """Name of the transport: ``websocket``, ``sse``, ..."""
        return self._session.transport.name

    @property
    def protocol(self) -> str:
        """``json`` or ``protobuf``."""
        return self._session.transport.framing.codec.name

    @property
    def unidirectional(self) -> bool:
        """It only receives."""
        return self._session.unidirectional

    @property
    def closed(self) -> bool:
        """It has ended; nothing is sent any more."""
        return self._session.closed

    @property
    def expire_at(self) -> float:
        """Unix seconds when it ends unless refreshed, 0 never."""
        return self._session.expire_at

    @property
    def client_side_refresh(self) -> bool:
        """The client refreshes with a new token; otherwise ``on_refresh`` is asked."""
        return self._session.client_side_refresh

    def is_subscribed(self, channel: str) -> bool:
        """Whether it is subscribed to ``channel`` (the subscribe reply was sent)."""
        return self._session.is_subscribed(channel)

    def subscription(self, channel: str) -> SubscriptionInfo | None:
        """Its subscription to ``channel``, if :meth:`is_subscribed`."""
        return self._session.subscription_info(channel)

    def channels(self) -> frozenset[str]:
        """All channels that it is subscribed to."""
        return self._session.live_channels()

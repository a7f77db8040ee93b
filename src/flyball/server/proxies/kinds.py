"""The questions: what each kind is called over GRPC, what is sent, and what comes back."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final, Generic, Protocol, TypeVar

from flyball.server.channels import ProxyKind
from flyball.server.proxies import messages as m

__all__ = [
    "CONNECT",
    "PUBLISH",
    "REFRESH",
    "RPC",
    "SUBSCRIBE",
    "SUBSCRIBE_BIDIRECTIONAL",
    "SUBSCRIBE_UNIDIRECTIONAL",
    "SUB_REFRESH",
    "Question",
    "Response",
]


class Response(Protocol):
    """What all answers about a client have in common. ``disconnect`` wins over ``error``."""

    @property
    def error(self) -> m.Error | None:
        """Refuses it."""

    @property
    def disconnect(self) -> m.Disconnect | None:
        """Ends the connection."""


Q = TypeVar("Q", bound=m.Message)
A = TypeVar("A", bound=m.Message)


@dataclass(frozen=True, slots=True)
class Question(Generic[Q, A]):
    """A kind of question; a stream goes on after its answer."""

    kind: ProxyKind
    method: str
    """Name of the GRPC method."""
    request: type[Q]
    response: type[A]


CONNECT: Final = Question(ProxyKind.CONNECT, "Connect", m.ConnectRequest, m.ConnectResponse)
REFRESH: Final = Question(ProxyKind.REFRESH, "Refresh", m.RefreshRequest, m.RefreshResponse)
SUBSCRIBE: Final = Question(
    ProxyKind.SUBSCRIBE, "Subscribe", m.SubscribeRequest, m.SubscribeResponse
)
PUBLISH: Final = Question(ProxyKind.PUBLISH, "Publish", m.PublishRequest, m.PublishResponse)
SUB_REFRESH: Final = Question(
    ProxyKind.SUB_REFRESH, "SubRefresh", m.SubRefreshRequest, m.SubRefreshResponse
)
RPC: Final = Question(ProxyKind.RPC, "RPC", m.RPCRequest, m.RPCResponse)
SUBSCRIBE_UNIDIRECTIONAL: Final = Question(
    ProxyKind.SUBSCRIBE_STREAM,
    "SubscribeUnidirectional",
    m.SubscribeRequest,
    m.StreamSubscribeResponse,
)
SUBSCRIBE_BIDIRECTIONAL: Final = Question(
    ProxyKind.SUBSCRIBE_STREAM,
    "SubscribeBidirectional",
    m.StreamSubscribeRequest,
    m.StreamSubscribeResponse,
)

"""``/emulation``: commands of streaming clients, for a session on any node."""

from __future__ import annotations

from dataclasses import dataclass
from time import monotonic
from typing import TYPE_CHECKING, Final

from flyball.core.errors import Error
from flyball.http.messages import Response, empty
from flyball.http.routes import Route
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError
from flyball.protocol.json_codec import JSON
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.transports.common.origin import cors_headers
from flyball.transports.streaming.endpoint import BINARY, preflight

if TYPE_CHECKING:
    from collections.abc import Awaitable, Mapping

    from flyball.core.node import Node
    from flyball.http.messages import RequestHead
    from flyball.protocol.messages import EmulationRequest
    from flyball.transports.common.origin import OriginPolicy

OP: Final = "centrifuge_emulation"
"""Name of the survey that carries commands to another node, of ours or Centrifugo's."""


@dataclass(slots=True)
class EmulationEndpoint:
    """Hands commands to sessions; replies travel over the session's stream."""

    node: Node
    origins: OriginPolicy
    max_request_body_size: int = 65536
    """Bytes."""

    def __post_init__(self) -> None:
        self.node.on_survey(OP, self._from_another_node)

    def route(self, path: str, option: str = "") -> Route:
        """This endpoint at ``path``, which ``option`` sets."""
        return Route(
            path,
            self.handle,
            max_body_size=self.max_request_body_size,
            too_large=self.too_large,
            option=option,
        )

    def handle(self, head: RequestHead, body: bytes) -> Response | Awaitable[Response]:
        """Answers one request; something to await if the session is on another node."""
        method, headers = head.method, head.headers
        if method == "OPTIONS":
            return preflight(self.origins, headers)
        if method != "POST":
            return self._answer(405, headers)
        if len(body) > self.max_request_body_size:
            return self.too_large(head)
        codec = PROTOBUF if headers.get("content-type") == BINARY else JSON
        try:
            request = codec.decode_emulation(body)
        except DecodeError:
            return self._answer(400, headers)
        if request.node == self.node.id:
            started = monotonic()
            deliver(self.node, request)
            # As the original counts it, which asks itself as it asks others.
            metrics = self.node.metrics
            metrics.actions["survey"] += 1
            metrics.survey_duration[OP].observe(monotonic() - started)
            return self._answer(204, headers)
        return self._forward(request, headers)

    async def _forward(self, request: EmulationRequest, headers: Mapping[str, str]) -> Response:
        node = self.node
        if all(info.uid != request.node for info in await node.info()):
            return self._answer(404, headers)
        try:
            await node.survey(OP, CLIENT.protobuf.write(request), request.node)
        except (TimeoutError, Error):  # an engine's has told the log
            return self._answer(500, headers)
        return self._answer(204, headers)

    def _from_another_node(self, data: bytes) -> bytes:
        from flyball.protocol.messages import EmulationRequest

        deliver(self.node, CLIENT.protobuf.read(EmulationRequest, data))
        return b""

    def too_large(self, head: RequestHead) -> Response:
        """The answer to a body over the limit."""
        return self._answer(413, head.headers)

    def _answer(self, status: int, headers: Mapping[str, str]) -> Response:
        return empty(status, tuple(cors_headers(self.origins, headers)))


def deliver(node: Node, request: EmulationRequest) -> None:
    """Gives commands to a session of this node; an unknown session is no error."""
    session = node.hub.by_session_id.get(request.session)
    if session is None or not session.transport.emulation or not request.data:
        return
    session.transport.cork()
    session.receive(bytes(request.data))
    session.transport.uncork()

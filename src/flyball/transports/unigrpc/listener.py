"""The port of the GRPC stream."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from flyball.http.grpc_port import GrpcListener, GrpcPlace, aio, grpc, peer_address
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import ConnectRequest
from flyball.transports.unigrpc.transport import UniGrpcTransport

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.transports.common.limits import ConnectionLimits

logger: Final = logging.getLogger("flyball.transports")

SERVICE: Final = "centrifugal.centrifugo.unistream.CentrifugoUniStream"
METHOD: Final = "Consume"
MAX_IDLE: Final = 60.0
"""Seconds that a connection without a stream may stay."""


@dataclass(frozen=True, slots=True)
class UniGrpcOptions(GrpcPlace):
    """Where and how to listen."""

    port: int = 11000
    max_idle: float = MAX_IDLE
    keep_headers: frozenset[str] | None = None
    """Metadata (lower case) that sessions keep as headers; None: all that is text."""


class UniGrpcListener(GrpcListener):
    """Serves ``Consume`` to clients that have no SDK, only stubs. The node ends its streams."""

    def __init__(
        self,
        node: Node,
        options: UniGrpcOptions | None = None,
        limits: ConnectionLimits | None = None,
    ) -> None:
        self.options: UniGrpcOptions = options or UniGrpcOptions()
        self._node = node
        self._limits = limits
        super().__init__(self.options)

    def _register(self, server: aio.Server) -> None:
        handler: grpc.RpcMethodHandler[bytes, bytes] = grpc.unary_stream_rpc_method_handler(
            self._consume
        )
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(SERVICE, {METHOD: handler}),)
        )

    # -- calls

    async def _consume(self, request: bytes, context: aio.ServicerContext[bytes, bytes]) -> None:
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if self._limits is not None and not self._limits.admits():
            await context.abort(grpc.StatusCode.UNAVAILABLE, "too many connections")
        try:
            connect = CLIENT.protobuf.read(ConnectRequest, request)
        except DecodeError as error:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, f"ConnectRequest: {error}")
            return
        transport = UniGrpcTransport(self._node)
        session = self._node.open_session(
            transport, self._headers(context), peer_address(context.peer())
        )
        session.connect_unidirectional(connect)
        try:
            await transport.run(context.write)
        except asyncio.CancelledError:
            if not context.cancelled():
                logger.debug("a GRPC stream was cut: %s", context.peer())
            raise
        except aio.UsageError:
            pass  # the client ended the call while something was being written

    def _headers(self, context: aio.ServicerContext[bytes, bytes]) -> dict[str, str] | None:
        keep = self.options.keep_headers
        found: dict[str, str] = {}
        for key, value in context.invocation_metadata() or ():
            if isinstance(value, str) and (keep is None or key in keep):
                # Given several times it is one list, as headers are over HTTP.
                found[key] = f"{found[key]}, {value}" if key in found else value
        return found or None

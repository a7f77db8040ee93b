"""Questions over GRPC: the service of ``proxy.proto``."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, Final

from flyball.protocol.codec import DecodeError
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.schema import PACKAGE, PROXY

if TYPE_CHECKING:
    from collections.abc import Mapping

    from grpc.aio import Channel

    from flyball.server.proxies.kinds import A, Q, Question
    from flyball.server.proxies.options import GrpcOptions

__all__ = ["GrpcCaller"]

SERVICE: Final = f"{PACKAGE}.CentrifugoProxy"
_KEY: Final = re.compile(r"[0-9a-z_.-]+")
"""What a metadata key may be."""


class GrpcCaller:
    """Asks one endpoint. Needs no running event loop until the first question."""

    protocol: Final = "grpc"
    """In metrics."""

    def __init__(self, options: GrpcOptions) -> None:
        self._options = options
        self._channel: Channel | None = None
        self._methods: dict[str, Any] = {}
        self._credentials = (options.credentials,) if options.credentials else ()

    def prepare(self) -> None:
        """Loads what calls need, so that the first one does not hold up the event loop."""
        import grpc.aio  # noqa: F401 - takes long, and few configurations need it

        _ = PROXY.protobuf

    def passes_on(self, name: str) -> bool:
        """Whether a key (lower case) may be sent along; those of binary values are not."""
        reserved = name.startswith("grpc-") or name.endswith("-bin")
        return _KEY.fullmatch(name) is not None and not reserved

    async def call(self, question: Question[Q, A], request: Q, headers: Mapping[str, str]) -> A:
        """The backend's answer.

        Raises:
            BackendError: there is none.
        """
        import grpc.aio

        method = self._methods.get(question.method) or self._method(question)
        try:
            text = await method(
                PROXY.protobuf.write(request),
                timeout=self._options.timeout,
                metadata=(*headers.items(), *self._credentials),
            )
        except grpc.aio.AioRpcError as error:
            raise BackendError(f"{error.code().name}: {error.details()}") from None
        try:
            return PROXY.protobuf.read(question.response, text)
        except DecodeError as error:
            raise BackendError(f"the answer is malformed: {error}") from None

    async def close(self) -> None:
        """Closes the connection; questions under way fail."""
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close()

    def _method(self, question: Question[Any, Any]) -> Any:
        channel = self._channel or self._open()
        found: Any = channel.unary_unary(f"/{SERVICE}/{question.method}")
        self._methods[question.method] = found
        return found

    def _open(self) -> Channel:
        import grpc
        import grpc.aio

        options = self._options
        settings: list[tuple[str, Any]] = [("grpc.enable_http_proxy", 0)]
        if options.server_name:
            settings.append(("grpc.ssl_target_name_override", options.server_name))
        compression = grpc.Compression.Gzip if options.compression else None
        if options.tls:
            credentials = grpc.ssl_channel_credentials(
                options.root_certificates, options.private_key, options.certificate
            )
            channel = grpc.aio.secure_channel(
                options.target, credentials, options=settings, compression=compression
            )
        else:
            channel = grpc.aio.insecure_channel(
                options.target, options=settings, compression=compression
            )
        self._channel = channel
        return channel

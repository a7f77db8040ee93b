"""Questions over GRPC: the service of ``proxy.proto``."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from flyball.protocol.codec import DecodeError
from flyball.server.proxies import messages as m
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.schema import PACKAGE, PROXY
from flyball.server.proxies.sendable import BINARY, IN_NO_METADATA, is_metadata_key

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from grpc.aio import AioRpcError, Channel

    from flyball.server.proxies.kinds import A, Q, Question
    from flyball.server.proxies.options import GrpcOptions
    from flyball.server.proxies.streams import StreamCall

__all__ = ["GrpcCaller"]

SERVICE: Final = f"{PACKAGE}.CentrifugoProxy"
MAX_BACKOFF: Final = 5_000
"""Milliseconds, at most, until a backend that was down is connected to again."""
KEEPALIVE: Final = 330_000
"""Milliseconds without a word until a backend with streams is pinged; servers take more than one
ping in five minutes for an attack, unless told otherwise."""
KEEPALIVE_TIMEOUT: Final = 20_000
"""Milliseconds for the answer."""


class GrpcCaller:
    """Asks one endpoint. Needs no running event loop until the first question."""

    protocol: Final = "grpc"
    """In metrics."""
    unsendable: Final = IN_NO_METADATA
    """What no value of a client may hold."""

    def __init__(self, options: GrpcOptions) -> None:
        self._options = options
        self._channel: Channel | None = None
        self._methods: dict[str, Any] = {}
        self._credentials = _metadata((options.credentials,)) if options.credentials else ()

    def prepare(self) -> None:
        """Loads what calls need, so that the first one does not hold up the event loop."""
        import grpc.aio  # noqa: F401 - takes long, and few configurations need it

        _ = PROXY.protobuf

    def passes_on(self, name: str) -> bool:
        """Whether a key (lower case) may be sent along; those of binary values are not.

        Nor is ``host``: it belongs to the client's request alone, as over HTTP.
        """
        reserved = name == "host" or name.startswith("grpc-") or name.endswith(BINARY)
        return is_metadata_key(name) and not reserved

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
                metadata=(*_metadata(headers.items()), *self._credentials),
            )
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        return _read(question.response, text)

    async def stream(
        self,
        question: Question[Any, m.StreamSubscribeResponse],
        request: m.Message,
        headers: Mapping[str, str],
    ) -> StreamCall:
        """Begins a stream, of both directions if its requests are a stream's.

        Raises:
            BackendError: it cannot begin.
        """
        both = question.request is m.StreamSubscribeRequest
        method = self._methods.get(question.method) or self._method(question, both=both)
        message = PROXY.protobuf.write(request)
        metadata = (*_metadata(headers.items()), *self._credentials)
        if not both:
            return GrpcStream(method(message, metadata=metadata))
        call = GrpcStream(method(metadata=metadata))
        await call.write_bytes(message)
        return call

    async def close(self) -> None:
        """Closes the connection; questions under way fail."""
        channel, self._channel = self._channel, None
        self._methods.clear()
        if channel is not None:
            await channel.close()

    def _method(self, question: Question[Any, Any], *, both: bool | None = None) -> Any:
        """The callable of a method; ``both`` tells the directions of a stream."""
        channel = self._channel or self._open()
        kinds = {
            None: channel.unary_unary,
            False: channel.unary_stream,
            True: channel.stream_stream,
        }
        found: Any = kinds[both](f"/{SERVICE}/{question.method}")
        self._methods[question.method] = found
        return found

    def _open(self) -> Channel:
        import grpc
        import grpc.aio

        options = self._options
        settings: list[tuple[str, Any]] = [
            ("grpc.enable_http_proxy", 0),
            ("grpc.max_reconnect_backoff_ms", MAX_BACKOFF),
            ("grpc.keepalive_time_ms", KEEPALIVE),
            ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT),
        ]
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


class GrpcStream:
    """A call that goes on after its first answer."""

    def __init__(self, call: Any) -> None:
        self._call = call

    async def read(self) -> m.StreamSubscribeResponse | None:
        """The next message; None if the backend has ended the stream.

        Raises:
            BackendError: it broke.
        """
        import grpc.aio

        try:
            text = await self._call.read()
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        return None if text is grpc.aio.EOF else _read(m.StreamSubscribeResponse, text)

    async def write(self, message: m.StreamSubscribeRequest) -> None:
        """Sends a message once the backend has room for it.

        Raises:
            BackendError: the stream broke, or has ended.
        """
        await self.write_bytes(PROXY.protobuf.write(message))

    async def write_bytes(self, message: bytes) -> None:
        """The same of an encoded one."""
        import grpc.aio

        try:
            await self._call.write(message)
        except grpc.aio.AioRpcError as error:
            raise _failure(error) from None
        except asyncio.InvalidStateError:
            raise BackendError("the stream has ended") from None

    def cancel(self) -> None:
        """Ends the call, if it has not ended."""
        self._call.cancel()


def _metadata(pairs: Iterable[tuple[str, str]]) -> tuple[tuple[str, str | bytes], ...]:
    """As the library takes it: binary values are bytes, as the original sends their text."""
    return tuple((k, v.encode() if k.endswith(BINARY) else v) for k, v in pairs)


def _failure(error: AioRpcError) -> BackendError:
    return BackendError(f"{error.code().name}: {error.details()}")


def _read(response: type[A], text: bytes) -> A:
    try:
        return PROXY.protobuf.read(response, text)
    except DecodeError as error:
        raise BackendError(f"the answer is malformed: {error}") from None

"""The server API over GRPC: a call for each method of the table."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING, Any, Final, cast

import structlog
from google.protobuf.any_pb2 import Any as AnyMessage
from google.rpc.status_pb2 import Status

from flyball.http.grpc_port import GrpcListener, GrpcPlace, aio, grpc, peer_address
from flyball.http.request_log import RequestLog
from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.varints import varint
from flyball.server.api import messages as m
from flyball.server.api.answers import error_message
from flyball.server.api.errors import API_ERRORS, ApiError, ApiErrorCode
from flyball.server.api.methods import METHODS, Method
from flyball.server.api.metrics import MARSHAL, UNMARSHAL
from flyball.server.api.schema import API, PACKAGE

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from msgspec import Struct

    from flyball.server.api.service import ApiService

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.api")

SERVICE: Final = f"{PACKAGE}.CentrifugoApi"
ERROR_MODE: Final = "x-centrifugo-error-mode"
DETAILS: Final = "grpc-status-details-bin"
"""The trailer with the error as a message (google.rpc.Status), in transport error mode."""

_ERROR, _RESULT = b"\x0a", b"\x12"
"""Tags of the two fields that every answer but a batch's has."""


@dataclass(frozen=True, slots=True)
class GrpcApiOptions(GrpcPlace):
    """Where and how the API is reached over GRPC."""

    port: int = 10000
    key: str = ""
    """What callers show; without one all are let in."""
    transport_errors: bool = False
    """Tell errors by the status, whatever the call says."""
    reflection: bool = False
    """Tell strangers too what there is to be called."""


class GrpcApi(GrpcListener):
    """The port of the API."""

    def __init__(self, service: ApiService, options: GrpcApiOptions | None = None) -> None:
        """Nothing is opened yet.

        Args:
            service: carries out what is called.
            options: where to listen, and who may call.

        Raises:
            ImportError: reflection is wanted and not installed.
        """
        self.service = service
        self.options: GrpcApiOptions = options or GrpcApiOptions()
        self._reflect = _reflection() if self.options.reflection else None
        check: tuple[aio.ServerInterceptor, ...] = ()
        if self.options.key:
            check = (KeyCheck(self.options.key, RequestLog(service.node.clock)),)
        else:
            logger.warning("INSECURE server API over GRPC: calls are not asked for a key")
        super().__init__(self.options, check)

    def _register(self, server: aio.Server) -> None:
        handlers: dict[str, grpc.RpcMethodHandler[bytes, bytes]] = {
            method.grpc_name: grpc.unary_unary_rpc_method_handler(partial(self._answer, method))
            for method in METHODS.values()
        }
        service = grpc.method_handlers_generic_handler(SERVICE, handlers)
        server.add_generic_rpc_handlers((service,))
        if self._reflect is not None:
            self._reflect(server)

    # -- calls

    async def _answer(
        self, method: Method, request: bytes, context: aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        if self._stopping:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "the server is shutting down")
        if method.request is None:
            await context.abort(grpc.StatusCode.UNIMPLEMENTED, "not part of this edition")
            raise AssertionError  # abort raises
        try:
            message = API.protobuf.read(method.request, request)
        except DecodeError as error:
            self._count(method, UNMARSHAL)
            logger.info("malformed api request", method=method.name, reason=str(error))
            text = f"{method.request.__name__}: {error}"
            await context.abort(grpc.StatusCode.INTERNAL, text)
        return await self._call(method, message, context)

    async def _call(
        self, method: Method, request: Struct, context: aio.ServicerContext[bytes, bytes]
    ) -> bytes:
        try:
            result = await self.service.call(method, request)
        except ApiError as error:
            if self._tells_by_status(context):
                await context.abort(*_STATUSES[error.entry])
            return _ERRORS[error.entry]
        try:
            answer = API.protobuf.write(result)
        except EncodeError as error:
            self._tell_of(method, error)
            await context.abort(grpc.StatusCode.INTERNAL, "the result cannot be shown")
        return answer if method.result is m.BatchResponse else _field(_RESULT, answer)

    def _tells_by_status(self, context: aio.ServicerContext[bytes, bytes]) -> bool:
        if self.options.transport_errors:
            return True
        return _first(context.invocation_metadata() or (), ERROR_MODE) == "transport"

    def _tell_of(self, method: Method, error: EncodeError) -> None:
        self._count(method, MARSHAL)
        logger.error("api result cannot be shown", method=method.name, reason=str(error))

    def _count(self, method: Method, error: str) -> None:
        self.service.metrics.count_error(self.service.options.protocol, method.name, error)


class KeyCheck(aio.ServerInterceptor):
    """Lets calls of the API in that have the key, before their messages are read."""

    def __init__(self, key: str, log: RequestLog) -> None:
        """Takes the key; ``log`` is told of who has not got it."""
        self._wanted = f"apikey {key}".encode()
        self._log = log

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[Any]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> Any:
        """Decides about one call."""
        details = cast("Any", handler_call_details)  # the stubs know no fields of it
        if details.method.startswith(f"/{SERVICE}/"):
            given = _first(details.invocation_metadata or (), "authorization")
            if given is None or not compare_digest(given.encode(), self._wanted):
                why = "no API key: it goes into the metadata authorization, as apikey KEY"
                if given is not None:
                    why = "a wrong API key; the metadata authorization is apikey KEY"
                # A handler of streams gets the call without the message.
                return grpc.stream_stream_rpc_method_handler(
                    partial(self._refuse, f"{why}: {details.method}")
                )
        return await continuation(handler_call_details)

    async def _refuse(
        self, why: str, _requests: Any, context: aio.ServicerContext[bytes, bytes]
    ) -> None:
        self._log.refused_from("GRPC UNAUTHENTICATED", peer_address(context.peer()), why)
        await context.abort(grpc.StatusCode.UNAUTHENTICATED, "unauthenticated")


def _first(metadata: Iterable[tuple[str, str | bytes]], name: str) -> str | None:
    """The first value of ``name`` that is text."""
    for key, value in metadata:
        if key == name and isinstance(value, str):
            return value
    return None


def _field(tag: bytes, message: bytes) -> bytes:
    """A field that holds a message, as Protobuf writes it."""
    return tag + varint(len(message)) + message


def _status(entry: ApiErrorCode) -> tuple[grpc.StatusCode, str, tuple[tuple[str, bytes]]]:
    code = grpc.StatusCode[entry.grpc_code]
    value = API.protobuf.write(error_message(entry))
    url = f"type.googleapis.com/{PACKAGE}.Error"
    detail = AnyMessage(type_url=url, value=value)
    status = Status(code=code.value[0], message=entry.message, details=[detail])
    return code, entry.message, ((DETAILS, status.SerializeToString()),)


_ERRORS: Final = {
    e: _field(_ERROR, API.protobuf.write(error_message(e))) for e in API_ERRORS.values()
}
_STATUSES: Final = {entry: _status(entry) for entry in API_ERRORS.values()}


def _reflection() -> Callable[[aio.Server], None]:
    """Puts the reflection service on a server."""
    from grpc_reflection.v1alpha import reflection

    names = (SERVICE, reflection.SERVICE_NAME)
    return partial(reflection.enable_server_reflection, names, pool=API.protobuf.pool)

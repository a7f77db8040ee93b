"""The server API over HTTP: a route for each method, and the legacy route for all of them."""

from __future__ import annotations

from collections.abc import Awaitable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import structlog
from msgspec import Raw, Struct
from msgspec.structs import replace

from flyball.aio.eager import start_eagerly
from flyball.http.messages import FAILED, Response, empty, plain_error
from flyball.http.routes import Route
from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.json_reader import JsonDecoder, split_values
from flyball.server.api import messages as m
from flyball.server.api.answers import BARE_ERRORS, EMPTY_ANSWER, ERROR_ANSWERS, error_message
from flyball.server.api.auth import ApiKeyCheck
from flyball.server.api.errors import BAD_REQUEST, NOT_FOUND, ApiError
from flyball.server.api.legacy import LEGACY, LegacyCommand, LegacyReply, legacy_method
from flyball.server.api.methods import METHODS, Method
from flyball.server.api.metrics import MARSHAL, UNMARSHAL
from flyball.server.api.schema import API
from flyball.server.api.service import NO_POSITION, ApiService

if TYPE_CHECKING:
    from flyball.http.messages import RequestHead

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.api")

ERROR_MODE_HEADER: Final = "x-centrifugo-error-mode"
TRANSPORT_ERRORS: Final = "transport"

ANSWER_EMPTY: Final = Response(EMPTY_ANSWER)
ANSWER_BAD_REQUEST: Final = plain_error(400)
UNAUTHORIZED: Final = empty(401)
ANSWER_SHUTDOWN: Final = empty(503)

_ERRORS: Final = {e: Response(body) for e, body in ERROR_ANSWERS.items()}
_STATUSES: Final = {e: Response(body, e.http_status) for e, body in BARE_ERRORS.items()}


@dataclass(frozen=True, slots=True)
class HttpApiOptions:
    """How the API is reached over HTTP."""

    prefix: str = "/api"
    """Path of the legacy route; the others are below it."""
    key: str = ""
    """The API key; without one every request is refused, unless ``insecure``."""
    insecure: bool = False
    """Let requests in without a key."""
    transport_errors: bool = False
    """Tell errors by the HTTP status, whatever the request says."""


class ApiHandler:
    """Answers HTTP requests of the server API: a row of the route table for each method."""

    def __init__(self, service: ApiService, options: HttpApiOptions | None = None) -> None:
        self.service = service
        options = options or HttpApiOptions()
        self.options: HttpApiOptions = options
        if options.insecure:
            logger.warning("INSECURE server API: requests are not asked for a key")
        self._key_ok = None if options.insecure else ApiKeyCheck(options.key)
        self._decoders = {
            method.name: API.json_decoder(method.request)
            for method in METHODS.values()
            if method.request is not None
        }
        self._legacy_decoder = LEGACY.json_decoder(LegacyCommand)

    def routes(self, *, internal: bool = True) -> list[Route]:
        """The legacy route at the prefix, and below it one for each method."""
        below = self.options.prefix.rstrip("/")
        row = partial(
            Route,
            methods=("POST",),
            admit=self.admit,
            internal=internal,
            option="http_api.handler_prefix",
        )
        return [
            row(below or "/", self.legacy),
            *(
                row(below + METHODS[name].route, partial(self._answer, METHODS[name], decoder))
                for name, decoder in self._decoders.items()
            ),
        ]

    def admit(self, head: RequestHead) -> Response | None:
        """Lets requests with the key in, before their bodies are read."""
        if self._key_ok is None or self._key_ok(head.headers, head.query):
            return None
        why = self._key_ok.why(head.headers, head.query)
        refusal: Response = replace(UNAUTHORIZED, why=why)
        return refusal

    def _answer(
        self, method: Method, decoder: JsonDecoder[Any], head: RequestHead, body: bytes
    ) -> Response | Awaitable[Response]:
        """Something to await only if the engine has to wait."""
        try:
            request = decoder.decode(body)
        except DecodeError as error:
            self._count(method, UNMARSHAL)
            logger.info("malformed api request", method=method.name, reason=str(error))
            return ANSWER_BAD_REQUEST
        transport_errors = (
            self.options.transport_errors or head.headers.get(ERROR_MODE_HEADER) == TRANSPORT_ERRORS
        )
        return start_eagerly(self._call(method, request, transport_errors=transport_errors))

    async def _call(self, method: Method, request: Struct, *, transport_errors: bool) -> Response:
        try:
            result = await self.service.call(method, request)
        except ApiError as error:
            return (_STATUSES if transport_errors else _ERRORS)[error.entry]
        if result is NO_POSITION:
            return ANSWER_EMPTY
        try:
            text = API.json_writer.encode(result)
        except EncodeError as error:
            return self._unshowable(method, error)
        if method.result is not m.BatchResponse:
            text = b'{"result":' + text + b"}"
        return Response(text)

    def _unshowable(self, method: Method, error: EncodeError) -> Response:
        self._count(method, MARSHAL)
        logger.error("api result cannot be shown", method=method.name, reason=str(error))
        return FAILED

    def _count(self, method: Method, error: str) -> None:
        self.service.metrics.count_error(self.service.options.protocol, method.name, error)

    # -- the legacy route

    async def legacy(self, _head: RequestHead, body: bytes) -> Response:
        """The answer to a legacy body: commands one after the other, each with its reply.

        Commands before a malformed one are carried out, though nobody learns their results.
        """
        if self.service.node.shutting_down:
            return ANSWER_SHUTDOWN
        if not body:
            return ANSWER_BAD_REQUEST
        replies: list[bytes] = []
        try:
            for text in split_values(body):
                command = self._legacy_decoder.decode(text)
                method = legacy_method(command.method)
                try:
                    replies.append(
                        LEGACY.json_writer.encode(await self._legacy_reply(command, method))
                    )
                except EncodeError as error:
                    return self._unshowable(method or METHODS["publish"], error)
        except DecodeError as error:
            logger.info("malformed legacy api request", reason=str(error))
            return ANSWER_BAD_REQUEST
        return Response(b"\n".join(replies))

    async def _legacy_reply(self, command: LegacyCommand, method: Method | None) -> LegacyReply:
        if method is None or method.request is None:
            return LegacyReply(command.id, error=error_message(NOT_FOUND))
        try:
            if method.request is m.InfoRequest:  # its parameters were never looked at
                request: Struct = m.InfoRequest()
            else:
                request = self._decoders[method.name].decode(bytes(command.params))
        except DecodeError as error:
            self._count(method, UNMARSHAL)
            logger.info("malformed api request", method=method.name, reason=str(error))
            return LegacyReply(command.id, error=error_message(BAD_REQUEST))
        try:
            result = await self.service.call(method, request)
        except ApiError as error:
            return LegacyReply(command.id, error=error_message(error.entry))
        return LegacyReply(command.id, result=Raw(API.json_writer.encode(result)))

"""The server API over HTTP: a route for each method, and the legacy route for all of them."""

from __future__ import annotations

import re
from collections.abc import Awaitable, Mapping
from dataclasses import dataclass
from typing import Any, Final

import msgspec
import structlog
from msgspec import Raw, Struct

from flyball.aio.eager import start_eagerly
from flyball.http.http1 import HttpResponse
from flyball.server.api import messages as m
from flyball.server.api.auth import ApiKeyCheck
from flyball.server.api.decode import RequestDecoder, split_values
from flyball.server.api.encode import (
    BARE_ERRORS,
    EMPTY_ANSWER,
    ERROR_ANSWERS,
    encode_json,
    encode_result,
    error_message,
)
from flyball.server.api.errors import (
    BAD_REQUEST,
    NOT_FOUND,
    ApiError,
    MalformedRequestError,
    MalformedResultError,
)
from flyball.server.api.methods import LEGACY_METHODS, METHODS, Method
from flyball.server.api.metrics import MARSHAL, UNMARSHAL
from flyball.server.api.service import NO_POSITION, ApiService

logger = structlog.get_logger("flyball.server.api")

TEXT_TYPE: Final = "text/plain; charset=utf-8"
ERROR_MODE_HEADER: Final = "x-centrifugo-error-mode"
TRANSPORT_ERRORS: Final = "transport"

_NO_SNIFF: Final = (("X-Content-Type-Options", "nosniff"),)

ANSWER_EMPTY: Final = HttpResponse(EMPTY_ANSWER)
ANSWER_BAD_REQUEST: Final = HttpResponse(b"Bad Request\n", 400, TEXT_TYPE, _NO_SNIFF)
ANSWER_UNAUTHORIZED: Final = HttpResponse(b"", 401, "")
ANSWER_NO_ROUTE: Final = HttpResponse(b"404 page not found\n", 404, TEXT_TYPE, _NO_SNIFF)
ANSWER_WRONG_VERB: Final = HttpResponse(b"", 405, "")
ANSWER_FAILED: Final = HttpResponse(b"Internal Server Error\n", 500, TEXT_TYPE, _NO_SNIFF)
ANSWER_SHUTDOWN: Final = HttpResponse(b"", 503, "")

_ERRORS: Final = {e: HttpResponse(body) for e, body in ERROR_ANSWERS.items()}
_STATUSES: Final = {e: HttpResponse(body, e.http_status) for e, body in BARE_ERRORS.items()}
_INTEGER: Final = re.compile(rb"-?[0-9]{1,18}")


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


@dataclass(frozen=True, slots=True)
class _Route:
    method: Method
    decoder: RequestDecoder[Any]


class ApiHandler:
    """Answers HTTP requests of the server API.

    :meth:`handle` does all. Who wants to refuse before reading a body calls :meth:`admit`
    and then :meth:`answer`. :meth:`legacy` serves bodies that were let in elsewhere.
    """

    def __init__(self, service: ApiService, options: HttpApiOptions | None = None) -> None:
        self.service = service
        self.options = options = options or HttpApiOptions()
        if options.insecure:
            logger.warning("INSECURE server API: requests are not asked for a key")
        self._key_ok = None if options.insecure else ApiKeyCheck(options.key)
        self._decoders = {
            method.name: RequestDecoder(method.request)
            for method in METHODS.values()
            if method.request is not None
        }
        self._legacy_decoder = RequestDecoder(m.LegacyCommand)
        below = options.prefix.rstrip("/")
        self._routes: dict[str, _Route | None] = {
            below + METHODS[name].route: _Route(METHODS[name], decoder)
            for name, decoder in self._decoders.items()
        }
        self._routes[below or "/"] = None  # the legacy route

    @property
    def paths(self) -> frozenset[str]:
        """All paths that are served, for routers."""
        return frozenset(self._routes)

    def handle(
        self, method: str, path: str, query: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse | Awaitable[HttpResponse]:
        """The answer to one request; something to await only if the engine has to wait.

        ``headers`` have lower-case names and, of repeated ones, the first value.
        """
        refusal = self.admit(method, path, query, headers)
        return self.answer(path, headers, body) if refusal is None else refusal

    def admit(
        self, method: str, path: str, query: str, headers: Mapping[str, str]
    ) -> HttpResponse | None:
        """Why the request is refused, as far as can be told without its body."""
        if path not in self._routes:
            return ANSWER_NO_ROUTE
        if method != "POST":
            return ANSWER_WRONG_VERB
        if self._key_ok is not None and not self._key_ok(headers, query):
            return ANSWER_UNAUTHORIZED
        return None

    def answer(
        self, path: str, headers: Mapping[str, str], body: bytes
    ) -> HttpResponse | Awaitable[HttpResponse]:
        """The answer to an admitted request."""
        route = self._routes[path]
        if route is None:
            return start_eagerly(self.legacy(body))
        try:
            request = route.decoder.decode(body)
        except MalformedRequestError as error:
            self._count(route.method, UNMARSHAL)
            logger.info("malformed api request", method=route.method.name, reason=str(error))
            return ANSWER_BAD_REQUEST
        transport_errors = (
            self.options.transport_errors or headers.get(ERROR_MODE_HEADER) == TRANSPORT_ERRORS
        )
        return start_eagerly(self._call(route.method, request, transport_errors=transport_errors))

    async def _call(
        self, method: Method, request: Struct, *, transport_errors: bool
    ) -> HttpResponse:
        try:
            result = await self.service.call(method, request)
        except ApiError as error:
            return (_STATUSES if transport_errors else _ERRORS)[error.entry]
        if result is NO_POSITION:
            return ANSWER_EMPTY
        try:
            text = encode_result(result)
        except MalformedResultError as error:
            return self._unshowable(method, error)
        if method.result is not m.BatchResponse:
            text = b'{"result":' + text + b"}"
        return HttpResponse(text)

    def _unshowable(self, method: Method, error: MalformedResultError) -> HttpResponse:
        self._count(method, MARSHAL)
        logger.error("api result cannot be shown", method=method.name, reason=str(error))
        return ANSWER_FAILED

    def _count(self, method: Method, error: str) -> None:
        self.service.metrics.count_error(self.service.options.protocol, method.name, error)

    # -- the legacy route

    async def legacy(self, body: bytes) -> HttpResponse:
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
                command = self._legacy_decoder.decode(bytes(text))
                method = _legacy_method(command.method)
                try:
                    replies.append(encode_json(await self._legacy_reply(command, method)))
                except MalformedResultError as error:
                    return self._unshowable(method or METHODS["publish"], error)
        except MalformedRequestError as error:
            logger.info("malformed legacy api request", reason=str(error))
            return ANSWER_BAD_REQUEST
        return HttpResponse(b"\n".join(replies))

    async def _legacy_reply(self, command: m.LegacyCommand, method: Method | None) -> m.LegacyReply:
        if method is None or method.request is None:
            return m.LegacyReply(command.id, error=error_message(NOT_FOUND))
        try:
            if method.request is m.InfoRequest:  # its parameters were never looked at
                request: Struct = m.InfoRequest()
            else:
                request = self._decoders[method.name].decode(bytes(command.params))
        except MalformedRequestError as error:
            self._count(method, UNMARSHAL)
            logger.info("malformed api request", method=method.name, reason=str(error))
            return m.LegacyReply(command.id, error=error_message(BAD_REQUEST))
        try:
            result = await self.service.call(method, request)
        except ApiError as error:
            return m.LegacyReply(command.id, error=error_message(error.entry))
        return m.LegacyReply(command.id, result=Raw(encode_result(result)))


def _legacy_method(given: Raw) -> Method | None:
    """The method of a legacy command, by name in any case or by number; None: no such number.

    Raises:
        MalformedRequestError: the name is unknown, or it is neither name nor number.
    """
    text = bytes(given) or b"0"
    if _INTEGER.fullmatch(text):
        return LEGACY_METHODS.get(int(text))
    try:
        method = METHODS.get(msgspec.json.decode(text, type=str).lower())
    except (msgspec.DecodeError, UnicodeDecodeError):
        method = None
    if method is None or method.legacy_number is None:
        raise MalformedRequestError(f"unknown method {text[:64]!r}")
    return method

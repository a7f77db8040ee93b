"""Publishing over HTTP for programs of one's own: what ``flyball.Publisher`` talks to.

The shape is that of the server's API: ``POST .../publish`` and ``POST .../broadcast`` with the key in
``X-API-Key``; answers are ``{"result": ...}`` or ``{"error": {"code": ..., "message": ...}}``. There
are no namespaces here, so ``history_size`` and ``history_ttl`` come with each request.
"""

from __future__ import annotations

import base64
import binascii
import logging
from functools import partial
from hmac import compare_digest
from typing import TYPE_CHECKING, Final

import msgspec
from msgspec import Raw

from flyball.aio.eager import start_eagerly
from flyball.core.errors import ConfigError
from flyball.core.types import PublishOptions, PublishResult
from flyball.http.messages import Response, empty, plain_error
from flyball.http.routes import Route
from flyball.protocol import codes
from flyball.protocol.codec import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flyball.core.node import Node
    from flyball.http.messages import RequestHead

__all__ = ["MAX_BODY", "PublishApi"]

logger: Final = logging.getLogger("flyball.transports")

MAX_BODY: Final = 16 * 1024 * 1024
"""Bytes of a request: the caller holds the key."""

_UNAUTHORIZED: Final = empty(401)
_GONE: Final = empty(503)
_NO_OPTIONS: Final = PublishOptions()


class _Publish(msgspec.Struct):
    channel: str = ""
    channels: list[str] = []
    data: Raw = Raw()
    b64data: str = ""
    history_size: int = 0
    history_ttl: float = 0.0
    skip_history: bool = False
    tags: dict[str, str] | None = None
    idempotency_key: str = ""
    delta: bool = False
    version: int = 0
    version_epoch: str = ""

    def payload(self) -> bytes:
        """The data, as JSON text or as what was sent in base64.

        Raises:
            ConfigError: there is none.
        """
        if self.b64data:
            return base64.b64decode(self.b64data, validate=True)
        if not self.data:
            raise ConfigError("data is missing")
        return bytes(self.data)

    def options(self) -> PublishOptions:
        """How it is kept and spread."""
        return msgspec.structs.replace(
            _NO_OPTIONS,
            history_size=self.history_size,
            history_ttl=self.history_ttl,
            skip_history=self.skip_history,
            tags=self.tags,
            idempotency_key=self.idempotency_key,
            delta=self.delta,
            version=self.version,
            version_epoch=self.version_epoch,
        )


class PublishApi:
    """The two methods, for who has the key.

    Args:
        node: where is published.
        key: what requests must show.
    """

    def __init__(self, node: Node, key: str) -> None:
        self._node = node
        self._key = key.encode()
        self._decode = msgspec.json.Decoder(_Publish).decode

    def routes(self, prefix: str) -> list[Route]:
        """Both methods, below ``prefix``."""
        row = partial(Route, methods=("POST",), admit=self._admit, max_body_size=MAX_BODY)
        return [
            row(f"{prefix}/publish", partial(self._answer, several=False)),
            row(f"{prefix}/broadcast", partial(self._answer, several=True)),
        ]

    def _admit(self, head: RequestHead) -> Response | None:
        given = head.headers.get("x-api-key", "")
        if not given:
            scheme, _, given = head.headers.get("authorization", "").partition(" ")
            given = given.strip() if scheme.lower() == "apikey" else ""
        if compare_digest(given.encode("latin-1", "backslashreplace"), self._key):
            return None
        return _UNAUTHORIZED

    def _answer(
        self, _head: RequestHead, body: bytes, *, several: bool
    ) -> Response | Awaitable[Response]:
        if self._node.shutting_down:
            return _GONE
        try:
            request = self._decode(body)
            payload = request.payload()
        except (*UNREADABLE, binascii.Error, ConfigError) as error:
            logger.warning("a request to publish is malformed: %s", error)
            return plain_error(400)
        return start_eagerly(self._publish(request, Raw(payload), several=several))

    async def _publish(self, request: _Publish, data: Raw, *, several: bool) -> Response:
        channels = request.channels if several else [request.channel]
        if not channels or not all(channels):
            name = "channels" if several else "channel"
            logger.warning("a request to publish is refused: %s is missing or empty", name)
            error = {"code": codes.BAD_REQUEST.code, "message": codes.BAD_REQUEST.message}
            return Response(msgspec.json.encode({"error": error}))
        options = request.options()
        results = [_shown(await self._node.publish(name, data, options)) for name in channels]
        if several:
            return Response(
                msgspec.json.encode({"result": {"responses": [{"result": r} for r in results]}})
            )
        return Response(msgspec.json.encode({"result": results[0]}))


def _shown(result: PublishResult) -> dict[str, object]:
    return {"offset": result.offset, "epoch": result.epoch} if result.epoch else {}

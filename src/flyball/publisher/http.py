"""Publishing over the HTTP API of a server, or of a node in a program."""

from __future__ import annotations

import base64
import http.client
import logging
import select
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import urlsplit

import msgspec

from flyball.core.errors import ConfigError, Error
from flyball.core.types import Payload, PublishResult, Raw, to_payload
from flyball.protocol.codec import UNREADABLE
from flyball.publisher.common import PublishFailed, without_password

if TYPE_CHECKING:
    import aiohttp  # takes longer to import than all of this package

    from flyball.core.keywords import PublishKeywords

__all__ = ["AsyncHttpWay", "HttpWay"]

logger: Final = logging.getLogger("flyball.publisher")

MAX_IDLE: Final = 8
"""Connections that wait for the next request."""
FIELDS: Final = (
    *("history_size", "history_ttl", "skip_history", "tags"),
    *("idempotency_key", "delta", "version", "version_epoch"),
)
"""What may be said of a publication over HTTP."""


class _Result(msgspec.Struct):
    offset: int = 0
    epoch: str = ""


class _ErrorBody(msgspec.Struct):
    code: int = 0
    message: str = ""


class _Answer(msgspec.Struct):
    result: _Result | None = None
    error: _ErrorBody | None = None


class _Answers(msgspec.Struct):
    responses: list[_Answer] = []


class _BroadcastAnswer(msgspec.Struct):
    result: _Answers | None = None
    error: _ErrorBody | None = None


class _Api:
    """Requests and answers as bytes; who sends them is another matter."""

    def __init__(self, url: str, key: str) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            message = (
                f"url is {without_password(url)!r}, but must be like http://localhost:8000/api,"
                " redis://localhost:6379 or nats://localhost:4222"
            )
            raise ConfigError(message)
        if not key:
            raise ConfigError("key is empty: it is the API key of the server (http_api.key)")
        self.url: str = url.rstrip("/")
        self.tls: bool = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port: int = parts.port or (443 if self.tls else 80)
        self.path: str = parts.path.rstrip("/")
        self.headers: dict[str, str] = {"X-API-Key": key, "Content-Type": "application/json"}

    def body(self, where: dict[str, Any], data: Payload, fields: PublishKeywords) -> bytes:
        """A request.

        Raises:
            TypeError: one of ``fields`` is not known.
        """
        unknown = fields.keys() - set(FIELDS)
        if unknown:
            known = ", ".join(FIELDS)
            raise TypeError(f"publish over HTTP takes no {min(unknown)!r}, but {known}")
        return msgspec.json.encode({**where, **_data(to_payload(data)), **fields})

    def result(self, status: int, body: bytes, fields: PublishKeywords) -> PublishResult:
        """What came of a publish."""
        return self._one(self._decoded(status, body, _Answer), fields)

    def results(self, status: int, body: bytes, fields: PublishKeywords) -> list[PublishResult]:
        """What came of a broadcast."""
        answer = self._decoded(status, body, _BroadcastAnswer)
        if answer.error is not None or answer.result is None:
            return [self._one(_Answer(error=answer.error), fields)]
        return [self._one(response, fields) for response in answer.result.responses]

    def _decoded(self, status: int, body: bytes, kind: type[Any]) -> Any:
        if status == 401:
            raise PublishFailed(f"{self.url} refuses the API key (401)")
        try:
            if status != 200:
                raise msgspec.DecodeError(f"status {status}")
            return msgspec.json.decode(body, type=kind)
        except UNREADABLE as error:
            message = f"{self.url} is no publish API, or cannot serve: {error}; {body[:200]!r}"
            raise PublishFailed(message) from None

    def _one(self, answer: _Answer, fields: PublishKeywords) -> PublishResult:
        if answer.error is not None:
            raise Error(answer.error.code, answer.error.message)
        if answer.result is None:
            raise PublishFailed(f"{self.url} is no publish API: its answer has no result")
        if fields.get("history_size") and not answer.result.offset:
            logger.warning("history_size was given, but %s keeps history as it likes", self.url)
        return PublishResult(answer.result.offset, answer.result.epoch)


def _data(payload: Raw) -> dict[str, Any]:
    """JSON as it is, anything else in base64."""
    try:
        msgspec.json.decode(payload)
    except UNREADABLE:
        return {"b64data": base64.b64encode(payload).decode()}
    return {"data": payload}


class HttpWay:
    """Publishes over HTTP. Connections are kept for the next request; threads may share it.

    Raises:
        ConfigError: ``url`` or ``key`` cannot be one.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self._api = _Api(url, key)
        self._timeout = timeout
        self._idle: list[http.client.HTTPConnection] = []

    def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """See :meth:`Way.publish`."""
        body = self._api.body({"channel": channel}, data, fields)
        return self._api.result(*self._post("publish", body), fields)

    def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """See :meth:`Way.broadcast`."""
        body = self._api.body({"channels": channels}, data, fields)
        return self._api.results(*self._post("broadcast", body), fields)

    def _post(self, method: str, body: bytes) -> tuple[int, bytes]:
        connection = self._take()
        try:
            connection.request("POST", f"{self._api.path}/{method}", body, self._api.headers)
            answer = connection.getresponse()
            text = answer.read()
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            message = f"{self._api.url} cannot be reached: {error or type(error).__name__}"
            raise PublishFailed(message) from error
        if len(self._idle) < MAX_IDLE:
            self._idle.append(connection)
        else:
            connection.close()
        return answer.status, text

    def _take(self) -> http.client.HTTPConnection:
        while self._idle:
            try:
                connection = self._idle.pop()
            except IndexError:  # another thread was quicker
                break
            if connection.sock is not None and not _readable(connection.sock):
                return connection
            connection.close()  # the other end has
        api = self._api
        kind = http.client.HTTPSConnection if api.tls else http.client.HTTPConnection
        return kind(api.host, api.port, timeout=self._timeout)

    def close(self) -> None:
        """See :meth:`Way.close`; the next request opens another."""
        while self._idle:
            self._idle.pop().close()


def _readable(sock: Any) -> bool:
    """A connection without a request under way has something to read: its end."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()  # takes descriptors above 1024 too
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class AsyncHttpWay:
    """The same in an event loop.

    Raises:
        ConfigError: ``url`` or ``key`` cannot be one.
    """

    def __init__(self, url: str, key: str, timeout: float) -> None:
        self._api = _Api(url, key)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """See :meth:`AsyncWay.publish`."""
        body = self._api.body({"channel": channel}, data, fields)
        return self._api.result(*await self._post("publish", body), fields)

    async def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """See :meth:`AsyncWay.broadcast`."""
        body = self._api.body({"channels": channels}, data, fields)
        return self._api.results(*await self._post("broadcast", body), fields)

    async def _post(self, method: str, body: bytes) -> tuple[int, bytes]:
        import aiohttp

        if self._session is None:
            limit = aiohttp.ClientTimeout(total=self._timeout)
            self._session = aiohttp.ClientSession(timeout=limit, headers=self._api.headers)
        try:
            async with self._session.post(f"{self._api.url}/{method}", data=body) as answer:
                return answer.status, await answer.read()
        except (TimeoutError, aiohttp.ClientError, OSError) as error:
            message = f"{self._api.url} cannot be reached: {error or type(error).__name__}"
            raise PublishFailed(message) from error

    async def close(self) -> None:
        """See :meth:`AsyncWay.close`; the next request opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

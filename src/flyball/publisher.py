"""Publishing from another process, over the HTTP API: Celery tasks, cron jobs, scripts.

::

    publisher = flyball.Publisher("http://localhost:8000/api", key="secret")
    publisher.publish("news", {"text": "hello"})

    async with flyball.AsyncPublisher("http://localhost:8000/api", key="secret") as publisher:
        await publisher.publish("news", {"text": "hello"})

The API is that of a Flyball (or Centrifugo) server, or of a node in a program of one's own with
``api_key=...`` (``flyball.run``, ``flyball.serve``, ``flyball.asgi.app``).
"""

from __future__ import annotations

import base64
import http.client
import logging
import select
from collections.abc import Iterable
from types import TracebackType
from typing import TYPE_CHECKING, Any, Final, Self, TypedDict, Unpack
from urllib.parse import urlsplit

import msgspec

from flyball.core.errors import ConfigError, Error, FlyballError
from flyball.core.types import Payload, PublishResult, Raw, to_payload

if TYPE_CHECKING:
    import aiohttp  # takes longer to import than all of this package

__all__ = ["AsyncPublisher", "PublishFailed", "Publisher", "RemoteKeywords"]

logger: Final = logging.getLogger("flyball.publisher")

TIMEOUT: Final = 10.0
"""Seconds for a whole request."""
MAX_IDLE: Final = 8
"""Connections that wait for the next request."""


class PublishFailed(FlyballError):
    """The API cannot be reached, or answers nothing that it should. The message says what."""


class RemoteKeywords(TypedDict, total=False):
    """What may be said of a publication over HTTP; see :class:`~flyball.PublishOptions`.

    A server keeps history as the channel's namespace says; ``history_size`` and ``history_ttl`` are
    for nodes in programs of one's own.
    """

    history_size: int
    history_ttl: float
    skip_history: bool
    tags: dict[str, str] | None
    idempotency_key: str
    delta: bool
    version: int
    version_epoch: str


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
            message = f"url is {url!r}, but must be like http://localhost:8000/api"
            raise ConfigError(message)
        if not key:
            raise ConfigError("key is empty: it is the API key of the server (http_api.key)")
        self.url: str = url.rstrip("/")
        self.tls: bool = parts.scheme == "https"
        self.host: str = parts.hostname
        self.port: int = parts.port or (443 if self.tls else 80)
        self.path: str = parts.path.rstrip("/")
        self.headers: dict[str, str] = {"X-API-Key": key, "Content-Type": "application/json"}

    def body(self, where: dict[str, Any], data: Payload, fields: RemoteKeywords) -> bytes:
        """A request.

        Raises:
            TypeError: one of ``fields`` is not known.
        """
        unknown = fields.keys() - RemoteKeywords.__annotations__.keys()
        if unknown:
            known = ", ".join(RemoteKeywords.__annotations__)
            raise TypeError(f"publish over HTTP takes no {min(unknown)!r}, but {known}")
        return msgspec.json.encode({**where, **_data(to_payload(data)), **fields})

    def result(self, status: int, body: bytes, fields: RemoteKeywords) -> PublishResult:
        """What came of a publish."""
        return self._one(self._decoded(status, body, _Answer), fields)

    def results(self, status: int, body: bytes, fields: RemoteKeywords) -> list[PublishResult]:
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
        except msgspec.DecodeError as error:
            message = f"{self.url} is no publish API, or cannot serve: {error}; {body[:200]!r}"
            raise PublishFailed(message) from None

    def _one(self, answer: _Answer, fields: RemoteKeywords) -> PublishResult:
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
    except msgspec.DecodeError:
        return {"b64data": base64.b64encode(payload).decode()}
    return {"data": payload}


class Publisher:
    """Publishes over HTTP, in plain functions; several threads may share one.

    Connections are kept for the next request. ``with`` or :meth:`close` ends them.

    Args:
        url: the API's, such as ``http://localhost:8000/api``.
        key: its key.
        timeout: seconds for connecting and for each wait of a request.

    Raises:
        ConfigError: ``url`` or ``key`` cannot be one.
    """

    def __init__(self, url: str, *, key: str, timeout: float = TIMEOUT) -> None:
        self._api = _Api(url, key)
        self._timeout = timeout
        self._idle: list[http.client.HTTPConnection] = []

    def publish(
        self, channel: str, data: Payload, **fields: Unpack[RemoteKeywords]
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``, as :meth:`Node.publish` does.

        Raises:
            Error: the API refuses it; code and message are the API's.
            PublishFailed: the API cannot be reached, or it is none.
        """
        body = self._api.body({"channel": channel}, data, fields)
        return self._api.result(*self._post("publish", body), fields)

    def broadcast(
        self, channels: Iterable[str], data: Payload, **fields: Unpack[RemoteKeywords]
    ) -> list[PublishResult]:
        """Publishes the same into several channels; results are in their order.

        Raises what :meth:`publish` does.
        """
        body = self._api.body({"channels": list(channels)}, data, fields)
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
        """Closes the connections; the next request opens another."""
        while self._idle:
            self._idle.pop().close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def _readable(sock: Any) -> bool:
    """A connection without a request under way has something to read: its end."""
    if not hasattr(select, "poll"):  # Windows
        return bool(select.select([sock], [], [], 0)[0])
    poll = select.poll()  # takes descriptors above 1024 too
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(0))


class AsyncPublisher:
    """The same for async programs: ``async with flyball.AsyncPublisher(url, key=key) as publisher``.

    Args:
        url: the API's, such as ``http://localhost:8000/api``.
        key: its key.
        timeout: seconds for a whole request.

    Raises:
        ConfigError: ``url`` or ``key`` cannot be one.
    """

    def __init__(self, url: str, *, key: str, timeout: float = TIMEOUT) -> None:
        self._api = _Api(url, key)
        self._timeout = timeout
        self._session: aiohttp.ClientSession | None = None

    async def publish(
        self, channel: str, data: Payload, **fields: Unpack[RemoteKeywords]
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``, as :meth:`Node.publish` does.

        Raises:
            Error: the API refuses it; code and message are the API's.
            PublishFailed: the API cannot be reached, or it is none.
        """
        body = self._api.body({"channel": channel}, data, fields)
        return self._api.result(*await self._post("publish", body), fields)

    async def broadcast(
        self, channels: Iterable[str], data: Payload, **fields: Unpack[RemoteKeywords]
    ) -> list[PublishResult]:
        """Publishes the same into several channels; results are in their order.

        Raises what :meth:`publish` does.
        """
        body = self._api.body({"channels": list(channels)}, data, fields)
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
        """Closes the connections; the next request opens another."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

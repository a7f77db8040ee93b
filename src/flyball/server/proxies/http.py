"""Questions over HTTP: JSON in a POST, JSON in its answer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

from flyball.aio.eager import OWN_TASK
from flyball.aio.limits import TimeLimit
from flyball.aio.timers import TimerWheel
from flyball.core.errors import Disconnect
from flyball.protocol.codec import DecodeError
from flyball.server.proxies import messages as m
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.schema import PROXY
from flyball.server.proxies.sendable import IN_NO_HEADER

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiohttp import ClientResponse, ClientSession

    from flyball.core.errors import Error
    from flyball.protocol.json_reader import JsonDecoder
    from flyball.server.proxies.kinds import A, Q, Question
    from flyball.server.proxies.options import HttpOptions
    from flyball.server.proxies.streams import StreamCall

__all__ = ["HttpCaller"]

OK: Final = 200
MAX_ANSWER_SIZE: Final = 4 * 1024 * 1024
"""Bytes of an answer, as over GRPC."""
RESOLUTION: Final = 0.05
"""Seconds, at most, by which a question may end later than its time limit."""
RESERVED: Final = frozenset(
    {
        "accept-encoding",
        "connection",
        "content-length",
        "content-type",
        "expect",
        "host",
        "keep-alive",
        "proxy-connection",
        "te",
        "trailer",
        "transfer-encoding",
        "upgrade",
    }
)
"""Headers that belong to the connection or the body of one request: those are not passed on."""


class HttpCaller:
    """Asks one endpoint. Needs no running event loop until the first question."""

    protocol: Final = "http"
    """In metrics."""
    unsendable: Final = IN_NO_HEADER
    """What no value of a client may hold."""

    def __init__(self, options: HttpOptions) -> None:
        self._options = options
        self._session: ClientSession | None = None
        self._timers = TimerWheel(resolution=min(options.timeout / 10, RESOLUTION))
        self._decoders: dict[type[m.Message], JsonDecoder[Any]] = {}

    def prepare(self) -> None:
        """Loads what calls need, so that the first one does not hold up the event loop."""
        import flyball.server.proxies.http_session  # noqa: F401 - see there

    def passes_on(self, name: str) -> bool:
        """Whether a header (lower case) may be sent along."""
        return name not in RESERVED

    async def call(self, question: Question[Q, A], request: Q, headers: Mapping[str, str]) -> A:
        """The backend's answer.

        Raises:
            BackendError: there is none.
            EncodeError: a payload is no JSON.
        """
        import aiohttp

        body = PROXY.json_writer.encode(request)
        await OWN_TASK  # time limits need one, and eager handlers have none
        session = self._session or self._open()
        try:
            with TimeLimit(self._timers, self._options.timeout):
                answer = await session.post(
                    self._options.url,
                    data=body,
                    headers=headers,
                    allow_redirects=False,  # only configured hosts are called
                    server_hostname=self._options.server_name or None,
                )
                status, text = answer.status, await _read(answer)
        except TimeoutError:
            raise BackendError(f"no answer within {self._options.timeout:g} s") from None
        except (aiohttp.ClientError, OSError, ValueError) as error:
            raise BackendError(f"{type(error).__name__}: {error}") from error
        if status != OK:
            return self._by_status(question, status)
        return self._decode(question, text)

    async def stream(self, *_: object) -> StreamCall:
        """Raises BackendError: there are no streams over HTTP."""
        raise BackendError("streams need a GRPC endpoint")

    async def close(self) -> None:
        """Closes the connections; questions under way fail."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> ClientSession:
        from flyball.server.proxies.http_session import open_session

        self._session = open_session(self._options)
        self._timers.restart()
        return self._session

    def _by_status(self, question: Question[Q, A], status: int) -> A:
        """The answer that a status stands for."""
        found = self._options.transforms.get(status)
        if found is None:
            raise BackendError(f"status {status}, not 200")
        return question.response(**_answer_of(found))

    def _decode(self, question: Question[Q, A], text: bytes) -> A:
        decoder: JsonDecoder[A] | None = self._decoders.get(question.response)
        if decoder is None:
            decoder = PROXY.json_decoder(question.response)
            self._decoders[question.response] = decoder
        try:
            return decoder.decode(text)
        except DecodeError as error:
            raise BackendError(f"the answer is malformed: {error}") from None


def _answer_of(problem: Error | Disconnect) -> dict[str, Any]:
    if isinstance(problem, Disconnect):
        return {"disconnect": m.Disconnect(problem.code, problem.reason)}
    return {"error": m.Error(problem.code, problem.message, problem.temporary)}


async def _read(answer: ClientResponse) -> bytes:
    """The body, if it is not too long. With its end, or a failure, the connection is given back."""
    length = answer.content_length
    if length is not None and length <= MAX_ANSWER_SIZE:
        return await answer.read()
    parts, size = [], 0
    try:
        async for part in answer.content.iter_any():
            size += len(part)
            if size > MAX_ANSWER_SIZE:
                raise BackendError(f"the answer is longer than {MAX_ANSWER_SIZE} bytes")
            parts.append(part)
    except BaseException:
        answer.close()
        raise
    return b"".join(parts)

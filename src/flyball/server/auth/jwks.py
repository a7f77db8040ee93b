"""Key sets fetched from an endpoint: cached, bounded, and never at a stranger's command.

A token with an unknown ``kid`` makes us look again, but not often, and all who need it share one
look; it never pushes known keys out. Answers are bounded in size and time, redirects are not followed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import msgspec
import structlog

from flyball.aio.clock import LoopClock
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.protocol.codec import UNREADABLE
from flyball.server.auth.keys import Jwk, jwk_key

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from flyball.aio.clock import Clock
    from flyball.server.auth.keys import Key

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.auth")

TIMEOUT: Final = 1.0
"""Seconds for one request."""
TRIES: Final = 2
KEEP: Final = 3600.0
"""Seconds for which a key stays after its last use."""
LOOK_AGAIN: Final = 1.0
"""Seconds from the end of one fetch of an endpoint to the start of the next: how long a key that
came just after the first is refused."""
MAX_SIZE: Final = 1024 * 1024
"""Bytes of an answer."""
MAX_KEYS: Final = 1000
"""Keys of one endpoint."""
MAX_ENDPOINTS: Final = 100
MAX_CONNECTIONS: Final = 10


class _KeySet(msgspec.Struct):
    keys: list[msgspec.Raw]


class _Known:
    """A key of an endpoint."""

    __slots__ = ("algorithm", "key", "until")

    def __init__(self, key: Key, algorithm: str, until: float) -> None:
        self.key = key
        self.algorithm = algorithm
        """The only one it is for; empty: what its kind allows."""
        self.until = until
        """Monotonic seconds: forgotten then, unless used again."""


class _Endpoint:
    """What is known of one URL."""

    __slots__ = ("failed", "fetched_at", "fetching", "keys")

    def __init__(self) -> None:
        self.keys: dict[str, _Known] = {}
        """By ``kid``."""
        self.failed = False
        """The last fetch brought nothing: a key may exist that we do not know."""
        self.fetched_at = float("-inf")
        self.fetching: asyncio.Task[None] | None = None


class JwksClient:
    """Gives out keys of JSON web key sets.

    Needs no running event loop until the first key is asked for.

    Args:
        clock: Tells how old keys are.
        timeout: Seconds for one request.
        max_endpoints: Key sets kept at a time.
    """

    def __init__(
        self,
        clock: Clock | None = None,
        *,
        timeout: float = TIMEOUT,
        max_endpoints: int = MAX_ENDPOINTS,
    ) -> None:
        self._clock: Clock = clock or LoopClock()
        self._timeout = timeout
        self._max_endpoints = max_endpoints
        self._endpoints: OrderedDict[str, _Endpoint] = OrderedDict()
        self._tasks: set[asyncio.Task[None]] = set()
        self._session: ClientSession | None = None
        self._closed = False

    def prepare(self) -> None:
        """Loads what fetching needs, so that the first fetch does not hold up the event loop."""
        import aiohttp  # noqa: F401 - takes long, and few configurations need it

    async def key(self, url: str, kid: str, algorithm: str) -> Key | None:
        """The key ``kid`` of the set at ``url``; None if there is none for ``algorithm``.

        Waits only if the key is not known yet.

        Raises:
            Error: 100, the set cannot be fetched now. Clients try again.
        """
        endpoint = self._endpoint(url)
        known = self._known(endpoint, kid)
        if known is None:
            task = self._look(url, endpoint)
            if task is not None:
                # Waits without being cancelled with it, or cancelling it.
                await asyncio.wait((task,))
                known = self._known(endpoint, kid)
            if known is None and endpoint.failed:
                raise Error(codes.INTERNAL, detail=f"keys cannot be fetched from {_shown(url)}")
        if known is None or (known.algorithm and known.algorithm != algorithm):
            return None
        known.until = self._clock.monotonic() + KEEP
        return known.key

    async def close(self) -> None:
        """Ends what is under way; who waits for a key gets error 100."""
        self._closed = True
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    # -- what is known

    def _known(self, endpoint: _Endpoint, kid: str) -> _Known | None:
        known = endpoint.keys.get(kid)
        return known if known is not None and known.until > self._clock.monotonic() else None

    def _endpoint(self, url: str) -> _Endpoint:
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            if len(self._endpoints) >= self._max_endpoints:
                self._make_room()
            endpoint = self._endpoints[url] = _Endpoint()
        else:
            self._endpoints.move_to_end(url)
        return endpoint

    def _make_room(self) -> None:
        """Forgets an endpoint without keys, else the one that was not used for longest."""
        idle = [(url, e) for url, e in self._endpoints.items() if e.fetching is None]
        if not idle:
            detail = f"more than {self._max_endpoints} key sets at a time"
            raise Error(codes.INTERNAL, detail=detail)
        del self._endpoints[next((url for url, e in idle if not e.keys), idle[0][0])]

    # -- fetching

    def _look(self, url: str, endpoint: _Endpoint) -> asyncio.Task[None] | None:
        """The fetch under way or begun now, in a task of its own: callers may have none, or
        go away. None if the last one is too fresh.
        """
        if self._closed:
            endpoint.failed = True
            return None
        if endpoint.fetching is None:
            if self._clock.monotonic() - endpoint.fetched_at < LOOK_AGAIN:
                return None
            endpoint.fetching = asyncio.get_running_loop().create_task(
                self._fetch(url, endpoint), name="fetch key set"
            )
            self._tasks.add(endpoint.fetching)
            endpoint.fetching.add_done_callback(self._tasks.discard)
        return endpoint.fetching

    async def _fetch(self, url: str, endpoint: _Endpoint) -> None:
        failed = True
        try:
            for attempt in range(1, TRIES + 1):
                body = await self._get(url, attempt)
                if body is not None and self._take(url, endpoint, body):
                    failed = False
                    break
        except Exception:
            logger.exception("fetching keys failed", url=_shown(url))
        finally:
            endpoint.failed = failed
            endpoint.fetched_at = self._clock.monotonic()
            endpoint.fetching = None

    async def _get(self, url: str, attempt: int) -> bytes | None:
        import aiohttp

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=self._timeout),
                connector=aiohttp.TCPConnector(limit=MAX_CONNECTIONS),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers={"Accept": "application/json", "Accept-Encoding": "identity"},
                auto_decompress=False,
            )
        problem: str
        try:
            async with self._session.get(url, allow_redirects=False) as response:
                if response.status == 200:
                    body = bytearray()
                    async for chunk in response.content.iter_chunked(65536):
                        body += chunk
                        if len(body) > MAX_SIZE:
                            break
                    else:
                        return bytes(body)
                    problem = f"more than {MAX_SIZE} bytes"
                else:
                    problem = f"status {response.status}"
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            problem = f"{type(error).__name__}: {error}".replace(url, _shown(url))
        logger.warning("cannot fetch keys", url=_shown(url), attempt=attempt, problem=problem)
        return None

    def _take(self, url: str, endpoint: _Endpoint, body: bytes) -> bool:
        try:
            given = msgspec.json.decode(body, type=_KeySet).keys
        except UNREADABLE:
            logger.warning("not a key set", url=_shown(url))
            return False
        now = self._clock.monotonic()
        keys: dict[str, _Known] = {}
        for raw in given[:MAX_KEYS]:
            try:
                jwk = msgspec.json.decode(raw, type=Jwk)
            except UNREADABLE:
                continue
            if not jwk.kid or jwk.use != "sig":
                continue
            key = jwk_key(jwk)
            if key is not None:
                keys[jwk.kid] = _Known(key, jwk.alg or "", now + KEEP)
        # Keys that left the set stay while they are used: their tokens may still be around.
        kept = {kid: known for kid, known in endpoint.keys.items() if known.until > now}
        endpoint.keys = kept | keys if len(kept) + len(keys) <= MAX_KEYS else keys
        return True


def _shown(url: str) -> str:
    """The URL without what may be secret in it."""
    parts = urlsplit(url)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"

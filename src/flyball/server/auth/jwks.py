"""Key sets fetched from an endpoint: cached, bounded, and never at a stranger's command.

A token with an unknown ``kid`` may make us look again, but not often; it never pushes known keys
out. Answers are bounded in size and time, redirects are not followed.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

import msgspec
import structlog

from flyball.core.clock import LoopClock
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.server.auth.jose import Jwk, jwk_key

if TYPE_CHECKING:
    from aiohttp import ClientSession

    from flyball.core.clock import Clock
    from flyball.server.auth.jose import Key

logger = structlog.get_logger("flyball.server.auth")

TIMEOUT: Final = 1.0
"""Seconds for one request."""
TRIES: Final = 2
KEEP: Final = 3600.0
"""Seconds for which a key that is used stays."""
LOOK_AGAIN: Final = 5.0
"""Seconds between fetches of one endpoint."""
MAX_SIZE: Final = 1024 * 1024
"""Bytes of an answer."""
MAX_KEYS: Final = 1000
"""Keys of one endpoint."""
MAX_ENDPOINTS: Final = 100


class _KeySet(msgspec.Struct):
    keys: list[msgspec.Raw]


class _Endpoint:
    """What is known of one URL."""

    __slots__ = ("failed", "fetched_at", "fetching", "keys")

    def __init__(self) -> None:
        self.keys: dict[str, tuple[Key, str, float]] = {}
        """kid to key, its ``alg`` if it has one, and monotonic seconds until when it is kept."""
        self.failed = False
        """The last fetch brought nothing: a key may exist that we do not know."""
        self.fetched_at = float("-inf")
        self.fetching: asyncio.Task[None] | None = None


class JwksClient:
    """Gives out keys of JSON web key sets."""

    def __init__(self, clock: Clock | None = None) -> None:
        self._clock: Clock = clock or LoopClock()
        self._endpoints: OrderedDict[str, _Endpoint] = OrderedDict()
        self._session: ClientSession | None = None

    async def key(self, url: str, kid: str, algorithm: str) -> Key | None:
        """The key ``kid`` of the set at ``url``; None if there is none for ``algorithm``.

        Raises:
            Error: 100, the set cannot be fetched now. Clients try again.
        """
        endpoint = self._endpoint(url)
        now = self._clock.monotonic()
        known = endpoint.keys.get(kid)
        if known is None or known[2] <= now:
            if endpoint.fetching is None and now - endpoint.fetched_at >= LOOK_AGAIN:
                endpoint.fetching = asyncio.get_running_loop().create_task(
                    self._fetch(url, endpoint), name=f"fetch {url}"
                )
            if endpoint.fetching is not None:
                await asyncio.shield(endpoint.fetching)
            known = endpoint.keys.get(kid)
            if known is None and endpoint.failed:
                raise Error(codes.INTERNAL, detail=f"keys cannot be fetched from {url}")
        if known is None or (known[1] and known[1] != algorithm):
            return None
        endpoint.keys[kid] = (known[0], known[1], now + KEEP)
        return known[0]

    async def close(self) -> None:
        """Ends what is under way."""
        tasks = [e.fetching for e in self._endpoints.values() if e.fetching is not None]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        if self._session is not None:
            await self._session.close()
            self._session = None

    def _endpoint(self, url: str) -> _Endpoint:
        endpoint = self._endpoints.get(url)
        if endpoint is None:
            while len(self._endpoints) >= MAX_ENDPOINTS:
                self._endpoints.popitem(last=False)
            endpoint = self._endpoints[url] = _Endpoint()
        else:
            self._endpoints.move_to_end(url)
        return endpoint

    async def _fetch(self, url: str, endpoint: _Endpoint) -> None:
        try:
            endpoint.failed = True
            for attempt in range(1, TRIES + 1):
                body = await self._get(url, attempt)
                if body is not None and self._take(url, endpoint, body):
                    endpoint.failed = False
                    return
        finally:
            endpoint.fetched_at = self._clock.monotonic()
            endpoint.fetching = None

    async def _get(self, url: str, attempt: int) -> bytes | None:
        import aiohttp  # takes long to import, and few configurations need it

        if self._session is None:
            self._session = aiohttp.ClientSession(
                timeout=aiohttp.ClientTimeout(total=TIMEOUT), auto_decompress=False
            )
        try:
            async with self._session.get(
                url, allow_redirects=False, headers={"Accept-Encoding": "identity"}
            ) as response:
                if response.status != 200:
                    logger.warning("cannot fetch keys", url=url, status=response.status)
                    return None
                body = bytearray()
                async for chunk in response.content.iter_chunked(65536):
                    body += chunk
                    if len(body) > MAX_SIZE:
                        logger.warning("a key set is too large", url=url, limit=MAX_SIZE)
                        return None
                return bytes(body)
        except (aiohttp.ClientError, TimeoutError, ValueError) as error:
            logger.warning(
                "cannot fetch keys",
                url=url,
                attempt=attempt,
                error=f"{type(error).__name__}: {error}",
            )
            return None

    def _take(self, url: str, endpoint: _Endpoint, body: bytes) -> bool:
        try:
            given = msgspec.json.decode(body, type=_KeySet).keys
        except (msgspec.DecodeError, UnicodeError):
            logger.warning("not a key set", url=url)
            return False
        now = self._clock.monotonic()
        keys: dict[str, tuple[Key, str, float]] = {}
        for raw in given[:MAX_KEYS]:
            try:
                jwk = msgspec.json.decode(raw, type=Jwk)
            except (msgspec.DecodeError, UnicodeError):
                continue
            key = jwk_key(jwk) if jwk.kid and jwk.use == "sig" else None
            if key is not None:
                keys[jwk.kid] = (key, jwk.alg, now + KEEP)
        # Keys that left the set are kept while they are used, as the original does.
        kept = {kid: entry for kid, entry in endpoint.keys.items() if entry[2] > now}
        endpoint.keys = kept | keys if len(kept) + len(keys) <= MAX_KEYS else keys
        return True

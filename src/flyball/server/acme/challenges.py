"""Challenges that wait to be checked by the authority."""

from __future__ import annotations

import re
import ssl
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import structlog

from flyball.server.acme.cache import HTTP_SUFFIX, TOKEN_SUFFIX
from flyball.server.acme.certificate import challenge_pem, load_pair

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flyball.server.acme.cache import Cache

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.acme")

ACME_PROTOCOL: Final = "acme-tls/1"
_TOKEN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")


class Challenges:
    """Answers to pending challenges: put in place by the issuing thread, read by the listeners.

    They are also put into the cache, because the authority may be led to another process, or
    another machine, that shares it.
    """

    def __init__(self, cache: Cache) -> None:
        self._cache = cache
        self._texts: dict[str, str] = {}
        self._contexts: dict[str, ssl.SSLContext] = {}

    @contextmanager
    def http(self, token: str, key_authorization: str) -> Iterator[None]:
        """Answers a http-01 challenge for as long as the block lasts."""
        if not _TOKEN.fullmatch(token):
            raise ValueError("the authority sent a token with characters that are not allowed")
        name = token + HTTP_SUFFIX
        self._texts[token] = key_authorization
        try:
            self._cache.put(name, key_authorization.encode())
            yield
        finally:
            del self._texts[token]
            self._cache.delete(name)

    @contextmanager
    def tls(self, host: str, key_authorization: str) -> Iterator[None]:
        """Answers a tls-alpn-01 challenge for as long as the block lasts."""
        name = host + TOKEN_SUFFIX
        pem = challenge_pem(host, key_authorization)
        self._contexts[host] = challenge_context(pem)
        try:
            self._cache.put(name, pem)
            yield
        finally:
            del self._contexts[host]
            self._cache.delete(name)

    def text_for(self, token: str) -> str | None:
        """What to answer to a http-01 challenge. May read a file."""
        text = self._texts.get(token)
        if text is None and _TOKEN.fullmatch(token):
            data = self._read(token + HTTP_SUFFIX)
            return None if data is None else data.decode("ascii", "replace")
        return text

    def context_for(self, host: str) -> ssl.SSLContext | None:
        """How to answer the handshake of a tls-alpn-01 challenge. May read a small file."""
        context = self._contexts.get(host)
        if context is None:
            pem = self._read(host + TOKEN_SUFFIX)
            try:
                return None if pem is None else challenge_context(pem)
            except ssl.SSLError:
                return None
        return context

    def _read(self, name: str) -> bytes | None:
        try:
            return self._cache.get(name)
        except OSError as error:
            logger.warning("a challenge in the cache cannot be read", error=error.strerror)
            return None


def challenge_context(pem: bytes) -> ssl.SSLContext:
    """A TLS context that speaks ``acme-tls/1`` only."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    load_pair(context, pem)
    context.set_alpn_protocols([ACME_PROTOCOL])
    return context

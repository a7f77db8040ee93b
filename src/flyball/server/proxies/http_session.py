"""aiohttp's client, set up to do for a question what it takes, and nothing else.

Imported with the first question: loading aiohttp takes long, and few configurations need it.
"""

from __future__ import annotations

from http.cookies import BaseCookie, SimpleCookie
from typing import TYPE_CHECKING, Any, Final

import aiohttp

from flyball._version import __version__

if TYPE_CHECKING:
    from flyball.server.proxies.options import HttpOptions

__all__ = ["open_session"]

KEEP_ALIVE: Final = 4.0
"""Seconds for which an idle connection is kept. Many servers close theirs after five: a question
that met that moment would get no answer, and must not be asked twice."""
_NO_COOKIES: Final[BaseCookie[str]] = SimpleCookie()


class _Request(aiohttp.ClientRequest):
    """A request that has no headers but those given: to name some to be left out costs more."""

    DEFAULT_HEADERS = {}  # noqa: RUF012 - as aiohttp has it


class _NoJar(aiohttp.DummyCookieJar):
    """No cookies, and no object that says so for each request."""

    def filter_cookies(self, request_url: Any) -> BaseCookie[str]:  # noqa: ARG002 - aiohttp's signature
        """None."""
        return _NO_COOKIES


def open_session(options: HttpOptions) -> aiohttp.ClientSession:
    """The client of one endpoint. Its requests have no time limit: their callers set one."""
    # How many connections are used at a time is bounded by the backend.
    connector = aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE, ssl=options.tls or True)
    return aiohttp.ClientSession(
        connector=connector,
        timeout=aiohttp.ClientTimeout(total=None),
        headers={
            "Accept-Encoding": "identity",
            "Content-Type": "application/json",
            "User-Agent": f"flyball/{__version__}",
        },
        cookie_jar=_NoJar(),
        request_class=_Request,
        auto_decompress=False,
    )

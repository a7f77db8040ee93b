"""The files of the page: those of the package, of a directory, or of another server."""

from __future__ import annotations

import asyncio
import secrets
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import structlog

from flyball.core.errors import ConfigError
from flyball.http.messages import Response, empty, plain_error
from flyball.http.routes import Route
from flyball.http.static import FOREVER, METHODS, REVALIDATE, content_type, read_tree, static_route
from flyball.server.http.pages import PAGE_HEADERS, content_policy

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from aiohttp import ClientSession

    from flyball.http.messages import RequestHead
    from flyball.http.routes import Handler

__all__ = ["WEB", "ProxiedFiles", "file_routes", "package_files", "read_files"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.admin")

WEB: Final = "web_built"
"""Folder of the package that the build of ``web/`` writes; nothing in it is written by hand."""
OPTION: Final = "admin.handler_prefix"
INDEX: Final = "index.html"
NONCE: Final = b"{{nonce}}"
"""Stands in the page for what its styles have to carry, new with each answer."""
_NAMED_BY_CONTENT: Final = "assets/"
_COMPRESSED: Final = (".css", ".js", ".json", ".svg")
MAX_PROXIED: Final = 16 * 1024 * 1024
"""Bytes of one answer of ``admin.web_proxy_address``."""
_PROXY_TIMEOUT: Final = 10.0


def package_files() -> Traversable:
    """The folder with the page that the package brings along."""
    return files(__package__).joinpath(WEB)


def read_files(path: str) -> dict[str, bytes]:
    """The files of the page, by their paths below it.

    Args:
        path: a directory with other ones than those of the package, if not empty.

    Raises:
        ConfigError: there is no such directory, or no page in it.
    """
    folder: Traversable = Path(path) if path else package_files()
    try:
        if path and not folder.is_dir():
            raise ConfigError(
                f"admin.web_path: there is no directory {path!r}; name one, or leave it empty"
            )
        found = read_tree(folder)
    except OSError as error:
        raise ConfigError(f"admin.web_path: cannot read {path!r}: {error}") from None
    if INDEX not in found:
        raise ConfigError(f"admin.web_path: there is no {INDEX} in {str(folder)!r}")
    return found


def file_routes(prefix: str, found: dict[str, bytes], *, internal: bool) -> list[Route]:
    """A row for each file, and the page itself at ``prefix/``."""
    row = partial(Route, methods=METHODS, internal=internal, option=OPTION)
    rows = [row(f"{prefix}/", _page(found[INDEX]))]
    if prefix:  # what the page names is below it
        moved = empty(302, (*PAGE_HEADERS, ("Location", f"{prefix}/")))
        rows.append(row(prefix, lambda _head, _body: moved))
    rows += [
        static_route(
            f"{prefix}/{name}",
            body,
            content_type(name),
            headers=PAGE_HEADERS,
            cache_control=FOREVER if name.startswith(_NAMED_BY_CONTENT) else REVALIDATE,
            option=OPTION,
            internal=internal,
            compress=name.endswith(_COMPRESSED),
        )
        for name, body in found.items()
        if name != INDEX
    ]
    return rows


def _page(body: bytes) -> Handler:
    def page(head: RequestHead, _body: bytes) -> Response:
        nonce = secrets.token_urlsafe(16)
        headers = (
            *PAGE_HEADERS,
            content_policy(head, f"'nonce-{nonce}'"),
            ("Cache-Control", "no-store"),
        )
        text = body.replace(NONCE, nonce.encode())
        return Response(text, content_type="text/html; charset=utf-8", headers=headers)

    return page


class ProxiedFiles:
    """Files that another server has, for those who develop a page.

    Args:
        address: of that server, ``http://host:port`` with or without a path.
        prefix: path of the page here, which the other server does not see.
    """

    def __init__(self, address: str, prefix: str) -> None:
        self._address = address.rstrip("/")
        self._prefix = prefix
        self._session: ClientSession | None = None

    def routes(self, *, internal: bool) -> list[Route]:
        """All paths below the page that nobody else has."""
        path = self._prefix or "/"
        return [
            Route(path, self._ask, methods=METHODS, subtree=True, internal=internal, option=OPTION)
        ]

    def _ask(self, head: RequestHead, _body: bytes) -> asyncio.Task[Response]:
        return asyncio.get_running_loop().create_task(self._fetch(head))

    async def _fetch(self, head: RequestHead) -> Response:
        from aiohttp import ClientError

        session = self._open()
        path = head.path.removeprefix(self._prefix) or "/"
        url = f"{self._address}{path}{head.query and '?'}{head.query}"
        try:
            async with session.request(head.method, url, allow_redirects=False) as found:
                body = b""
                while not found.content.at_eof() and len(body) <= MAX_PROXIED:
                    body += await found.content.read(MAX_PROXIED + 1 - len(body))
                kind = found.headers.get("Content-Type", "")
                status = found.status
        except (ClientError, TimeoutError, ValueError) as error:
            reason = str(error) or type(error).__name__
            logger.warning("admin.web_proxy_address does not answer", url=url, reason=reason)
            return plain_error(503, "admin.web_proxy_address does not answer")
        if len(body) > MAX_PROXIED:
            logger.warning("answer of admin.web_proxy_address is too long", url=url)
            return plain_error(503, "the answer of admin.web_proxy_address is too long")
        return Response(body, status, kind)

    def _open(self) -> ClientSession:
        import aiohttp

        if self._session is None:
            timeout = aiohttp.ClientTimeout(total=_PROXY_TIMEOUT)
            self._session = aiohttp.ClientSession(timeout=timeout)
        return self._session

    async def close(self, *_: Any) -> None:
        """Gives its connections up."""
        if self._session is not None:
            await self._session.close()
            self._session = None

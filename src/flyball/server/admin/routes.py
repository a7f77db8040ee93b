"""The endpoints of the operators' page."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog

from flyball.core.errors import ConfigError, Error, FlyballError
from flyball.http.messages import Response, empty, plain_error
from flyball.http.routes import Route
from flyball.protocol.codec import UNREADABLE
from flyball.server.admin.files import OPTION, ProxiedFiles, file_routes, read_files
from flyball.server.admin.guard import ANSWER_HEADERS, Guard, answer, token_of
from flyball.server.admin.stats import Stats
from flyball.server.admin.tail import Tails
from flyball.server.common.health import Health

if TYPE_CHECKING:
    from flyball.core.node import Node
    from flyball.http.messages import RequestHead
    from flyball.server.admin.options import AdminOptions
    from flyball.server.api.http import ApiHandler

__all__ = ["Admin", "AdminSources"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.admin")

MAX_FORM: Final = 4096
"""Bytes of a sign-in."""
SIGN_OUT: Final = "flyball_admin_sign_out"
"""Name of the survey that ends a session on all nodes."""
SIGN_OUT_PATIENCE: Final = 3.0


@dataclass(frozen=True, slots=True)
class AdminSources:
    """What the page shows, beside what the server API tells. Nothing secret is in it."""

    settings: Callable[[], Mapping[str, Any]] = dict
    """The version, the API's address and methods, namespaces, what is insecure."""
    config: Callable[[], list[Mapping[str, Any]]] = list
    """The configuration in force, an entry for each option."""
    make_token: Callable[[Mapping[str, Any]], Mapping[str, Any]] | None = None
    """Makes a token for clients; raises ConfigError if it cannot."""
    check_token: Callable[[Mapping[str, Any]], Awaitable[Mapping[str, Any]]] | None = None
    """Tells what the server thinks of a client's token."""
    health: Callable[[], Health] = Health
    """Tells what does not work."""


class Admin:
    """The page with all that it asks for, as rows of the route table.

    Args:
        options: where it is, and who may use it.
        node: what it shows.
        api: carries out the commands of the page.
        sources: what else it shows.

    Raises:
        ConfigError: the files of the page cannot be read.
    """

    def __init__(
        self, options: AdminOptions, node: Node, api: ApiHandler, sources: AdminSources
    ) -> None:
        self._options = options
        self._node = node
        self._api = api
        self._sources = sources
        self._proxied: ProxiedFiles | None = None
        self._files: dict[str, bytes] = {}
        if options.web_proxy_address and not options.web_path:
            self._proxied = ProxiedFiles(options.web_proxy_address, options.prefix)
        else:
            self._files = read_files(options.web_path)
        self.guard: Guard = Guard(options, node.clock)
        self._stats = Stats(node, api.service.metrics, sources.health)
        self._tails = Tails(node)
        node.on_survey(SIGN_OUT, self._forget)
        self._warn()

    def _warn(self) -> None:
        options = self._options
        if options.insecure:
            return  # told with all switches of this kind
        missing = [name for name in ("password", "secret") if not getattr(options, name)]
        if missing:
            keys = [f"admin.{name}" for name in missing]
            logger.warning("nobody can sign in to the admin page; set these", keys=keys)

    # -- rows

    def routes(self) -> list[Route]:
        """All of them."""
        internal = not self._options.external
        if self._proxied is not None:
            files = self._proxied.routes(internal=internal)
        else:
            files = file_routes(self._options.prefix, self._files, internal=internal)
        open_ = partial(Route, internal=internal, option=OPTION)
        ours = partial(open_, admit=self.guard.admit)
        base = f"{self._options.prefix}/admin"
        return [
            *files,
            open_(f"{base}/init", self._init, methods=("GET",)),
            open_(
                f"{base}/auth",
                peer_handler=self.guard.sign_in,
                methods=("POST",),
                max_body_size=MAX_FORM,
            ),
            ours(f"{base}/logout", self._sign_out, methods=("POST",), max_body_size=MAX_FORM),
            ours(f"{base}/api", self._api.legacy, methods=("POST",)),
            ours(f"{base}/settings", self._settings, methods=("GET",)),
            ours(f"{base}/config", self._config, methods=("GET",)),
            ours(f"{base}/stats", self._show_stats, methods=("GET",)),
            ours(f"{base}/tail", self._tails.answer, methods=("POST",), max_body_size=MAX_FORM),
            ours(f"{base}/token", self._make_token, methods=("POST",), max_body_size=65536),
            ours(f"{base}/check", self._check_token, methods=("POST",), max_body_size=65536),
        ]

    async def close(self) -> None:
        """Gives up what it holds."""
        if self._proxied is not None:
            await self._proxied.close()

    # -- answers

    def _init(self, head: RequestHead, _body: bytes) -> Response:
        insecure = self._options.insecure
        authenticated = self.guard.is_operator(head)
        return answer({"authenticated": authenticated, "edition": "oss", "insecure": insecure})

    async def _sign_out(self, head: RequestHead, _body: bytes) -> Response:
        """Ends the session here and on all nodes that can be reached."""
        mac = self.guard.tokens.end(token_of(head))
        if mac is not None:
            try:
                await self._node.survey(SIGN_OUT, mac, timeout=SIGN_OUT_PATIENCE)
            except (TimeoutError, Error) as error:
                logger.warning("other nodes were not told of a sign-out", reason=str(error))
            logger.info("admin signed out")
        return empty(204, ANSWER_HEADERS)

    def _forget(self, mac: bytes) -> bytes:
        self.guard.tokens.forget(bytes(mac))
        return b""

    def _settings(self, _head: RequestHead, _body: bytes) -> Response:
        return answer(self._sources.settings())

    def _config(self, _head: RequestHead, _body: bytes) -> Response:
        return answer(self._sources.config())

    async def _show_stats(self, _head: RequestHead, _body: bytes) -> Response:
        return answer(await self._stats.page())

    def _make_token(self, _head: RequestHead, body: bytes) -> Response:
        asked = _object(body)
        if asked is None or self._sources.make_token is None:
            return plain_error(400, headers=ANSWER_HEADERS)
        try:
            return answer(self._sources.make_token(asked))
        except ConfigError as error:
            return answer({"error": str(error)})

    async def _check_token(self, _head: RequestHead, body: bytes) -> Response:
        asked = _object(body)
        if asked is None or self._sources.check_token is None:
            return plain_error(400, headers=ANSWER_HEADERS)
        try:
            return answer(await self._sources.check_token(asked))
        except FlyballError as error:
            return answer({"error": str(error)})


def _object(body: bytes) -> dict[str, Any] | None:
    try:
        return msgspec.json.decode(body, type=dict[str, Any])
    except UNREADABLE:
        return None

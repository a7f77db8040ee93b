"""The paths of SockJS below its prefix, and what each answers."""

from __future__ import annotations

import re
import time
from email.utils import formatdate
from functools import partial
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qs, urlsplit

from flyball.http.address import remote_address
from flyball.http.messages import NO_SNIFF, NOT_FOUND_TEXT, Response, empty
from flyball.http.messages import TEXT_TYPE as PLAIN
from flyball.http.relay import had_at_once, peer_of, relayed
from flyball.http.routes import Route
from flyball.http.streams import AS_IT_COMES, StreamingResponse
from flyball.transports.common.origin import OriginPolicy, cors_headers
from flyball.transports.sockjs import pages
from flyball.transports.sockjs.framing import ANOTHER_RECEIVER, OPEN, BadPayload, read_messages
from flyball.transports.sockjs.kinds import KINDS
from flyball.transports.sockjs.receiver import PollReceiver, StreamReceiver
from flyball.transports.sockjs.sessions import Sessions, SockJsOptions

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flyball.core.node import Node
    from flyball.http.messages import RequestHead
    from flyball.http.streams import ResponseStream
    from flyball.transports.common.limits import ConnectionLimits
    from flyball.transports.sockjs.kinds import ReceiverKind
    from flyball.transports.sockjs.transport import SockJsTransport

    Answer = Response | StreamingResponse
    Action = Callable[[RequestHead, bytes], Answer]

NO_CACHE: Final = (
    "Cache-Control",
    "no-store, no-cache, no-transform, must-revalidate, max-age=0",
)
FORBIDDEN: Final = Response(b"Forbidden\n", 403, PLAIN, (NO_SNIFF,))
FORM: Final = "application/x-www-form-urlencoded"
MESSAGES_IN_BODY: Final = 16
"""Messages of the largest size that a body has room for: clients send together what waited for
the request before, with a backslash in front of every quote."""
MAX_ID: Final = 128
"""Characters of a session id; clients use 8."""
_CALLBACK: Final = re.compile(r"[a-zA-Z0-9_.]+")


class SockJsEndpoint:
    """Everything of SockJS that is no WebSocket."""

    def __init__(
        self,
        node: Node,
        origins: Iterable[str] = (),
        options: SockJsOptions | None = None,
        limits: ConnectionLimits | None = None,
        policy: OriginPolicy | None = None,
    ) -> None:
        """Serves ``origins``; ``policy`` stands for them where there is one already.

        Raises:
            ConfigError: an origin is malformed.
        """
        origins = tuple(origins)
        self.options: SockJsOptions = options or SockJsOptions()
        self.sessions: Sessions = Sessions(node, self.options, limits)
        self._origins = policy or OriginPolicy(origins)
        self._body_limit = MESSAGES_IN_BODY * self.options.message_size_limit
        self._page = pages.IframePage(self.options.url, origins)

    def routes(self, prefix: str, option: str = "") -> list[Route]:
        """The routes below ``prefix``, which has no slash at its end and which ``option`` sets."""
        row = partial(self._route, option)
        return [
            *(
                row(path, "GET", lambda *_: pages.GREETING)
                for path in {prefix or "/", f"{prefix}/"}
            ),
            row(f"{prefix}/info", "GET", self._info, preflight=True),
            *(
                row(f"{prefix}/{name}", "GET", lambda head, _body: self._page.answer(head))
                for name in pages.IFRAME_PATHS
            ),
            *self._session_routes(prefix, option, self._found),
        ]

    def relayed_routes(self, prefix: str) -> list[Route]:
        """The same for other processes that relay requests for sessions of this one."""
        return self._session_routes(prefix, "", _said_at_once)

    def _session_routes(
        self, prefix: str, option: str, wrap: Callable[[Action], Action]
    ) -> list[Route]:
        session = f"{prefix}/*/*"

        def row(path: str, method: str, action: Action, *, preflight: bool = False) -> Route:
            return self._route(option, path, method, wrap(action), preflight=preflight)

        return [
            row(f"{session}/xhr_send", "POST", self._xhr_send, preflight=True),
            row(f"{session}/jsonp_send", "POST", self._jsonp_send),
            *(
                row(
                    f"{session}/{kind.name}",
                    kind.method,
                    partial(self._receive, kind),
                    preflight=kind.preflight,
                )
                for kind in KINDS
            ),
        ]

    def _found(self, action: Action) -> Action:
        """``action`` of the process that keeps the session, whichever it is."""

        def find(head: RequestHead, body: bytes) -> Answer:
            process = self.options.elsewhere(session_id(head.path))
            if process is None:
                return action(head, body)
            node = self.sessions.node
            return relayed(process, node.timers, node.failures, body)

        return find

    def _route(
        self, option: str, path: str, method: str, action: Action, *, preflight: bool = False
    ) -> Route:
        methods = ("OPTIONS", method) if preflight else (method,)

        def handle(head: RequestHead, body: bytes) -> Answer:
            if head.method == "OPTIONS":
                return self._preflight(", ".join(methods), head.headers)
            return action(head, body)

        return Route(
            path,
            handle,
            methods=methods,
            max_body_size=self._body_limit,
            too_large=self._too_large,
            option=option,
        )

    # -- what needs no session

    def _preflight(self, allowed: str, headers: Mapping[str, str]) -> Response:
        answer = [
            *cors_headers(self._origins, headers),
            ("Access-Control-Allow-Methods", allowed),
            ("Access-Control-Max-Age", str(pages.YEAR)),
            pages.FOREVER,
            ("Expires", formatdate(time.time() + pages.YEAR, usegmt=True)),
        ]
        return empty(204, tuple(answer))

    def _info(self, head: RequestHead, _body: bytes) -> Response:
        answer = pages.info()
        headers = self._headers(head.headers)
        return Response(answer.body, content_type=answer.content_type, headers=headers)

    def _too_large(self, head: RequestHead) -> Response:
        return self._text(413, "Request Entity Too Large", head.headers)

    # -- from the client

    def _xhr_send(self, head: RequestHead, body: bytes) -> Response:
        refusal = self._take(head, body)
        if refusal is not None:
            return refusal
        cors = self._headers(head.headers)
        return Response(status=204, content_type=pages.TEXT, headers=cors)

    def _jsonp_send(self, head: RequestHead, body: bytes) -> Response:
        kind = head.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind == FORM:
            body = form_field(body, "d")
        refusal = self._take(head, body)
        if refusal is not None:
            return refusal
        return Response(b"ok", content_type=pages.TEXT, headers=self._headers(head.headers))

    def _take(self, head: RequestHead, body: bytes) -> Response | None:
        """Gives messages to their session; the answer if that cannot be."""
        headers = head.headers
        if self._is_foreign(headers):
            return FORBIDDEN
        if not body:
            return self._text(400, "Payload expected.", headers)
        try:
            messages = read_messages(body)
        except BadPayload:
            return self._text(400, "Broken JSON encoding.", headers)
        limit = self.options.message_size_limit
        if limit and any(len(message) > limit for message in messages):
            return self._too_large(head)
        transport = self.sessions.get(session_id(head.path))
        if transport is None or transport.is_closed:
            return self._text(404, f"{NOT_FOUND_TEXT}\n", headers)
        transport.receive(messages)
        return None

    # -- to the client

    def _receive(self, kind: ReceiverKind, head: RequestHead, _body: bytes) -> Answer:
        headers, callback = head.headers, b""
        if kind.callback:
            given = form_field(head.query.encode("latin-1"), "c").decode("utf-8", "replace")
            if not given:
                return self._text(400, '"callback" parameter required', headers)
            if _CALLBACK.fullmatch(given) is None:
                return self._text(400, 'invalid "callback" parameter', headers)
            callback = given.encode()
        if self._is_foreign(headers):
            return FORBIDDEN
        id_ = session_id(head.path)
        if len(id_) > MAX_ID:
            return self._text(404, f"{NOT_FOUND_TEXT}\n", headers)
        transport = self.sessions.get(id_)
        if transport is None:
            if not self.sessions.admits():
                return empty(503)
            return StreamingResponse(partial(self._open, kind, id_, callback))
        if transport.is_attached:
            return self._whole(kind, callback, headers, ANOTHER_RECEIVER)
        if transport.is_closed or not kind.streaming:
            frame = transport.take_waiting()
            if frame:
                return self._whole(kind, callback, headers, frame)
        return StreamingResponse(partial(self._attach, kind, transport, callback))

    def _open(
        self,
        kind: ReceiverKind,
        id_: str,
        callback: bytes,
        stream: ResponseStream,
        head: RequestHead,
    ) -> None:
        """The first receiver of a session."""
        headers = head.headers
        transport = self.sessions.create(id_, headers, self._address(stream, headers))
        if kind.streaming:
            self._stream(kind, transport, callback, stream, headers, OPEN)
        else:
            receiver = PollReceiver(transport, stream, kind, self._headers(headers), callback)
            receiver.write(OPEN)
            transport.detach()

    def _address(self, stream: ResponseStream, headers: Mapping[str, str]) -> str:
        relay_socket = self.options.relay_socket
        if relay_socket and stream.wire.get_extra_info("sockname") == relay_socket:
            return peer_of(headers)
        return remote_address(stream.wire)

    def _attach(
        self,
        kind: ReceiverKind,
        transport: SockJsTransport,
        callback: bytes,
        stream: ResponseStream,
        head: RequestHead,
    ) -> None:
        """Another receiver."""
        if kind.streaming:
            self._stream(kind, transport, callback, stream, head.headers)
        else:
            headers = self._headers(head.headers)
            transport.attach(PollReceiver(transport, stream, kind, headers, callback))

    def _stream(
        self,
        kind: ReceiverKind,
        transport: SockJsTransport,
        callback: bytes,
        stream: ResponseStream,
        headers: Mapping[str, str],
        frame: bytes = b"",
    ) -> None:
        receiver = StreamReceiver(transport, stream, kind)
        fields = (*self._headers(headers), *AS_IT_COMES, ("Content-Type", kind.content_type))
        receiver.start(fields, opening_of(kind, callback), frame)
        transport.attach(receiver)

    def _whole(
        self, kind: ReceiverKind, callback: bytes, headers: Mapping[str, str], frame: bytes
    ) -> Response:
        """One frame as a complete answer."""
        body = opening_of(kind, callback) + kind.wrap(frame, callback)
        return Response(body, content_type=kind.content_type, headers=self._headers(headers))

    # -- tools

    def _headers(self, headers: Mapping[str, str]) -> tuple[tuple[str, str], ...]:
        return (*cors_headers(self._origins, headers), NO_CACHE, NO_SNIFF)

    def _text(self, status: int, text: str, headers: Mapping[str, str]) -> Response:
        fields = self._headers(headers)
        return Response(text.encode(), status, PLAIN, fields)

    def _is_foreign(self, headers: Mapping[str, str]) -> bool:
        """Whether a page asks that may not connect.

        Scripts, forms and frames get across origins without asking: no missing header keeps
        their answers, or their deeds, from a page. So such pages are refused, as WebSocket
        refuses them.
        """
        page = headers.get("origin", "")
        if not page:
            page = _origin_of(headers.get("referer", ""))
        if not page and headers.get("sec-fetch-site") in ("cross-site", "same-site"):
            page = "null"  # it hides where it is from
        if self._origins.allows(page):
            return False
        host = _origin_of(page).rpartition("/")[2]
        return not host or host.lower() != headers.get("host", "").lower()


def _origin_of(url: str) -> str:
    """The origin of a page; ``null`` if its address cannot be read."""
    try:
        parts = urlsplit(url)
    except ValueError:
        return "null"
    return f"{parts.scheme}://{parts.netloc}" if parts.netloc else url and "null"


def opening_of(kind: ReceiverKind, callback: bytes) -> bytes:
    """What an answer of a kind begins with."""
    return kind.opening(callback) if kind.opening is not None else b""


def _said_at_once(action: Action) -> Action:
    """The same action, for other processes, which do not wait in doubt while a poll does."""

    def act(head: RequestHead, body: bytes) -> Answer:
        answer = action(head, body)
        return answer if isinstance(answer, Response) else had_at_once(answer)

    return act


def session_id(path: str) -> str:
    """The id in a path that ends with ``/{server}/{session}/{receiver}``."""
    return path.rsplit("/", 2)[1]


def form_field(data: bytes, name: str) -> bytes:
    """A field of form-encoded data; empty if there is none."""
    try:
        fields = parse_qs(data.decode("utf-8", "replace"), errors="replace")
    except ValueError:
        return b""
    values = fields.get(name)
    return values[0].encode("utf-8", "replace") if values else b""

"""From events to questions, and from answers to what handlers return."""

from __future__ import annotations

from base64 import b64encode
from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import Raw

from flyball.core.errors import Disconnect, Error
from flyball.core.events import RefreshResult
from flyball.core.types import (
    NO_DATA,
    Credentials,
    PublishOptions,
    PublishResult,
    SubscribeOptions,
)
from flyball.protocol import codes
from flyball.protocol.codes import is_close_code
from flyball.server.channels import ProxyKind, overrides_of
from flyball.server.channels.data_format import is_json
from flyball.server.client.refusals import log_refusal
from flyball.server.common.base64 import decode_payload
from flyball.server.proxies import kinds
from flyball.server.proxies import messages as m
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.streams import BackendStream

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.connection import Connection
    from flyball.core.events import (
        Connecting,
        Publishing,
        Refreshing,
        Rpc,
        SubRefreshing,
        Subscribing,
    )
    from flyball.core.node import Node
    from flyball.server.channels import ChannelRules, Namespace
    from flyball.server.channels.options import RpcOptions
    from flyball.server.proxies.backend import Backend
    from flyball.server.proxies.kinds import A, Q, Question, Response

__all__ = ["ProxyCalls"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.proxies")

STREAMED: Final = ("presence", "join_leave", "push_join_leave")
"""Options of the namespace that hold for a stream of a backend too."""
KEPT_AFTER_FAILURE: Final = 60.0
"""Seconds that a connection or subscription lives on if nobody can be asked whether it may."""


class ProxyCalls:
    """The questions of all kinds, as calls that handlers make.

    Args:
        node: publishes what a backend changed.
        backends: by kind and name.
    """

    def __init__(self, node: Node, backends: Mapping[tuple[ProxyKind, str], Backend]) -> None:
        self._node = node
        self._backends = backends

    # -- one call for each kind

    async def connect(self, event: Connecting, rules: ChannelRules) -> Credentials | None:
        """Who it is; None if the backend has no opinion.

        Raises:
            Error, Disconnect: it is refused, or (100) nobody can be asked.
        """
        backend = self._backend(ProxyKind.CONNECT)
        request = m.ConnectRequest(
            **_client(backend, event.connection),
            **_payload(backend, event),
            name=event.name,
            version=event.version,
            channels=list(event.subs),
        )
        answer = await self._ask(backend, kinds.CONNECT, request, event.connection)
        result = answer.result
        if result is None:
            return None
        return Credentials(
            user=result.user,
            info=_decoded(result.info, result.b64info, "b64info").copy(),
            data=_decoded(result.data, result.b64data, "b64data"),
            meta=_meta(result.meta),
            subs=_server_side(result, rules),
            expire_at=max(result.expire_at, 0),
        )

    async def refresh(self, event: Refreshing) -> RefreshResult:
        """Whether the connection lives on; it does for a while if nobody can be asked.

        Raises:
            Disconnect: 3004, the answer cannot be used.
        """
        connection, backend = event.connection, self._backend(ProxyKind.REFRESH)
        request = m.RefreshRequest(**_client(backend, connection), **_user(backend, connection))
        try:
            answer = await backend.ask(kinds.REFRESH, request, connection)
        except (BackendError, Error) as error:
            return self._kept(backend, error)
        try:
            return _refreshed(answer.result)
        except Error as error:
            refusal = Disconnect(codes.DISCONNECT_SERVER_ERROR, detail=error.detail)
            raise log_refusal(connection, refusal) from None

    async def subscribe(self, event: Subscribing, namespace: Namespace) -> SubscribeOptions:
        """How the subscription behaves.

        Raises:
            Error, Disconnect: it is refused, or (100) nobody can be asked.
        """
        backend = self._backend(ProxyKind.SUBSCRIBE, namespace.options.subscribe_proxy_name)
        request = _subscribe_request(backend, event)
        answer = await self._ask(backend, kinds.SUBSCRIBE, request, event.connection)
        result = answer.result or m.SubscribeResult()
        return namespace.shaped_options(
            overrides_of(result.override),
            info=_decoded(result.info, result.b64info, "b64info").copy(),
            data=_decoded(result.data, result.b64data, "b64data"),
            expire_at=max(result.expire_at, 0),
        )

    async def subscribe_stream(self, event: Subscribing, namespace: Namespace) -> SubscribeOptions:
        """How the subscription behaves, with the backend's stream as its feed.

        Raises:
            Error, Disconnect: it is refused, or (100) nobody can be asked.
        """
        options = namespace.options
        backend = self._backend(ProxyKind.SUBSCRIBE_STREAM, options.subscribe_stream_proxy_name)
        request, both = (
            _subscribe_request(backend, event),
            options.subscribe_stream_proxy_bidirectional,
        )
        try:
            answer, stream = await backend.open(request, event.connection, bidirectional=both)
        except BackendError as error:
            raise _unanswered(ProxyKind.SUBSCRIBE_STREAM, backend, error) from None
        try:
            self._check(ProxyKind.SUBSCRIBE_STREAM, backend, answer, event.connection)
            return _streamed(answer.result or m.SubscribeResult(), namespace, stream)
        except BaseException:
            await stream.aclose()
            raise

    async def publish_to_stream(self, event: Publishing, namespace: Namespace) -> PublishResult:
        """Gives what a subscriber publishes to the backend's stream.

        Raises:
            Error: 108 there is no such stream, 100 the backend does not take it.
        """
        sub = event.connection.subscription(event.channel)
        stream = sub.options.feed if sub is not None else None
        if not isinstance(stream, BackendStream) or not stream.bidirectional:
            detail = f"publish to {event.channel!r} is refused: there is no stream to publish to"
            raise log_refusal(event.connection, Error(codes.NOT_AVAILABLE, detail=detail))
        try:
            await stream.send(event.raw)
        except BackendError as error:
            name = namespace.options.subscribe_stream_proxy_name
            backend = self._backend(ProxyKind.SUBSCRIBE_STREAM, name)
            raise _unanswered(ProxyKind.SUBSCRIBE_STREAM, backend, error) from None
        return PublishResult()

    async def publish(
        self, event: Publishing, namespace: Namespace
    ) -> PublishOptions | PublishResult:
        """How to publish; where the backend changed the data, it is published here.

        Raises:
            Error, Disconnect: it is refused, or (100) nobody can be asked.
        """
        connection = event.connection
        backend = self._backend(ProxyKind.PUBLISH, namespace.options.publish_proxy_name)
        request = m.PublishRequest(
            **_client(backend, connection),
            **_user(backend, connection),
            **_payload(backend, event),
            channel=event.channel,
        )
        answer = await self._ask(backend, kinds.PUBLISH, request, connection)
        result = answer.result or m.PublishResult()
        options = msgspec.structs.replace(
            namespace.publish_options,
            info=event.info,
            skip_history=result.skip_history,
            tags=result.tags,
            idempotency_key=result.idempotency_key,
            delta=result.delta,
            version=result.version,
            version_epoch=result.version_epoch,
        )
        # Here alone the plain form wins over its twin, as in the original.
        changed = result.data or _decoded(NO_DATA, result.b64data, "b64data")
        if not changed:
            return options
        return await self._node.publish(event.channel, changed, options)

    async def sub_refresh(self, event: SubRefreshing, namespace: Namespace) -> RefreshResult:
        """Whether the subscription lives on; it does for a while if nobody can be asked.

        With an answer that cannot be used it does not.
        """
        connection = event.connection
        backend = self._backend(ProxyKind.SUB_REFRESH, namespace.options.sub_refresh_proxy_name)
        request = m.SubRefreshRequest(
            **_client(backend, connection), **_user(backend, connection), channel=event.channel
        )
        try:
            answer = await backend.ask(kinds.SUB_REFRESH, request, connection)
        except (BackendError, Error) as error:
            return self._kept(backend, error)
        try:
            return _refreshed(answer.result)
        except Error as error:
            logger.warning("answer cannot be used", proxy=backend.options.key, reason=error.detail)
            return RefreshResult(expired=True)

    async def rpc(self, event: Rpc, namespace: RpcOptions) -> Raw:
        """The answer to a call.

        Raises:
            Error, Disconnect: it is refused, or (100) nobody can be asked.
        """
        connection = event.connection
        backend = self._backend(ProxyKind.RPC, namespace.proxy_name)
        request = m.RPCRequest(
            **_client(backend, connection),
            **_user(backend, connection),
            **_payload(backend, event),
            method=event.method,
        )
        answer = await self._ask(backend, kinds.RPC, request, connection)
        result = answer.result or m.RPCResult()
        return _decoded(result.data, result.b64data, "b64data")

    # -- what they share

    def _backend(self, kind: ProxyKind, name: str = "default") -> Backend:
        backend = self._backends.get((kind, name))
        if backend is None:  # a reload named another one
            detail = f"there is no {kind} proxy {name!r}: proxies change with a restart only"
            raise Error(codes.INTERNAL, detail=detail)
        return backend

    async def _ask(
        self, backend: Backend, question: Question[Q, A], request: Q, connection: Connection
    ) -> A:
        """The answer, if it is neither an error nor a disconnect."""
        try:
            answer = await backend.ask(question, request, connection)
        except BackendError as error:
            raise _unanswered(question.kind, backend, error) from None
        self._check(question.kind, backend, answer, connection)  # type: ignore[arg-type]  # all of them have these fields
        return answer

    def _check(
        self, kind: ProxyKind, backend: Backend, answer: Response, connection: Connection
    ) -> None:
        """Raises Error or Disconnect where the backend refuses."""
        try:
            problem = _problem(answer)
        except BackendError as error:
            raise _unanswered(kind, backend, error) from None
        if problem is not None:
            problem.detail = f"refused by the {kind} proxy {backend.options.key}"
            raise log_refusal(connection, problem)

    def _kept(self, backend: Backend, error: BackendError | Error) -> RefreshResult:
        if isinstance(error, Error):  # told of by the backend otherwise
            logger.warning("not asked", proxy=backend.options.key, reason=error.detail)
        now = self._node.clock.time()
        return RefreshResult(expire_at=now + KEPT_AFTER_FAILURE)


def _client(backend: Backend, connection: Connection) -> dict[str, Any]:
    return {
        "client": connection.client_id,
        "transport": connection.transport,
        "protocol": connection.protocol,
        # Of the payloads in this question, not those of the client.
        "encoding": "binary" if backend.options.binary_encoding else "json",
    }


def _user(backend: Backend, connection: Connection) -> dict[str, Any]:
    known: dict[str, Any] = {"user": connection.user}
    if backend.options.include_meta and connection.meta is not None:
        known["meta"] = Raw(msgspec.json.encode(connection.meta))
    return known


def _subscribe_request(backend: Backend, event: Subscribing) -> m.SubscribeRequest:
    return m.SubscribeRequest(
        **_client(backend, event.connection),
        **_user(backend, event.connection),
        **_payload(backend, event),
        channel=event.channel,
    )


def _streamed(
    result: m.SubscribeResult, namespace: Namespace, stream: BackendStream
) -> SubscribeOptions:
    """Nothing of history, positions and deltas: the stream has none of it."""
    plain, given = namespace.subscribe_options(), overrides_of(result.override)
    return SubscribeOptions(
        **{name: given.get(name, getattr(plain, name)) for name in STREAMED},
        info=_decoded(result.info, result.b64info, "b64info").copy(),
        data=_decoded(result.data, result.b64data, "b64data"),
        expire_at=max(result.expire_at, 0),
        feed=stream,
    )


def _unanswered(kind: ProxyKind, backend: Backend, error: BackendError) -> Error:
    return Error(codes.INTERNAL, detail=f"{kind} proxy {backend.options.key}: {error}")


def _payload(
    backend: Backend, event: Connecting | Subscribing | Publishing | Rpc
) -> dict[str, Any]:
    """What the client sent, in the form that the backend wants."""
    if backend.options.binary_encoding:
        return {"b64data": b64encode(event.raw).decode()}
    return {"data": event.raw}


def _refreshed(result: m.RefreshResult | m.SubRefreshResult | None) -> RefreshResult:
    """Whether what was asked about lives on.

    A connection needs a new time: the one that it has is over. A subscription lives on without.
    """
    if result is None or result.expired:
        return RefreshResult(expired=True)
    info = _decoded(result.info, result.b64info, "b64info").copy()
    if isinstance(result, m.RefreshResult) and result.expire_at <= 0:
        return RefreshResult(expired=True)
    meta = _meta(result.meta) if isinstance(result, m.RefreshResult) else None
    return RefreshResult(expire_at=max(result.expire_at, 0), info=info or None, meta=meta)


def _decoded(data: Raw, b64: str, name: str) -> Raw:
    """A payload given as such, or (which wins) in base64.

    Raises:
        Error: 100, it is not base64.
    """
    if not b64:
        return data
    try:
        return decode_payload(b64)
    except ValueError as error:
        detail = f"the proxy's answer: {name} is not base64: {error}"
        raise Error(codes.INTERNAL, detail=detail) from None


def _meta(meta: Raw) -> Raw | None:
    """The text that later questions get as it is.

    Raises:
        Error: 100, it is no JSON, as it can be over GRPC.
    """
    if meta and not is_json(meta):
        raise Error(codes.INTERNAL, detail="the proxy's answer: meta is no JSON")
    return meta.copy() if meta else None


def _server_side(result: m.ConnectResult, rules: ChannelRules) -> dict[str, SubscribeOptions]:
    subs = {name: _namespace(rules, name).subscribe_options() for name in result.channels}
    for name, given in (result.subs or {}).items():
        overrides = dict(overrides_of(given.override))
        if given.cache_recover:
            overrides["auto_cache_recover"] = True
        subs[name] = _namespace(rules, name).shaped_options(
            overrides,
            info=_decoded(given.info, given.b64info, "b64info").copy(),
            data=_decoded(given.data, given.b64data, "b64data").copy(),
        )
    return subs


def _namespace(rules: ChannelRules, channel: str) -> Namespace:
    namespace = rules.namespace(channel)
    if namespace is None:
        detail = f"the connect proxy's answer names {channel!r}: unknown namespace"
        raise Error(codes.UNKNOWN_CHANNEL, detail=detail)
    return namespace


def _problem(answer: Response) -> Error | Disconnect | None:
    """What the backend refuses with; a disconnect wins.

    Raises:
        BackendError: no close frame can carry its code.
    """
    disconnect, error = answer.disconnect, answer.error
    if disconnect is not None:
        if not is_close_code(disconnect.code):
            raise BackendError(f"its answer disconnects with {disconnect.code}, which is no code")
        return Disconnect(disconnect.code, disconnect.reason)
    if error is not None:
        return Error(error.code, error.message, temporary=error.temporary)
    return None

"""What the methods of the server API do, whatever protocol carries them."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import structlog
from msgspec import Raw, Struct

from flyball.core.census import ConnectionsQuery, UsersQuery
from flyball.core.channel_census import ChannelsQuery
from flyball.core.errors import EngineError, EngineRefusal, Error
from flyball.core.expiry import cut_expiry
from flyball.core.types import HistoryFilter, RecoveryMode, StreamPosition
from flyball.protocol import codes
from flyball.server.api import messages as m
from flyball.server.api.answers import error_message
from flyball.server.api.concurrent import map_concurrently
from flyball.server.api.errors import (
    BAD_REQUEST,
    INTERNAL,
    NOT_AVAILABLE,
    NOT_FOUND,
    UNKNOWN_CHANNEL,
    UNRECOVERABLE_POSITION,
    ApiError,
    ApiErrorCode,
)
from flyball.server.api.explain import Policy, Question, explain, refusal_of
from flyball.server.api.methods import METHODS, Method
from flyball.server.api.metrics import ApiMetrics
from flyball.server.api.shared import SharedAnswers
from flyball.server.channels import overrides_of
from flyball.server.channels.options import MAP_TYPES, SHARED_POLL, STREAM_TYPES
from flyball.server.common.base64 import decode_payload

if TYPE_CHECKING:
    from flyball.core.census import ConnectionEntry
    from flyball.core.channel_census import ChannelOrder
    from flyball.core.node import Node, NodeInfo
    from flyball.server.channels import ChannelRules, Namespace

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.api")

Handler = Callable[[Any], Coroutine[Any, Any, Struct]]

PAGE: Final = 100
"""Entries of a page where the request does not say."""
NO_POSITION: Final = m.PublishResult()
"""The result of a publish that has no place in a stream."""

_FROM_CORE: Final[dict[int, ApiErrorCode]] = {
    codes.UNRECOVERABLE_POSITION.code: UNRECOVERABLE_POSITION,
    codes.NOT_AVAILABLE.code: NOT_AVAILABLE,
    codes.BAD_REQUEST.code: BAD_REQUEST,
}
"""Errors of the node that callers may know; any other is an internal one to them."""

_BATCH_METHODS: Final = tuple(METHODS[name] for name in m.Command.__struct_fields__)


@dataclass(frozen=True, slots=True)
class ApiOptions:
    """How one API behaves."""

    protocol: str = "http"
    """Label of its metrics: ``http``, ``grpc`` or ``consuming``."""


class ApiService:
    """Carries out API methods on a node.

    The handlers (one for each entry of the method table, with its name) take a request
    and return a result, or raise ``ApiError``. None of them waits unless the engine does.
    Callers go through :meth:`call`, which measures and turns failures into errors.
    """

    def __init__(
        self,
        node: Node,
        channels: ChannelRules,
        options: ApiOptions | None = None,
        metrics: ApiMetrics | None = None,
        policy: Policy | None = None,
    ) -> None:
        self.node = node
        self.options: ApiOptions = options or ApiOptions()
        self.metrics: ApiMetrics = metrics or ApiMetrics()
        self.rules = channels
        """What holds for channels; a reload of the configuration puts new ones here."""
        self.policy: Policy = policy or Policy(channels)
        """What decides about clients, to be explained; likewise."""
        self._shared = SharedAnswers(node.clock)
        self._doors: list[ApiService] = []
        self._handlers: dict[str, Handler] = {
            method.name: getattr(self, method.name)
            for method in METHODS.values()
            if method.available
        }

    def over(self, protocol: str) -> ApiService:
        """The same service for those who come another way: counted apart, reloaded together."""
        options = ApiOptions(protocol)
        door = ApiService(self.node, self.rules, options, self.metrics, self.policy)
        door._shared = self._shared
        self._doors.append(door)
        return door

    def reload(self, rules: ChannelRules, policy: Policy) -> None:
        """Puts new rules in force, for all ways that lead here."""
        for door in (self, *self._doors):
            door.rules, door.policy = rules, policy

    async def call(self, method: Method, request: Struct) -> Struct:
        """Carries out ``method`` with a request of its type.

        Raises:
            ApiError: it was refused or failed; failures are logged here.
        """
        handler = self._handlers.get(method.name)
        if handler is None:
            raise self._count(method, ApiError(NOT_FOUND, "not part of this edition"))
        started = perf_counter()
        try:
            return await handler(request)
        except ApiError as error:
            logger.info("api request refused", method=method.name, reason=str(error))
            self._count(method, error)
            raise
        except EngineError as error:  # the engine has told the log
            raise self._count(method, ApiError(INTERNAL, error.detail)) from error
        except Error as error:
            refused = isinstance(error, EngineRefusal)
            entry = INTERNAL if refused else _FROM_CORE.get(error.code, INTERNAL)
            logger.info("api request refused", method=method.name, reason=str(error))
            raise self._count(method, ApiError(entry, error.detail)) from error
        except Exception as error:
            # The root of this request: whatever an engine raises must not reach the transport.
            logger.exception("api request failed", method=method.name)
            raise self._count(method, ApiError(INTERNAL, str(error))) from error
        finally:
            if method.name != "batch":  # its commands are measured one by one
                self.metrics.durations[self.options.protocol, method.name].observe(
                    perf_counter() - started
                )

    def _count(self, method: Method, error: ApiError) -> ApiError:
        self.metrics.count_error(self.options.protocol, method.name, error.entry.code)
        return error

    # -- publications

    async def publish(self, request: m.PublishRequest) -> m.PublishResult:
        """Publishes into a stream channel."""
        data = _bytes_field(request.data, request.b64data, "b64data")
        namespace = self._namespace(request.channel)
        kind = namespace.options.subscription_type
        if kind not in STREAM_TYPES:
            raise ApiError(BAD_REQUEST, f"{request.channel!r} is a {kind} channel")
        return await self._publish(request.channel, namespace, data, request)

    async def broadcast(self, request: m.BroadcastRequest) -> m.BroadcastResult:
        """Publishes the same into many channels; one that fails does not stop the others."""
        if not request.channels:
            raise ApiError(BAD_REQUEST, "channels required")
        data = _bytes_field(request.data, request.b64data, "b64data")

        async def publish_into(channel: str) -> m.PublishResponse:
            try:
                result = await self._publish(channel, self._namespace(channel), data, request)
            except ApiError as error:
                return self._broadcast_failure(channel, error)
            except EngineError:  # the engine has told the log
                return self._broadcast_answer(ApiError(INTERNAL))
            except Exception as error:
                # One channel's trouble is its own answer.
                logger.exception("api broadcast failed", channel=channel)
                return self._broadcast_failure(channel, ApiError(INTERNAL, str(error)))
            return m.PublishResponse(result=result)

        return m.BroadcastResult(await map_concurrently(publish_into, request.channels))

    def _broadcast_failure(self, channel: str, error: ApiError) -> m.PublishResponse:
        logger.info("api broadcast refused", channel=channel, reason=str(error))
        return self._broadcast_answer(error)

    def _broadcast_answer(self, error: ApiError) -> m.PublishResponse:
        self.metrics.count_error(self.options.protocol, "broadcast_publish", error.entry.code)
        return m.PublishResponse(error=error_message(error.entry))

    async def _publish(
        self,
        channel: str,
        namespace: Namespace,
        data: Raw,
        request: m.PublishRequest | m.BroadcastRequest,
    ) -> m.PublishResult:
        if not namespace.data_ok(data):
            kind = namespace.options.publication_data_format or "not empty"
            raise ApiError(BAD_REQUEST, f"data for {channel!r} must be {kind}")
        if namespace.schema is not None and (misfit := namespace.misfit(data)):
            raise ApiError(BAD_REQUEST, f"data for {channel!r}: {misfit}")
        how = namespace.publish_options
        if (
            request.skip_history
            or request.tags
            or request.idempotency_key
            or request.delta
            or request.version
        ):
            how = msgspec.structs.replace(
                how,
                skip_history=request.skip_history,
                tags=request.tags or None,
                idempotency_key=request.idempotency_key,
                delta=how.delta or request.delta,
                version=request.version,
                version_epoch=request.version_epoch,
            )
        if how.history_size:
            data = data.copy()  # what is kept must not keep the whole request alive
        result = await self.node.publish(channel, data, how)
        if not result.offset and not result.epoch:
            return NO_POSITION
        return m.PublishResult(result.offset, result.epoch)

    # -- connections

    async def subscribe(self, request: m.SubscribeRequest) -> m.SubscribeResult:
        """Subscribes live connections of a user; success also if there are none."""
        namespace = self._namespace(request.channel)
        how = dataclasses.replace(
            namespace.subscribe_options(),
            allowed_deltas=frozenset(),
            allow_tags_filter=False,
            recovery_mode=RecoveryMode.STREAM,  # it is told of a position, not of what it missed
            expire_at=self._capped(request.expire_at),
            info=_bytes_field(request.info, request.b64info, "b64info").copy(),
            data=_bytes_field(request.data, request.b64data, "b64data").copy(),
            **overrides_of(request.override),
        )
        since = request.recover_since
        await self.node.subscribe_user(
            request.user,
            request.channel,
            how,
            client=request.client,
            session=request.session,
            recover_since=None if since is None else StreamPosition(since.offset, since.epoch),
        )
        return m.SubscribeResult()

    async def unsubscribe(self, request: m.UnsubscribeRequest) -> m.UnsubscribeResult:
        """Ends subscriptions of a user, to one channel or (empty) to all."""
        if request.channel:
            self._namespace(request.channel)
        await self.node.unsubscribe_user(
            request.user, request.channel, client=request.client, session=request.session
        )
        return m.UnsubscribeResult()

    async def disconnect(self, request: m.DisconnectRequest) -> m.DisconnectResult:
        """Closes connections of a user."""
        default = codes.DISCONNECT_FORCE_NO_RECONNECT
        code, reason = default.code, default.reason
        if request.disconnect is not None and request.disconnect.code:
            code, reason = request.disconnect.code, request.disconnect.reason
            if not codes.is_close_code(code):
                raise ApiError(BAD_REQUEST, f"no close frame can carry the code {code}")
        await self.node.disconnect_user(
            request.user,
            code=code,
            reason=reason,
            client=request.client,
            session=request.session,
            whitelist=request.whitelist,
        )
        return m.DisconnectResult()

    async def refresh(self, request: m.RefreshRequest) -> m.RefreshResult:
        """Prolongs or expires connections of a user."""
        await self.node.refresh_user(
            request.user,
            client=request.client,
            session=request.session,
            expired=request.expired,
            expire_at=self._capped(request.expire_at),
            info=request.info.copy() if request.info else None,
        )
        return m.RefreshResult()

    # -- presence and history

    async def presence(self, request: m.PresenceRequest) -> m.PresenceResult:
        """Tells who is subscribed."""
        self._check_presence(request.channel)
        return m.PresenceResult(dict(await self.node.presence(request.channel)))

    async def presence_stats(self, request: m.PresenceStatsRequest) -> m.PresenceStatsResult:
        """Tells how many are subscribed."""
        self._check_presence(request.channel)
        stats = await self.node.presence_stats(request.channel)
        return m.PresenceStatsResult(stats.num_clients, stats.num_users)

    async def history(self, request: m.HistoryRequest) -> m.HistoryResult:
        """Reads the stream of a channel, without the limits that clients have."""
        namespace = self._check_history(request.channel)
        since = request.since
        if request.reverse and since is not None and not since.offset:
            # Nothing can come before the start: the original's engines fail here.
            raise ApiError(INTERNAL, "reverse needs since.offset above 0")
        query = HistoryFilter(
            limit=max(request.limit, -1),
            since=None if since is None else StreamPosition(since.offset, since.epoch),
            reverse=request.reverse,
            meta_ttl=namespace.meta_ttl,
        )
        result = await self.node.history(request.channel, query)
        publications = [m.Publication(p.raw, p.info, p.offset, p.tags) for p in result.publications]
        return m.HistoryResult(publications, result.position.epoch, result.position.offset)

    async def history_remove(self, request: m.HistoryRemoveRequest) -> m.HistoryRemoveResult:
        """Drops the publications of a channel; its offset and epoch live on."""
        self._check_history(request.channel)
        await self.node.remove_history(request.channel)
        return m.HistoryRemoveResult()

    # -- the cluster

    async def channels(self, request: m.ChannelsRequest) -> m.ChannelsResult:
        """Lists the active channels of all nodes: all of them, unless a page is asked for."""
        if request.limit or request.cursor or request.order:
            return await self._channels_page(request)
        found = await self.node.channels(request.pattern)
        return m.ChannelsResult({name: m.ChannelInfo(count) for name, count in found.items()})

    async def _channels_page(self, request: m.ChannelsRequest) -> m.ChannelsResult:
        query = ChannelsQuery(
            pattern=request.pattern,
            order=cast("ChannelOrder", request.order or "name"),
            limit=request.limit or PAGE,
            cursor=request.cursor,
        )
        fields = msgspec.structs.asdict(query)
        page = await self._shared.get(query, lambda: self.node.channels_page(**fields))
        found = {entry.channel: m.ChannelInfo(entry.num_clients) for entry in page.channels}
        return m.ChannelsResult(found, page.cursor, page.total)

    async def info(self, _request: m.InfoRequest) -> m.InfoResult:
        """Lists the nodes that this one knows."""
        return m.InfoResult([_node_result(info) for info in await self.node.info()])

    async def rpc(self, request: m.RPCRequest) -> m.RPCResult:
        """Calls a method of the server; none is registered."""
        if not request.method:
            raise ApiError(BAD_REQUEST, "method required")
        raise ApiError(NOT_FOUND, f"no method {request.method!r}")

    async def connections(self, request: m.ConnectionsRequest) -> m.ConnectionsResult:
        """Lists connections of all nodes, a page of them."""
        if request.expression or request.label_filter is not None:
            raise ApiError(
                NOT_AVAILABLE, "connections have no labels, and there are no expressions"
            )
        anonymous = "" if request.anonymous else None
        query = ConnectionsQuery(
            user=request.user or anonymous,
            client=request.client,
            transport=request.transport,
            name=request.app_name,
            channel=request.channel,
            min_age=max(request.min_age, 0),
            limit=request.limit or PAGE,
            cursor=request.cursor,
        )
        page = await self._shared.get(query, lambda: self.node.connections(query))
        found = {entry.client: _connection_info(entry) for entry in page.connections}
        return m.ConnectionsResult(found, page.cursor, page.total)

    async def users(self, request: m.UsersRequest) -> m.UsersResult:
        """Lists users who are connected to any node, a page of them."""
        limit = request.limit or PAGE
        query = UsersQuery(pattern=request.pattern, limit=limit, cursor=request.cursor)
        page = await self._shared.get(
            query, lambda: self.node.users(query.pattern, limit=limit, cursor=query.cursor)
        )
        return m.UsersResult({u.user: m.UserInfo(u.num_clients) for u in page.users}, page.cursor)

    async def channel_state(self, request: m.ChannelStateRequest) -> m.ChannelStateResult:
        """Tells how many subscribers a channel has on which node, and what is kept of it."""
        channel = request.channel
        namespace = self._namespace(channel)
        options = namespace.options
        state = await self._shared.get(channel, lambda: self.node.channel_state(channel))
        result = m.ChannelStateResult(
            {node: m.ChannelInfo(count) for node, count in state.nodes.items()},
            state.num_clients,
            namespace=namespace.name,
            subscription_type=options.subscription_type,
            has_presence=options.presence,
            has_history=options.keeps_history,
        )
        if options.presence:
            stats = await self.node.presence_stats(channel)
            result.presence_clients, result.presence_users = stats.num_clients, stats.num_users
        if options.keeps_history:
            query = HistoryFilter(limit=0, meta_ttl=namespace.meta_ttl)
            position = (await self.node.history(channel, query)).position
            result.offset, result.epoch = position.offset, position.epoch
        return result

    async def explain(self, request: m.ExplainRequest) -> m.ExplainResult:
        """Tells why a client may do something in a channel, or may not, rule by rule."""
        fields = msgspec.structs.asdict(request)
        question = Question(**{**fields, "claims": bytes(request.claims)})
        found = await explain(self.policy, question)
        code, message = refusal_of(found)
        proxy = found.decision.proxy if found.decision is not None else None
        return m.ExplainResult(
            found.verdict,
            found.sentence,
            [m.ExplainStep(step.rule, step.outcome, step.decided) for step in found.steps],
            user=found.user,
            namespace=found.namespace or "",
            code=code,
            message=message,
            proxy="" if proxy is None else proxy.name.lower(),
        )

    # -- several at once

    async def batch(self, request: m.BatchRequest) -> m.BatchResponse:
        """Carries out several commands, in order or concurrently."""
        if request.parallel:
            return m.BatchResponse(await map_concurrently(self._command, request.commands))
        return m.BatchResponse([await self._command(command) for command in request.commands])

    async def _command(self, command: m.Command | None) -> m.Reply:
        if command is None:
            return m.Reply(error=error_message(BAD_REQUEST))
        for method in _BATCH_METHODS:
            request: Struct | None = getattr(command, method.name)
            if request is None:
                continue
            try:
                result = await self.call(method, request)
            except ApiError as error:
                return m.Reply(error=error_message(error.entry))
            return m.Reply(**{method.name: cast("Any", result)})
        self.metrics.count_error(self.options.protocol, "unknown", NOT_FOUND.code)
        return m.Reply(error=error_message(NOT_FOUND))

    # -- map and shared poll channels: only refused yet, as no engine keeps such channels

    async def map_publish(self, request: m.MapPublishRequest) -> m.MapPublishResult:
        """Sets a key of a map channel."""
        self._require(request.key, "key")
        raise self._unsupported(request.channel, MAP_TYPES)

    async def map_remove(self, request: m.MapRemoveRequest) -> m.MapRemoveResult:
        """Removes a key of a map channel."""
        self._require(request.key, "key")
        raise self._unsupported(request.channel, MAP_TYPES)

    async def map_read_state(self, request: m.MapReadStateRequest) -> m.MapReadStateResult:
        """Reads the keys of a map channel."""
        raise self._unsupported(request.channel, MAP_TYPES)

    async def map_read_stream(self, request: m.MapReadStreamRequest) -> m.MapReadStreamResult:
        """Reads the changes of a map channel."""
        raise self._unsupported(request.channel, MAP_TYPES)

    async def map_stats(self, request: m.MapStatsRequest) -> m.MapStatsResult:
        """Counts the keys of a map channel."""
        raise self._unsupported(request.channel, MAP_TYPES)

    async def map_clear(self, request: m.MapClearRequest) -> m.MapClearResult:
        """Drops a map channel."""
        raise self._unsupported(request.channel, MAP_TYPES)

    async def shared_poll_publish(
        self, request: m.SharedPollPublishRequest
    ) -> m.SharedPollPublishResult:
        """Pushes the value of a polled key."""
        self._require(request.key, "key")
        self._require(request.version, "version")
        raise self._unsupported(request.channel, (SHARED_POLL,))

    # -- checks

    def _require(self, value: str | int, name: str) -> None:
        if not value:
            raise ApiError(BAD_REQUEST, f"{name} required")

    def _unsupported(self, channel: str, types: tuple[str, ...]) -> ApiError:
        kind = self._namespace(channel).options.subscription_type or "stream"
        if kind not in types:
            return ApiError(BAD_REQUEST, f"{channel!r} is a {kind} channel, not {types[0]}")
        return ApiError(NOT_AVAILABLE, f"{kind} channels are not supported")

    def _namespace(self, channel: str) -> Namespace:
        if not channel:
            raise ApiError(BAD_REQUEST, "channel required")
        namespace = self.rules.namespace(channel)
        if namespace is None:
            raise ApiError(UNKNOWN_CHANNEL, f"no namespace for {channel!r}")
        return namespace

    def _check_presence(self, channel: str) -> None:
        if not self._namespace(channel).options.presence:
            raise ApiError(NOT_AVAILABLE, f"presence is off for {channel!r}")

    def _check_history(self, channel: str) -> Namespace:
        namespace = self._namespace(channel)
        if not namespace.options.keeps_history:
            reason = f"history_size and history_ttl are not both set for {channel!r}"
            raise ApiError(NOT_AVAILABLE, reason)
        return namespace

    def _capped(self, expire_at: float) -> float:
        return cut_expiry(expire_at, self.node.clock.time())


def _bytes_field(data: Raw, base64: str, name: str) -> Raw:
    """A payload given as such, or (which wins) in base64."""
    if not base64:
        return data
    try:
        return decode_payload(base64)
    except ValueError as error:
        raise ApiError(BAD_REQUEST, f"{name} is not base64: {error}") from None


def _connection_info(entry: ConnectionEntry) -> m.ConnectionInfo:
    channels = {channel: m.ChannelContext() for channel in entry.channels}
    return m.ConnectionInfo(
        app_name=entry.name,
        app_version=entry.version,
        transport=entry.transport,
        protocol=entry.protocol,
        user=entry.user,
        state=m.ConnectionState(channels) if channels else None,
        connected_at_ms=int(entry.connected_at * 1000),
        node=entry.node,
        remote_addr=entry.remote_addr,
        num_channels=entry.num_channels,
        latency=round(entry.latency, 6),
    )


def _node_result(info: NodeInfo) -> m.NodeResult:
    metrics = info.metrics
    return m.NodeResult(
        uid=info.uid,
        name=info.name,
        version=info.version,
        num_clients=info.num_clients,
        num_users=info.num_users,
        num_channels=info.num_channels,
        uptime=info.uptime,
        metrics=None
        if metrics is None
        else m.Metrics(
            metrics.interval,
            {n: v for n, v in metrics.items.items() if math.isfinite(v)} or None,
        ),
        num_subs=info.num_subs,
    )

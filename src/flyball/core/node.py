"""The node: one process' engine, and everything that a program does with it."""

from __future__ import annotations

import logging
import random
from functools import partial
from typing import TYPE_CHECKING, Any, Self
from uuid import uuid4

import msgspec

from flyball.aio.clock import Clock, LoopClock
from flyball.aio.tasks import Step, TaskOwner, do_all
from flyball.aio.timers import TimerWheel
from flyball.core.cluster import (
    Cluster,
    NodeInfo,
    NodeMetrics,
    SurveyResult,
)
from flyball.core.errors import ConfigError, Disconnect, Error
from flyball.core.events import ChannelOccupied, ChannelVacated, Disconnected, Unsubscribed
from flyball.core.handlers import HandlerDecorators
from flyball.core.hub import Hub
from flyball.core.links import BrokerLinks
from flyball.core.listen import ChannelReader
from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.core.metrics import Metrics
from flyball.core.options import NodeOptions
from flyball.core.refresh import refresh_by_server
from flyball.core.session import Session
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    HistoryResult,
    Payload,
    PresenceStats,
    Publication,
    PublishOptions,
    PublishResult,
    Raw,
    StreamPosition,
    to_payload,
)
from flyball.core.upkeep import Upkeep
from flyball.core.users import UserOperations
from flyball.protocol import codes, messages
from flyball.protocol.codes import DisconnectCode, UnsubscribeCode
from flyball.protocol.messages import Push

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flyball.core.broker import Broker, Controller, PresenceManager
    from flyball.core.subscription import Subscription
    from flyball.core.transport import Transport

__all__ = ["Node", "NodeInfo", "NodeMetrics", "NodeOptions", "SurveyResult"]

logger = logging.getLogger("flyball.core")

UNIDIRECTIONAL_DISCONNECTS: dict[int, DisconnectCode] = {
    codes.TOKEN_EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.TOO_MANY_REQUESTS.code: codes.DISCONNECT_TOO_MANY_REQUESTS,
    codes.PERMISSION_DENIED.code: codes.DISCONNECT_PERMISSION_DENIED,
}
"""A connect error as a disconnect, where there are no replies; all others are 3004."""


class Node(HandlerDecorators, UserOperations):
    """Sessions, channels and handlers of one process.

    Args:
        options: limits and intervals.
        broker: keeps and spreads publications; the memory engine if not given.
        presence_manager: knows who is subscribed; the memory engine if not given.
        controller: carries messages between nodes; none for a single node.
        clock: where time comes from.

    Use it as an async context manager, or call :meth:`start` and :meth:`shutdown`.
    """

    def __init__(
        self,
        options: NodeOptions | None = None,
        *,
        broker: Broker | None = None,
        presence_manager: PresenceManager | None = None,
        controller: Controller | None = None,
        clock: Clock | None = None,
    ) -> None:
        self.options = options or NodeOptions()
        self.id = str(uuid4())
        """Unique for each start of the process."""
        self.clock: Clock = clock or LoopClock()
        self.metrics = Metrics()
        super().__init__()
        self.random = random.Random().random  # noqa: S311 - spreads timers, no secret
        if broker is None or presence_manager is None:
            broker, presence_manager = default_engine(self, broker, presence_manager)
        self.broker: Broker = broker
        self.presence_manager: PresenceManager = presence_manager
        self.controller = controller
        self.hub = Hub(
            self.metrics,
            self.clock.monotonic,
            self.clock.time,
            self._on_lost,
            self.options.channel_position_max_time_lag,
        )
        self.timers = TimerWheel(self.clock)
        self.metrics_source: Callable[[], NodeMetrics] | None = None
        """Gives the metrics shown in :meth:`info`."""
        self._links = BrokerLinks(self.broker, lambda channel: channel in self.hub.channels)
        self.cluster = Cluster(self)
        self._upkeep = Upkeep(self)
        self._newcomers: dict[Session, None] = {}
        """Sessions that are not connected yet, or were refused."""
        self.tasks = TaskOwner(self.metrics.background_failures, self.clock.monotonic)
        """Owns the work that nobody waits for."""
        self._started_at = self.clock.monotonic()
        self._running = False
        self.shutting_down = False
        """The node is stopping: new connections are refused."""

    # -- life

    async def start(self) -> None:
        """Connects to the store and to other nodes.

        Raises:
            ConfigError: the store cannot be used as configured.
        """
        if self._running:
            return
        self._running = True
        self._started_at = self.clock.monotonic()
        await self.broker.start(self)
        if self.controller is not None:
            await self.controller.start(self.cluster, self.id)
            self.cluster.start()

    async def shutdown(self) -> None:
        """Closes every client with 3001 (they reconnect elsewhere), then the engine."""
        if self.shutting_down:
            return
        self.shutting_down = True
        for session in [*self.hub.sessions.values(), *self._newcomers]:
            session.disconnect(Disconnect(codes.DISCONNECT_SHUTDOWN))
        await self.tasks.drain()
        self.timers.close()
        if self.controller is not None:
            await self.cluster.stop()
            await self.controller.close()
        await self.broker.close()
        await self.presence_manager.close()
        self._running = False

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @property
    def running(self) -> bool:
        """Between :meth:`start` and the end of :meth:`shutdown`."""
        return self._running

    def uptime(self) -> float:
        """Seconds since :meth:`start`."""
        return self.clock.monotonic() - self._started_at

    # -- channels

    async def publish(
        self, channel: str, data: Payload, options: PublishOptions | None = None, **kwargs: Any
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``, on all nodes.

        Options may be given one by one: ``publish(ch, data, history_size=10, history_ttl=60)``.
        Returns once the broker took it.

        Raises:
            ConfigError: the channel is empty.
        """
        if not channel:
            message = "publish needs a channel"
            raise ConfigError(message)
        if options is None:
            options = PublishOptions(**kwargs) if kwargs else NO_OPTIONS
        return await self.publish_as(channel, to_payload(data), options, options.info)

    async def publish_as(
        self, channel: str, data: Raw, options: PublishOptions, info: ClientInfo | None
    ) -> PublishResult:
        """As :meth:`publish`, for ready data, with the publisher's info."""
        if info is not options.info:
            options = msgspec.structs.replace(options, info=info)
        self.metrics.messages_sent["publication"] += 1
        result = await self.broker.publish(channel, data, options)
        if result.suppressed:
            self.metrics.publish_suppressed[result.suppressed] += 1
        return result

    async def history(
        self, channel: str, query: HistoryFilter | None = None, *, meta_ttl: float = 0.0
    ) -> HistoryResult:
        """Reads part of a stream.

        Raises:
            Error: 112 if ``query.since.epoch`` is given and not the stream's.
        """
        self.metrics.actions["history"] += 1
        query = query or HistoryFilter()
        result = await self.broker.history(channel, query, meta_ttl)
        if query.since is not None and query.since.epoch not in ("", result.position.epoch):
            raise Error(codes.UNRECOVERABLE_POSITION)
        return result

    async def remove_history(self, channel: str) -> None:
        """Drops the publications of a stream; its position lives on."""
        self.metrics.actions["history_remove"] += 1
        await self.broker.remove_history(channel)

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """Who is in ``channel``: client id to info, over all nodes."""
        self.metrics.actions["presence"] += 1
        return await self.presence_manager.presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """How many are in ``channel``, over all nodes."""
        self.metrics.actions["presence_stats"] += 1
        return await self.presence_manager.presence_stats(channel)

    def subscribe(
        self, channel: str, *, since: StreamPosition | None = None, max_waiting: int = 10000
    ) -> ChannelReader:
        """Makes this program a subscriber: ``async for publication in node.subscribe("ch")``.

        ``since`` first gives what came after that position. A reader that falls more than
        ``max_waiting`` publications behind gets :class:`~flyball.core.listen.TooSlowError`.
        """
        return ChannelReader(self, channel, since, max_waiting)

    async def channels(self, pattern: str = "") -> dict[str, int]:
        """Channels with subscribers, and how many, over all nodes; ``pattern`` is a glob."""
        answers = await self.survey("channels", pattern.encode())
        total: dict[str, int] = {}
        for answer in answers.values():
            for name, count in msgspec.json.decode(answer.data, type=dict[str, int]).items():
                total[name] = total.get(name, 0) + count
        return total

    # -- nodes

    async def info(self) -> list[NodeInfo]:
        """All nodes as this one knows them."""
        return self.cluster.nodes()

    @property
    def num_newcomers(self) -> int:
        """Sessions that are not connected yet, or were refused."""
        return len(self._newcomers)

    @property
    def num_nodes(self) -> int:
        """Nodes known to this one, itself included."""
        return len(self.cluster.nodes())

    def own_info(self) -> NodeInfo:
        """This node."""
        hub = self.hub
        return NodeInfo(
            uid=self.id,
            name=self.options.name,
            version=self.options.version,
            num_clients=hub.num_clients,
            num_users=hub.num_users,
            num_subs=hub.num_subscriptions,
            num_channels=hub.num_channels,
            uptime=int(self.uptime()),
            metrics=self.metrics_source() if self.metrics_source else None,
        )

    async def survey(
        self,
        op: str,
        data: bytes,
        to_node: str = "",
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> dict[str, SurveyResult]:
        """Asks all nodes (or ``to_node``) and returns the answers by node id.

        Raises:
            TimeoutError: not all answered within ``timeout`` seconds.
        """
        self.metrics.actions["survey"] += 1
        return await self.cluster.survey(op, data, to_node, timeout)

    def on_survey(self, op: str, handler: Callable[[bytes], bytes | Awaitable[bytes]]) -> None:
        """Answers surveys of ``op`` on this node: ``handler(data)`` returns the answer's data."""
        self.cluster.on_survey(op, handler)

    # -- for transports

    def open_session(
        self,
        transport: Transport,
        headers: Mapping[str, str] | None = None,
        remote_addr: str = "",
    ) -> Session:
        """A new connection. ``headers`` of its request, names in lower case."""
        session = Session(self, transport, headers, remote_addr)
        transport.session = session
        transport.max_queue_size = self.options.queue_max_size
        self._newcomers[session] = None
        if self.shutting_down:
            self.tasks.soon(session.disconnect, Disconnect(codes.DISCONNECT_SHUTDOWN))
        return session

    # -- for sessions

    def unidirectional_disconnect(self, error: Error) -> Disconnect:
        """A connect error as a disconnect, for transports without replies."""
        code = self.options.uni_connect_disconnects.get(error.code)
        if code is None:
            code = UNIDIRECTIONAL_DISCONNECTS.get(error.code, codes.DISCONNECT_SERVER_ERROR)
        return Disconnect(code, detail=str(error), error=error)

    def session_started(self, session: Session) -> None:
        """The session's credentials are known."""
        self._newcomers.pop(session, None)
        self.hub.add_session(session)
        key = (session.transport.name, session.transport.framing.codec.name)
        self.metrics.connections_accepted[key] += 1
        self.metrics.connections_inflight[key] += 1
        self.metrics.actions["add_client"] += 1

    def session_ended(self, session: Session, disconnect: Disconnect, *, connected: bool) -> None:
        """The session is closed: forgets it and ends its subscriptions."""
        metrics = self.metrics
        if disconnect.code != codes.DISCONNECT_CONNECTION_CLOSED.code:
            metrics.server_disconnects[disconnect.code] += 1
        metrics.transport_closes[session.transport.name, disconnect.code] += 1
        self._newcomers.pop(session, None)
        self.forget_session(session)
        if connected and (session.subscriptions or self.handlers.on_disconnected.registered):
            self.tasks.spawn(self._upkeep.bury(session, disconnect), "end of a session")

    def forget_session(self, session: Session) -> None:
        """The session is no client any more: closed, or its connect refused after all."""
        if session.client_id in self.hub.sessions:
            key = (session.transport.name, session.transport.framing.codec.name)
            self.metrics.connections_inflight[key] -= 1
            self.metrics.actions["remove_client"] += 1
            self.hub.remove_session(session)

    async def tell_disconnected(self, session: Session, disconnect: Disconnect) -> None:
        """Tells the program that a connection ended."""
        await self.handlers.disconnected(Disconnected(session, disconnect.code, disconnect.reason))

    async def enter_channel(self, sub: Subscription) -> None:
        """Puts a subscription into the hub, and the node into the channel if it is the first."""
        self.metrics.actions["add_subscription"] += 1
        self.metrics.subscriptions_inflight += 1
        sub.entered = True
        first = self.hub.add_subscription(sub)
        await self.settle_channel(sub.channel)
        if first:
            await self.handlers.channel_occupied(ChannelOccupied(sub.channel))

    async def leave_channel(self, sub: Subscription) -> None:
        """Takes a subscription out again; harmless if it is not in."""
        if sub.entered:
            await do_all(self._leave(sub))

    def _leave(self, sub: Subscription) -> list[Step]:
        """Takes ``sub`` out of the hub at once; returns what is to be done after that."""
        sub.entered = False
        self.metrics.actions["remove_subscription"] += 1
        self.metrics.subscriptions_inflight -= 1
        steps: list[Step] = []
        if sub.present:
            sub.present = False
            steps.append(partial(self.remove_presence, sub))
        if self.hub.remove_subscription(sub):
            steps.append(partial(self.settle_channel, sub.channel))
            steps.append(partial(self.handlers.channel_vacated, ChannelVacated(sub.channel)))
        return steps

    async def remove_presence(self, sub: Subscription) -> None:
        """Removes a subscriber's presence; silent if there is none."""
        session = sub.session
        await self.presence_manager.remove_presence(sub.channel, session.client_id, session.user)

    async def settle_channel(self, channel: str) -> None:
        """Brings the broker's subscription in line with the hub."""
        await self._links.settle(channel)

    async def add_presence(self, sub: Subscription) -> None:
        """Enters, or prolongs, a subscriber's presence."""
        self.metrics.actions["add_presence"] += 1
        sub.present = True
        await self.presence_manager.add_presence(sub.channel, sub.session.client_id, sub.info)

    async def end_subscription(self, session: Session, channel: str, code: UnsubscribeCode) -> None:
        """Ends a subscription, by the client or the server; silent if there is none."""
        sub = session.subscriptions.get(channel)
        if sub is None:
            return
        if not sub.live:
            sub.ended_by = code  # carried out right after the subscribe reply
            return
        steps = self.end_live(sub, code)
        if code.code >= codes.UNSUBSCRIBE_SERVER.code:
            self.metrics.server_unsubscribes[code.code] += 1
            push = messages.Unsubscribe(code=code.code, reason=code.reason)
            session.push(Push(channel=channel, unsubscribe=push), "push_unsubscribe")
        await do_all(steps)

    def end_live(self, sub: Subscription, code: UnsubscribeCode) -> list[Step]:
        """Ends a live subscription here and now; returns what is to be done and told after that.

        Each of these steps is taken whatever becomes of the others (see ``do_all``).
        """
        session, channel = sub.session, sub.channel
        del session.subscriptions[channel]
        sub.live = False
        steps = self._leave(sub)
        if sub.options.join_leave:
            steps.append(partial(self.broker.publish_join_leave, channel, sub.info, joined=False))
        ended = Unsubscribed(session, channel, code.code, code.reason, sub.server_side)
        steps.append(partial(self.handlers.unsubscribed, ended))
        return steps

    def change_expiry(self, session: Session, expire_at: float, info: Raw | None) -> None:
        """The program changed the expiry of a connection; the client is told."""
        self._upkeep.change_expiry(session, expire_at, info)

    def expire_session(self, session: Session) -> None:
        """The connection's time is over, unless the program prolongs it."""
        self.tasks.spawn(self._expire(session), "expiry of a session")

    async def _expire(self, session: Session) -> None:
        try:
            await refresh_by_server(session)
        except Disconnect as disconnect:
            session.disconnect(disconnect)
        except Error as error:
            logger.warning("refresh of client %s failed: %s", session.client_id, error)
            session.disconnect(Disconnect(codes.DISCONNECT_EXPIRED))

    def look_after(self, session: Session) -> None:
        """The regular visit: presence, expiry of subscriptions, positions."""
        self.tasks.spawn(self._upkeep.visit(session), "maintenance of a session", recurring=True)

    def _on_lost(self, sub: Subscription, disconnect: Disconnect | None) -> None:
        # Called by the hub, perhaps in the middle of a publish of this very session: ends it later.
        self.tasks.soon(self._lose, sub, disconnect)

    def _lose(self, sub: Subscription, disconnect: Disconnect | None) -> None:
        if disconnect is not None:
            sub.session.disconnect(disconnect)
        elif sub.live:
            self.tasks.spawn(self._upkeep.lose_state(sub), "end of a subscription")

    # -- BrokerEvents

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
    ) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.metrics.messages_received["publication"] += 1
        self.hub.broadcast(channel, publication, position, delta=delta, previous=previous)

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.metrics.messages_received["join"] += 1
        self.hub.broadcast_join_leave(channel, info, joined=True)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.metrics.messages_received["leave"] += 1
        self.hub.broadcast_join_leave(channel, info, joined=False)

    def on_broker_restored(self) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        for session in self.hub.sessions.values():
            session.check_positions_soon()


NO_OPTIONS = PublishOptions()


def default_engine(
    node: Node, broker: Broker | None, presence_manager: PresenceManager | None
) -> tuple[Broker, PresenceManager]:
    """Fills in what was not given with the memory engine."""
    return (
        broker or MemoryBroker(node.clock, history_meta_ttl=node.options.history_meta_ttl),
        presence_manager or MemoryPresenceManager(node.clock),
    )

"""The node: one process' engine, and everything that a program does with it."""

from __future__ import annotations

import asyncio
import logging
import os
from asyncio import _get_running_loop
from threading import get_ident
from typing import TYPE_CHECKING, Final, Self, TypeVar, Unpack

import msgspec

from flyball.aio.clock import Clock, LoopClock
from flyball.core.census import (
    CHANNEL,
    CONNECTIONS,
    USERS,
    Census,
    ConnectionsQuery,
    UsersQuery,
    check_limit,
    join_channel,
    join_connections,
    join_users,
)
from flyball.core.channel_census import (
    ChannelCensus,
    ChannelsQuery,
    ask_for_all,
    ask_for_page,
)
from flyball.core.cluster import NodeInfo, NodeMetrics, SurveyResult
from flyball.core.decorators import HandlerDecorators
from flyball.core.engine import Engine
from flyball.core.errors import ConfigError, Disconnect, WrongLoopError
from flyball.core.glob import compile_glob
from flyball.core.ids import new_id
from flyball.core.keywords import ConnectionsKeywords, PublishKeywords, spell_out
from flyball.core.listen import ChannelReader
from flyball.core.memory import MemoryBroker, MemoryPresenceManager
from flyball.core.metrics import Metrics
from flyball.core.operations import ChannelOperations
from flyball.core.options import NodeOptions
from flyball.core.received import HistoryResult
from flyball.core.run import NodeEngine, NodeRun, RunState
from flyball.core.runtime import Runtime
from flyball.core.threadsafe import ThreadsafeNode, outside
from flyball.core.typed import TypedChannel
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    Payload,
    PresenceStats,
    PublishOptions,
    PublishResult,
    StreamPosition,
    to_payload,
)
from flyball.core.users import UserOperations
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping

    from flyball.aio.held import HeldBytes
    from flyball.aio.lines import RepeatedLines
    from flyball.aio.tasks import TaskOwner
    from flyball.aio.timers import TimerWheel
    from flyball.core.broker import Broker, Controller, PresenceManager
    from flyball.core.census import ChannelState, ConnectionsPage, UsersPage
    from flyball.core.channel_census import ChannelOrder, ChannelsPage
    from flyball.core.cluster import SurveyHandler
    from flyball.core.control import UserOp
    from flyball.core.hub import Hub
    from flyball.core.session import Session
    from flyball.core.transport import Transport

__all__ = ["Node", "NodeInfo", "NodeMetrics", "NodeOptions", "SurveyResult"]

logger: Final = logging.getLogger("flyball.core")

T = TypeVar("T")

NO_OPTIONS = PublishOptions()

NO_DOOR = """\
this flyball.Node has no on_connecting handler, so no client could connect. Register one that \
says who a client is before the node is started:

    @node.on_connecting
    def who(event: flyball.Connecting) -> flyball.Credentials:
        return flyball.Credentials(user=...)  # from event.token, event.headers, ...

A program that only publishes and listens uses flyball.Node(clients=False)."""


class Node(HandlerDecorators, UserOperations):
    """Sessions, channels and handlers of one process.

    Args:
        options: limits and intervals.
        engine: where publications and presence are kept, and how other nodes are reached; the
            memory engine, of a single node, if not given.
        broker: keeps and spreads publications, in place of the engine's.
        presence_manager: knows who is subscribed, in place of the engine's.
        controller: carries messages between nodes, in place of the engine's.
        clock: where time comes from.
        clients: whether it refuses to start without an ``on_connecting`` handler. False for a
            program that only publishes and listens, or gets its handlers after the start.

    Use it as an async context manager, or call :meth:`start` and :meth:`shutdown`. It runs in
    one event loop at a time; after a shutdown it can be started again, in any loop. What
    belongs to a run (connections, timers, tasks, what the memory engine keeps) ends with it.
    """

    def __init__(
        self,
        options: NodeOptions | None = None,
        *,
        engine: Engine | None = None,
        broker: Broker | None = None,
        presence_manager: PresenceManager | None = None,
        controller: Controller | None = None,
        clock: Clock | None = None,
        clients: bool = True,
    ) -> None:
        super().__init__()
        self._clients = clients
        self.options: NodeOptions = options or NodeOptions()
        self.id: str = new_id()
        """Unique for each node: one that was made before a fork takes another when it starts."""
        self._process = os.getpid()
        self.clock: Clock = clock or LoopClock()
        self.metrics: Metrics = Metrics()
        self.metrics.payload_faults = self._handlers.payload_faults
        meta_ttl = self.options.history_meta_ttl
        given = engine or Engine()
        self.broker: Broker = (
            broker or given.broker or MemoryBroker(self.clock, history_meta_ttl=meta_ttl)
        )
        self.presence_manager: PresenceManager = (
            presence_manager or given.presence_manager or MemoryPresenceManager(self.clock)
        )
        self.controller: Controller | None = controller or given.controller
        self.metrics_source: Callable[[], NodeMetrics] | None = None
        """Gives the metrics shown in :meth:`info`."""
        self._operations = ChannelOperations(self.broker, self.presence_manager, self.metrics)
        self._surveys: dict[str, SurveyHandler] = {
            **ChannelCensus(lambda: self.hub).handlers(),
            **self._census(),
        }
        self._thread = 0  # in which it was started last
        self._run = self._new_run()
        self.threadsafe: ThreadsafeNode = ThreadsafeNode(self)
        """The same operations for other threads, without ``await``."""

    def _census(self) -> dict[str, SurveyHandler]:
        return Census(self.id, self.clock, lambda: self.hub).handlers()

    def _new_run(self) -> NodeRun:
        return NodeRun(
            Runtime(self.options, self.clock, self.metrics, self._handlers),
            NodeEngine(self.broker, self.presence_manager, self.controller),
            self._operations,
            self.id,
            self._surveys,
            self._describe,
        )

    @property
    def payload_faults(self) -> Mapping[tuple[str, str], int]:
        """Payloads that did not fit a ``schema=``: pattern, and path of the fault, to how many."""
        return self._handlers.payload_faults

    # -- life

    async def start(self) -> None:
        """Connects to the store and to other nodes; returns at once if the node runs already.

        A start that fails leaves the node stopped, to be started again.

        Raises:
            ConfigError: there is no ``on_connecting`` handler, or the store cannot be used as
                configured.
            WrongLoopError: the node runs in another event loop.
        """
        loop = asyncio.get_running_loop()
        run = self._run
        if run.state is RunState.RUNNING and run.loop is loop:
            return
        if self._clients and not self._handlers.on_connecting.registered:
            raise ConfigError(NO_DOOR)
        self._be_of_this_process()
        await self._leave_other_loop(loop)
        async with self._run.lock:
            if self._run.state is RunState.STOPPED:
                self._run = self._new_run()
            if self._run.state is RunState.NEW:
                self._thread = get_ident()
                await self._run.start()

    def _be_of_this_process(self) -> None:
        """Processes that are forked from the one that made the node must not share its id: nodes
        would take the messages of others for their own (``gunicorn --preload``).
        """
        unused = self._run.state in (RunState.NEW, RunState.STOPPED)
        if unused and self._process != os.getpid():
            self._process, self.id = os.getpid(), new_id()
            self._surveys.update(self._census())
            self._run = self._new_run()

    async def ensure_started(self) -> None:
        """Starts the node where nobody did; one that was shut down in this loop stays so.

        Raises what :meth:`start` raises.
        """
        if self._run.over and self._run.loop is asyncio.get_running_loop():
            return
        await self.start()

    async def _leave_other_loop(self, loop: asyncio.AbstractEventLoop) -> None:
        """Gives up a run whose event loop was closed without a shutdown."""
        run = self._run
        if run.loop is None or run.loop is loop or run.state is RunState.STOPPED:
            return
        if not run.loop.is_closed():
            message = (
                "this flyball.Node runs in another event loop: "
                "use one node (and one flyball.asgi.app) for each process and loop"
            )
            raise WrongLoopError(message)
        logger.warning("the event loop of the node was closed without node.shutdown()")
        self._run = self._new_run()
        try:
            await run.abandon()
        except Exception:
            logger.exception("the engine of a closed event loop cannot be closed")

    async def shutdown(self) -> None:
        """Closes every client with 3001 (they reconnect elsewhere), then the engine.

        A second call waits for the first one. Whatever fails, the node is stopped; the first
        failure is raised then.

        Raises:
            WrongLoopError: the node runs in another event loop.
        """
        await self._leave_other_loop(asyncio.get_running_loop())
        run = self._run
        async with run.lock:
            if run.state is not RunState.STOPPED:
                await run.stop()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.shutdown()

    @property
    def running(self) -> bool:
        """Between :meth:`start` and :meth:`shutdown`."""
        return self._run.state is RunState.RUNNING

    @property
    def shutting_down(self) -> bool:
        """The node is stopping or was stopped: new connections are refused."""
        return self._run.over

    @property
    def loop(self) -> asyncio.AbstractEventLoop | None:
        """The event loop of this run; None before its start."""
        return self._run.loop

    def _check_loop(self, name: str) -> None:
        """Raises where ``name`` is called beside the loop that the node runs in."""
        loop = self._run.loop
        if loop is None or loop is _get_running_loop():
            return
        if not loop.is_closed() and self._run.state is not RunState.STOPPED:
            raise outside(name)

    def problems(self) -> list[str]:
        """What keeps the engine from working now; empty if all is well."""
        return Engine(self.broker, self.presence_manager, self.controller).problems()

    def uptime(self) -> float:
        """Seconds since :meth:`start`."""
        return self.clock.monotonic() - self._run.started_at

    # -- channels

    @spell_out(PublishOptions)
    async def publish(
        self,
        channel: str,
        data: Payload,
        options: PublishOptions | None = None,
        **fields: Unpack[PublishKeywords],
    ) -> PublishResult:
        """Publishes to all subscribers of ``channel``, on all nodes.

        Fields of :class:`PublishOptions` may be given one by one, and win over ``options``:
        ``publish("news", data, history_size=10, history_ttl=60)``. Returns once the broker took
        it. ``data`` is any JSON value; ``bytes`` and ``Raw`` are sent as they are.

        Raises:
            ConfigError: the channel is empty.
            WrongLoopError: it is called in another thread or event loop, see :attr:`threadsafe`.
        """
        # The thread is known at a fifth of the cost of the loop, and one thread runs one loop.
        if self._thread != get_ident():
            self._check_loop("publish")
        if not channel:
            message = "publish needs a channel"
            raise ConfigError(message)
        if options is None:
            options = PublishOptions(**fields) if fields else NO_OPTIONS
        elif fields:
            options = msgspec.structs.replace(options, **fields)
        return await self._operations.publish(channel, to_payload(data), options, options.info)

    async def history(self, channel: str, query: HistoryFilter | None = None) -> HistoryResult:
        """Reads part of a stream.

        Raises:
            Error: 112 if ``query.since.epoch`` is given and not the stream's.
        """
        self._check_loop("history")
        return HistoryResult.of(await self._operations.history(channel, query))

    async def remove_history(self, channel: str) -> None:
        """Drops the publications of a stream; its position lives on."""
        self._check_loop("remove_history")
        await self._operations.remove_history(channel)

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """Who is in ``channel``: client id to info, over all nodes."""
        self._check_loop("presence")
        return await self._operations.presence(channel)

    async def presence_stats(self, channel: str) -> PresenceStats:
        """How many are in ``channel``, over all nodes."""
        self._check_loop("presence_stats")
        return await self._operations.presence_stats(channel)

    def subscribe(
        self, channel: str, *, since: StreamPosition | None = None, max_waiting: int = 10000
    ) -> ChannelReader:
        """Makes this program a subscriber: ``async for publication in node.subscribe("ch")``.

        ``since`` first gives what came after that position. See
        :class:`~flyball.core.listen.ChannelReader` for what happens when publications are
        lost on the way, or are not taken as fast as they come.
        """
        self._check_loop("subscribe")
        return ChannelReader(self._run.membership, channel, since=since, max_waiting=max_waiting)

    def channel(self, pattern: str, kind: type[T]) -> TypedChannel[T]:
        """Channels of ``pattern`` whose publications are of one type, in both directions.

        Args:
            pattern: which channels, as in the decorators.
            kind: a msgspec Struct, dataclass, Pydantic model or another type that can be checked.

        Returns:
            Their decorators, ``publish`` and ``subscribe``; see :class:`TypedChannel`.
        """
        return TypedChannel(self, pattern, kind)

    async def channels(self, pattern: str = "") -> dict[str, int]:
        """Channels with subscribers, and how many, over all nodes.

        ``pattern`` is a glob, see :mod:`flyball.core.glob`; empty: all of them. Where there are
        very many, :meth:`channels_page` tells less at a time.

        Raises:
            Error: 100, the glob is malformed, or a node failed.
            TimeoutError: not all nodes answered.
        """
        self._check_loop("channels")
        return await ask_for_all(self.survey, pattern)

    async def channels_page(
        self,
        pattern: str = "",
        *,
        order: ChannelOrder = "name",
        limit: int = 100,
        cursor: str = "",
    ) -> ChannelsPage:
        """A page of the channels with subscribers, over all nodes.

        Args:
            pattern: a glob for their names, see :mod:`flyball.core.glob`; empty: all of them.
            order: ``name``, or ``clients`` for one page of those with the most subscribers; over
                several nodes, a channel that is among the first ``limit`` of none is left out.
            limit: entries of the page, up to 1000.
            cursor: ``cursor`` of the page before.

        Raises:
            Error: 107, no page can be like that; 100, the glob is malformed, or a node failed.
            TimeoutError: not all nodes answered.
        """
        self._check_loop("channels_page")
        query = ChannelsQuery(pattern=pattern, order=order, limit=limit, cursor=cursor)
        return await ask_for_page(self.survey, query)

    # -- who is there

    @spell_out(ConnectionsQuery)
    async def connections(
        self, query: ConnectionsQuery | None = None, **fields: Unpack[ConnectionsKeywords]
    ) -> ConnectionsPage:
        """A page of the connections of all nodes, such as ``connections(user="42")``.

        Fields of :class:`~flyball.core.census.ConnectionsQuery` may be given one by one, and
        win over ``query``. Each node does a bounded amount of work for it.

        Raises:
            Error: 107, no page can have that ``limit``; 100, a node failed.
            TimeoutError: not all nodes answered.
        """
        self._check_loop("connections")
        query = msgspec.structs.replace(query or ConnectionsQuery(), **fields)
        check_limit(query.limit)
        return join_connections(
            await self.survey(CONNECTIONS, msgspec.json.encode(query)), query.limit
        )

    async def users(self, pattern: str = "", *, limit: int = 100, cursor: str = "") -> UsersPage:
        """A page of the users who are connected to any node, anonymous ones left out.

        Args:
            pattern: a glob for their ids, see :mod:`flyball.core.glob`; empty: all of them.
            limit: entries of the page, up to 1000.
            cursor: ``cursor`` of the page before.

        Raises:
            Error: 107, no page can have that ``limit``; 100, the glob is malformed.
            TimeoutError: not all nodes answered.
        """
        self._check_loop("users")
        check_limit(limit)
        compile_glob(pattern)
        query = UsersQuery(pattern=pattern, limit=limit, cursor=cursor)
        return join_users(await self.survey(USERS, msgspec.json.encode(query)), limit)

    async def channel_state(self, channel: str) -> ChannelState:
        """How many subscribers a channel has on each node.

        Raises:
            TimeoutError: not all nodes answered.
        """
        self._check_loop("channel_state")
        return join_channel(await self.survey(CHANNEL, channel.encode()))

    async def _everywhere(self, op: UserOp) -> None:
        self._check_loop(f"{type(op).__name__.removesuffix('User').lower()}_user")
        await self._run.cluster.everywhere(op)

    # -- nodes

    async def info(self) -> list[NodeInfo]:
        """All nodes as this one knows them."""
        self._check_loop("info")
        return self._run.cluster.nodes()

    @property
    def num_nodes(self) -> int:
        """Nodes known to this one, itself included."""
        return len(self._run.cluster.nodes())

    def _describe(self) -> NodeInfo:
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
        self._check_loop("survey")
        return await self._run.cluster.survey(op, data, to_node, timeout)

    def on_survey(self, op: str, handler: SurveyHandler) -> None:
        """Answers surveys of ``op`` on this node: ``handler(data)`` returns the answer's data."""
        self._surveys[op] = handler

    # -- for transports: they belong to one run

    def open_session(
        self,
        transport: Transport,
        headers: Mapping[str, str] | None = None,
        remote_addr: str = "",
    ) -> Session:
        """A new connection. ``headers`` of its request, names in lower case."""
        run = self._run
        session = run.registry.open(transport, headers, remote_addr)
        if run.over:
            gone = Disconnect(codes.DISCONNECT_SHUTDOWN)
            run.runtime.tasks.soon(session.disconnect, gone)
        return session

    @property
    def pending_sessions(self) -> Collection[Session]:
        """Sessions that are not connected yet, or were refused."""
        return self._run.registry.pending_sessions

    @property
    def hub(self) -> Hub:
        """The sessions and subscriptions of this node."""
        return self._run.hub

    @property
    def timers(self) -> TimerWheel:
        """The timer wheel of this run."""
        return self._run.runtime.timers

    @property
    def held(self) -> HeldBytes:
        """What clients of this run who are not connected yet hold in memory."""
        return self._run.runtime.held

    @property
    def failures(self) -> RepeatedLines:
        """What this run tells the log of handlers that fail."""
        return self._run.runtime.failures

    @property
    def tasks(self) -> TaskOwner:
        """Owns this run's work that nobody waits for."""
        return self._run.runtime.tasks

    @property
    def random(self) -> Callable[[], float]:
        """A number from 0 to below 1: spreads timers."""
        return self._run.runtime.random

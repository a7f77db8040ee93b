"""One run of a node, from start to shutdown: all state that goes with it.

1. A run begins NEW; connections may come already, and wait for nothing.
2. STARTING it connects the engine. If that fails it goes through STOPPING as well.
3. RUNNING it serves.
4. STOPPING it closes every client with 3001, finishes its work and closes the engine.
5. STOPPED is the end: to start again a node makes a new run.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Final, NamedTuple

from flyball.aio.states import State
from flyball.aio.tasks import do_all
from flyball.core.cluster import Cluster
from flyball.core.commands import command_table
from flyball.core.errors import Disconnect
from flyball.core.hub import Hub
from flyball.core.maintenance import SessionMaintenance
from flyball.core.membership import Membership
from flyball.core.registry import SessionRegistry
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.core.broker import Broker, Controller, PresenceManager
    from flyball.core.cluster import NodeInfo, SurveyHandler
    from flyball.core.operations import ChannelOperations
    from flyball.core.runtime import Runtime
    from flyball.core.subscription import Subscription
    from flyball.core.types import ClientInfo, Publication, StreamPosition

logger: Final = logging.getLogger("flyball.core")


class RunState(State):
    """The states of a run, in the order of a life."""

    NEW = "new"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    STOPPED = "stopped"


TRANSITIONS: Final = {
    RunState.NEW: frozenset({RunState.STARTING, RunState.STOPPING}),
    RunState.STARTING: frozenset({RunState.RUNNING, RunState.STOPPING}),
    RunState.RUNNING: frozenset({RunState.STOPPING}),
    RunState.STOPPING: frozenset({RunState.STOPPED}),
    RunState.STOPPED: frozenset[RunState](),
}
"""State to the states that may follow."""


class NodeEngine(NamedTuple):
    """What a node keeps over its runs: where publications, presence and control messages go."""

    broker: Broker
    presence_manager: PresenceManager
    controller: Controller | None


class NodeRun:
    """The state of one run; the broker's events come here (see ``BrokerEvents``)."""

    def __init__(
        self,
        runtime: Runtime,
        engine: NodeEngine,
        operations: ChannelOperations,
        node_id: str,
        surveys: Mapping[str, SurveyHandler],
        describe: Callable[[], NodeInfo],
    ) -> None:
        self.runtime = runtime
        self.state: RunState = RunState.NEW
        self.loop: asyncio.AbstractEventLoop | None = None
        """The event loop it was started in."""
        self.lock: asyncio.Lock = asyncio.Lock()
        """Held by whoever starts or stops it."""
        self.started_at: float = runtime.clock.monotonic()
        self._engine = engine
        self.hub: Hub = Hub(runtime, self._on_lost)
        self.membership: Membership = Membership(
            runtime, self.hub, engine.broker, engine.presence_manager
        )
        self.cluster: Cluster = Cluster(
            runtime, self.membership, node_id, engine.controller, surveys, describe
        )
        maintenance = SessionMaintenance(runtime, self.membership)
        self.registry: SessionRegistry = SessionRegistry(runtime, self.hub, maintenance)
        self.registry.commands = command_table(
            runtime, self.membership, self.registry, self.cluster, operations
        )

    # -- life

    @property
    def over(self) -> bool:
        """It is stopping or was stopped: nobody comes in any more."""
        return self.state is RunState.STOPPING or self.state is RunState.STOPPED

    def _become(self, state: RunState) -> None:
        assert state in TRANSITIONS[self.state], (self.state, state)
        self.state = state

    async def start(self) -> None:
        """Connects to the store and to other nodes; whatever fails, everything is closed again."""
        self._become(RunState.STARTING)
        self.loop = asyncio.get_running_loop()
        self.started_at = self.runtime.clock.monotonic()
        try:
            await self._engine.presence_manager.start()
            await self._engine.broker.start(self)
            if self._engine.controller is not None:
                await self._engine.controller.start(self.cluster, self.cluster.node_id)
        except BaseException:
            await self.stop()
            raise
        self._become(RunState.RUNNING)
        self.cluster.start()

    async def stop(self) -> None:
        """Ends everything, in order; a step that fails keeps none of the others from being taken.

        Raises:
            Exception: what the first step that failed raised.
        """
        joined = self.state is RunState.RUNNING
        self._become(RunState.STOPPING)
        self._end_all()
        tasks, engine = self.runtime.tasks, self._engine
        steps = [tasks.drain, self.membership.drain, self._rest]
        if engine.controller is not None:
            if joined:
                steps.append(self.cluster.leave)
            steps.append(engine.controller.close)
        try:
            await do_all((*steps, engine.broker.close, engine.presence_manager.close))
        finally:
            self._become(RunState.STOPPED)

    async def abandon(self) -> None:
        """Its event loop is closed, and with it went its tasks and connections.

        Raises:
            Exception: what a part of the engine raised that cannot be closed any more.
        """
        self._become(RunState.STOPPING)
        self.registry.forget_all()
        self.cluster.stop_telling()
        self.runtime.failures.close()
        self.runtime.timers.rest()
        engine = self._engine
        steps = [engine.broker.close, engine.presence_manager.close]
        if engine.controller is not None:
            steps.insert(0, engine.controller.close)
        try:
            await do_all(steps)
        finally:
            self._become(RunState.STOPPED)

    def _end_all(self) -> None:
        self.registry.disconnect_all(Disconnect(codes.DISCONNECT_SHUTDOWN))
        for listener in self.hub.listeners():
            listener.stop()

    async def _rest(self) -> None:
        self.cluster.stop_telling()
        self.runtime.failures.close()
        self.runtime.timers.rest()

    # -- BrokerEvents

    def on_publication(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
        lag: float | None = None,
    ) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.runtime.metrics.messages_received["publication"] += 1
        self.hub.broadcast(channel, publication, position, delta=delta, previous=previous, lag=lag)

    def on_join(self, channel: str, info: ClientInfo) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.runtime.metrics.messages_received["join"] += 1
        self.hub.broadcast_join_leave(channel, info, joined=True)

    def on_leave(self, channel: str, info: ClientInfo) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.runtime.metrics.messages_received["leave"] += 1
        self.hub.broadcast_join_leave(channel, info, joined=False)

    def on_broker_lost(self, reason: str) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        self.runtime.metrics.broker_losses += 1
        logger.error("the link to the broker is lost: %s", reason)

    def on_broker_restored(self) -> None:
        """See :class:`flyball.core.broker.BrokerEvents`."""
        logger.warning("the link to the broker is back: all positions are checked")
        self.hub.forget_tops()
        self.registry.check_positions()
        for listener in self.hub.listeners():
            listener.check()

    # -- of the hub

    def _on_lost(self, sub: Subscription, disconnect: Disconnect | None) -> None:
        # Perhaps in the middle of a publish of this very session: ends it later.
        self.runtime.tasks.soon(self._lose, sub, disconnect)

    def _lose(self, sub: Subscription, disconnect: Disconnect | None) -> None:
        if disconnect is not None:
            sub.session.disconnect(disconnect)
        elif sub.live:
            work = self.membership.lose_state(sub)
            self.runtime.tasks.spawn(work, "end of a subscription")

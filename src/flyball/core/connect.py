"""The connect command: who it is, and what it is subscribed to from the start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flyball.aio.eager import start_eagerly
from flyball.core.cluster import DisconnectUser
from flyball.core.errors import Disconnect, Error
from flyball.core.events import Connected, Connecting, Subscribing
from flyball.core.expiry import cut_expiry, is_past, ttl_of
from flyball.core.session_state import SessionState
from flyball.core.subscribe import SubscribeRun, go_live
from flyball.core.types import SubscribeOptions, SubscriptionSource, to_payload
from flyball.protocol import codes, messages
from flyball.protocol.messages import Push, Reply

if TYPE_CHECKING:
    from collections.abc import Iterable

    from flyball.core.cluster import Cluster
    from flyball.core.membership import Membership
    from flyball.core.registry import SessionRegistry
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.core.types import Credentials


class ConnectCommand:
    """The command ``connect``."""

    __slots__ = ("_cluster", "_membership", "_registry", "_runtime")

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        registry: SessionRegistry,
        cluster: Cluster,
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._registry = registry
        self._cluster = cluster

    async def connect(
        self, session: Session, request: messages.ConnectRequest, id_: int
    ) -> Reply | None:
        """Authenticates, makes server-side subscriptions, answers, starts the timers.

        Sends its reply itself: publications of the new subscriptions come after it.
        """
        credentials = await self._runtime.handlers.connecting(_introduced(session, request))
        if session.closed:
            return None
        self._take(session, credentials)
        subs = credentials.subs
        if not isinstance(subs, dict):
            subs = await self._options_of(session, filter(None, subs))
        elif "" in subs:  # the name of no channel
            subs = {channel: how for channel, how in subs.items() if channel}
        self._check_limits(session, len(subs))
        self._registry.started(session)
        runs = await self._subscribe_all(session, subs, request.subs or {}) if subs else []
        if not session.closed:
            session.become(SessionState.CONNECTED)
            self._answer(session, credentials, runs, id_)
        if session.closed:  # by somebody, or by an answer that has no form in its encoding
            for run in runs:
                await run.abandon()
            return None
        session.started()
        go_live(runs)
        for run in runs:
            await run.announce()
        if credentials.single_connection and session.user:
            await self._disconnect_others(session)
        await self._runtime.handlers.connected(Connected(session.connection))
        return None

    def _take(self, session: Session, credentials: Credentials) -> None:
        now = self._runtime.clock.time()
        if is_past(credentials.expire_at, now):
            raise Error(codes.EXPIRED)
        session.user = credentials.user
        session.info = to_payload(credentials.info)
        session.meta = credentials.meta
        session.client_side_refresh = credentials.client_side_refresh
        session.set_expiry(cut_expiry(credentials.expire_at, now))

    async def _options_of(
        self, session: Session, channels: Iterable[str]
    ) -> dict[str, SubscribeOptions]:
        """The program's subscribe handler says how, where only names were given."""
        ask = self._runtime.handlers.subscribe
        return {
            channel: await ask(Subscribing(session.connection, channel, server_side=True))
            for channel in channels
        }

    def _check_limits(self, session: Session, num_subs: int) -> None:
        options = self._runtime.options
        if options.channel_limit and num_subs > options.channel_limit:
            raise Disconnect(codes.DISCONNECT_CHANNEL_LIMIT)
        limit = options.user_connection_limit
        if limit and session.user and self._registry.same_user(session) >= limit:
            raise Disconnect(codes.DISCONNECT_CONNECTION_LIMIT)

    async def _disconnect_others(self, session: Session) -> None:
        op = DisconnectUser(
            uid=self._cluster.node_id,
            user=session.user,
            code=codes.DISCONNECT_CONNECTION_LIMIT.code,
            reason=codes.DISCONNECT_CONNECTION_LIMIT.reason,
            whitelist=[session.client_id],
        )
        await self._cluster.everywhere(op)

    async def _subscribe_all(
        self,
        session: Session,
        subs: dict[str, SubscribeOptions],
        wished: dict[str, messages.SubscribeRequest],
    ) -> list[SubscribeRun]:
        """Makes the subscriptions side by side; the first failure fails the connect."""
        runs = [
            self._run_for(session, channel, options, wished.get(channel))
            for channel, options in subs.items()
        ]
        waiting: list[asyncio.Task[None]] = []
        failures: list[BaseException] = []
        for run in runs:
            try:
                work = start_eagerly(run.make())
            except Exception as error:  # noqa: BLE001 - raised below, when all have come to an end
                failures.append(error)
            else:
                if work is not None:
                    waiting.append(work)
        if waiting:
            # All of them come to an end before any is undone, lest one slips into the hub later.
            outcomes = await asyncio.gather(*waiting, return_exceptions=True)
            failures += [o for o in outcomes if isinstance(o, BaseException)]
        if failures:
            for run in runs:
                await run.abandon()
            raise failures[0]
        return runs

    def _run_for(
        self,
        session: Session,
        channel: str,
        options: SubscribeOptions,
        wish: messages.SubscribeRequest | None,
    ) -> SubscribeRun:
        request = messages.SubscribeRequest(channel=channel)
        if wish is not None:
            request.recover, request.offset = wish.recover, wish.offset
            request.epoch, request.delta = wish.epoch, wish.delta
        run = SubscribeRun(
            self._runtime,
            self._membership,
            session,
            request,
            source=SubscriptionSource.CONNECT,
            server_side=True,
        )
        run.allow(options)
        return run

    def _answer(
        self, session: Session, credentials: Credentials, runs: list[SubscribeRun], id_: int
    ) -> None:
        unidirectional = session.transport.framing.unidirectional
        result = messages.Connect() if unidirectional else messages.ConnectResult()
        self._fill(result, session, credentials)
        if runs:
            result.subs = {run.channel: run.result for run in runs}
        if isinstance(result, messages.Connect):
            session.push(Push(connect=result), "push_connect")
        else:
            session.reply(Reply(id=id_, connect=result), "connect")

    def _fill(
        self,
        result: messages.Connect | messages.ConnectResult,
        session: Session,
        credentials: Credentials,
    ) -> None:
        options, clock, transport = self._runtime.options, self._runtime.clock, session.transport
        result.client = session.client_id
        result.version = options.version
        if session.expire_at and session.client_side_refresh:
            result.expires = True
            result.ttl = ttl_of(session.expire_at, clock.time())
        result.data = to_payload(credentials.data)
        interval = session.ping_interval
        if interval and transport.app_ping:
            result.ping = int(interval)
            result.pong = bool(options.pong_timeout) and not transport.framing.unidirectional
        result.session = session.session_id
        if transport.emulation:
            result.node = self._cluster.node_id
        if options.connect_include_server_time:
            result.time = int(clock.time() * 1000)


def _introduced(session: Session, request: messages.ConnectRequest) -> Connecting:
    """Takes down what the client says of itself; the event that asks who it is."""
    session.name = request.name
    session.version = request.version
    session.emulated_headers = request.headers
    return Connecting(
        session.connection,
        request.token,
        request.data,
        request.name,
        request.version,
        session.headers or {},
        request.headers or {},
        tuple(request.subs or ()),
    )

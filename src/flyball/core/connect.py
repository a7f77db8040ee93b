"""The connect command: who it is, and what it is subscribed to from the start."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flyball.aio.eager import start_eagerly
from flyball.core.errors import Disconnect, Error
from flyball.core.events import Connected, Connecting, Subscribing
from flyball.core.refresh import cut_expiry, ttl_of
from flyball.core.session_state import SessionState
from flyball.core.subscribe import SubscribeRun, abandon, announce
from flyball.core.types import SubscribeOptions, to_payload
from flyball.protocol import codes, messages
from flyball.protocol.messages import Push, Reply

if TYPE_CHECKING:
    from flyball.core.session import Session
    from flyball.core.types import Credentials


async def connect(session: Session, request: messages.ConnectRequest, id_: int) -> Reply | None:
    """Authenticates, makes server-side subscriptions, answers, starts the timers.

    Sends its reply itself: publications of the new subscriptions come after it.
    """
    node = session.node
    session.name = request.name
    session.version = request.version
    session.emulated_headers = request.headers
    wished = request.subs or {}
    event = Connecting(
        session,
        request.token,
        request.data,
        request.name,
        request.version,
        session.headers or {},
        request.headers or {},
        tuple(wished),
    )
    credentials: Credentials = await node.handlers.connecting(event)
    if session.closed:
        return None
    _adopt(session, credentials)
    subs = await _server_side_options(session, credentials)
    limit = node.options.channel_limit
    if limit and len(subs) > limit:
        raise Disconnect(codes.DISCONNECT_CHANNEL_LIMIT)
    same_user = node.hub.users.get(session.user)
    user_limit = node.options.user_connection_limit
    if user_limit and session.user and same_user is not None and len(same_user) >= user_limit:
        raise Disconnect(codes.DISCONNECT_CONNECTION_LIMIT)
    node.session_started(session)
    runs = await _subscribe_all(session, subs, wished)
    if session.closed:
        for run in runs:
            await abandon(run)
        return None
    session.state = SessionState.CONNECTED
    _answer(session, credentials, runs, id_)
    session.started()
    for run in runs:
        await announce(run)
    if credentials.single_connection and session.user:
        await node.disconnect_user(
            session.user,
            code=codes.DISCONNECT_CONNECTION_LIMIT.code,
            reason=codes.DISCONNECT_CONNECTION_LIMIT.reason,
            whitelist=(session.client_id,),
        )
    await node.handlers.connected(Connected(session))
    return None


def _adopt(session: Session, credentials: Credentials) -> None:
    now = session.node.clock.time()
    if credentials.expire_at and credentials.expire_at <= now:
        raise Error(codes.EXPIRED)
    session.user = credentials.user
    session.info = to_payload(credentials.info)
    session.meta = credentials.meta
    session.client_side_refresh = credentials.client_side_refresh
    session.set_expiry(cut_expiry(credentials.expire_at, now))


async def _server_side_options(
    session: Session, credentials: Credentials
) -> dict[str, SubscribeOptions]:
    if isinstance(credentials.subs, dict):
        return credentials.subs
    # Names only: the program's subscribe handler says how.
    ask = session.node.handlers.subscribe
    return {
        channel: await ask(Subscribing(session, channel, server_side=True))
        for channel in credentials.subs
    }


async def _subscribe_all(
    session: Session,
    subs: dict[str, SubscribeOptions],
    wished: dict[str, messages.SubscribeRequest],
) -> list[SubscribeRun]:
    """Makes the subscriptions side by side; the first failure fails the connect."""
    runs = []
    for channel, options in subs.items():
        wish = wished.get(channel)
        request = messages.SubscribeRequest(channel=channel)
        if wish is not None:
            request.recover, request.offset = wish.recover, wish.offset
            request.epoch, request.delta = wish.epoch, wish.delta
        run = SubscribeRun(session, request, server_side=True)
        run.options = options
        runs.append(run)
    waiting: list[asyncio.Task[None]] = []
    failures: list[BaseException] = []
    for run in runs:
        try:
            work = start_eagerly(run.make())
        except (Error, Disconnect) as error:
            failures.append(error)
        else:
            if work is not None:
                waiting.append(work)
    if waiting:
        # All of them come to an end before any is undone, lest one slips into the hub afterwards.
        outcomes = await asyncio.gather(*waiting, return_exceptions=True)
        failures += [o for o in outcomes if isinstance(o, BaseException)]
    if failures:
        for run in runs:
            await abandon(run)
        raise failures[0]
    return runs


def _answer(session: Session, credentials: Credentials, runs: list[SubscribeRun], id_: int) -> None:
    node, options = session.node, session.node.options
    transport = session.transport
    unidirectional = transport.framing.unidirectional
    result = messages.Connect() if unidirectional else messages.ConnectResult()
    result.client = session.client_id
    result.version = options.version
    if session.expire_at and session.client_side_refresh:
        result.expires = True
        result.ttl = ttl_of(session.expire_at, node.clock.time())
    result.data = to_payload(credentials.data)
    if runs:
        result.subs = {run.channel: run.result for run in runs}
    if session.ping_interval and transport.app_ping:
        result.ping = int(session.ping_interval)
        result.pong = bool(options.pong_timeout) and not unidirectional
    result.session = session.session_id
    if transport.emulation:
        result.node = node.id
    if options.connect_include_server_time:
        result.time = int(node.clock.time() * 1000)
    if isinstance(result, messages.Connect):
        session.push(Push(connect=result), "push_connect")
    else:
        session.reply(Reply(id=id_, connect=result), "connect")

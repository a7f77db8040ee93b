"""The table from command to handler, and the handlers of the plain commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeAlias

from flyball.core.connect import connect
from flyball.core.errors import Disconnect, Error
from flyball.core.events import HistoryQuery, Message, PresenceQuery, Publishing, Rpc
from flyball.core.refresh import refresh, sub_refresh
from flyball.core.subscribe import subscribe
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    PublishOptions,
    PublishResult,
    to_payload,
)
from flyball.protocol import codes, messages
from flyball.protocol.messages import Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from flyball.core.session import Session

PLAIN_PUBLISH = PublishOptions()


def _check_channel(channel: str) -> None:
    if not channel:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")


async def unsubscribe(
    session: Session, request: messages.UnsubscribeRequest, id_: int
) -> Reply | None:
    """Ends a subscription; an unknown channel is no error."""
    _check_channel(request.channel)
    await session.node.end_subscription(session, request.channel, codes.UNSUBSCRIBE_CLIENT)
    return Reply(id=id_, unsubscribe=messages.UnsubscribeResult())


async def publish(session: Session, request: messages.PublishRequest, id_: int) -> Reply | None:
    """Publishes as the handler allows."""
    _check_channel(request.channel)
    node = session.node
    info = publisher_info(session, request.channel)
    event = Publishing(
        session,
        request.channel,
        request.data,
        request.type,
        request.key,
        request.removed,
        info,
    )
    allowed = await node.handlers.publish(event)
    if not isinstance(allowed, PublishResult):
        options = allowed if allowed is not None else PLAIN_PUBLISH
        await node.publish_as(request.channel, request.data, options, info)
    session.reply_published(id_)
    return None


def publisher_info(session: Session, channel: str) -> ClientInfo:
    """Who publishes, with the channel info of the subscription if there is one."""
    sub = session.subscriptions.get(channel)
    if sub is not None and sub.live:
        return sub.info
    return session.client_info


async def presence(session: Session, request: messages.PresenceRequest, id_: int) -> Reply | None:
    """Who is in a channel."""
    _check_channel(request.channel)
    await session.node.handlers.presence(PresenceQuery(session, request.channel))
    entries = await session.node.presence(request.channel)
    return Reply(id=id_, presence=messages.PresenceResult(dict(entries)))


async def presence_stats(
    session: Session, request: messages.PresenceStatsRequest, id_: int
) -> Reply | None:
    """How many are in a channel."""
    _check_channel(request.channel)
    await session.node.handlers.presence(PresenceQuery(session, request.channel, stats=True))
    stats = await session.node.presence_stats(request.channel)
    return Reply(
        id=id_, presence_stats=messages.PresenceStatsResult(stats.num_clients, stats.num_users)
    )


async def history(session: Session, request: messages.HistoryRequest, id_: int) -> Reply | None:
    """Part of a channel's stream, and its position."""
    _check_channel(request.channel)
    node = session.node
    top_limit = node.options.history_max_publication_limit
    limit = request.limit
    if top_limit and (limit < 0 or limit > top_limit):
        limit = top_limit
    query = HistoryFilter(limit, request.since, request.reverse)
    if request.reverse and request.since is not None and request.since.offset == 0:
        # Checked after permission, as the client must not learn more than the handler allows.
        await node.handlers.history(HistoryQuery(session, request.channel, query))
        raise Error(codes.BAD_REQUEST, detail="reverse history since offset 0")
    narrowed = await node.handlers.history(HistoryQuery(session, request.channel, query))
    query = narrowed or query
    result = await node.history(request.channel, query, meta_ttl=query.meta_ttl)
    return Reply(
        id=id_,
        history=messages.HistoryResult(
            result.publications, result.position.epoch, result.position.offset
        ),
    )


async def rpc(session: Session, request: messages.RPCRequest, id_: int) -> Reply | None:
    """Calls a method of the program."""
    answer: Any = await session.node.handlers.rpc(Rpc(session, request.method, request.data))
    return Reply(id=id_, rpc=messages.RPCResult(to_payload(answer)))


async def send(session: Session, request: messages.SendRequest, id_: int) -> Reply | None:  # noqa: ARG001
    """A message without a reply."""
    await session.node.handlers.message(Message(session, request.data))
    return None


Handler: TypeAlias = "Callable[[Session, Any, int], Coroutine[Any, Any, Reply | None]]"

COMMANDS: tuple[tuple[str, Handler], ...] = (
    ("connect", connect),
    ("subscribe", subscribe),
    ("unsubscribe", unsubscribe),
    ("publish", publish),
    ("presence", presence),
    ("presence_stats", presence_stats),
    ("history", history),
    ("rpc", rpc),
    ("send", send),
    ("refresh", refresh),
    ("sub_refresh", sub_refresh),
)
"""Field of a command to its handler. If several are set the first one in this order wins."""

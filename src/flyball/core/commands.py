"""The table from command to handler, and the handlers of the plain commands."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyball.core.connect import ConnectCommand
from flyball.core.errors import Disconnect, Error
from flyball.core.events import HistoryQuery, Message, PresenceQuery, Publishing, Rpc
from flyball.core.refresh import RefreshCommands
from flyball.core.subscribe import SubscribeCommand
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    PublishResult,
    to_payload,
)
from flyball.protocol import codes, messages
from flyball.protocol.messages import Reply

if TYPE_CHECKING:
    from flyball.core.cluster import Cluster
    from flyball.core.membership import Membership
    from flyball.core.operations import ChannelOperations
    from flyball.core.registry import SessionRegistry
    from flyball.core.runtime import Runtime
    from flyball.core.session import CommandTable, Session


def command_table(
    runtime: Runtime,
    membership: Membership,
    registry: SessionRegistry,
    cluster: Cluster,
    operations: ChannelOperations,
) -> CommandTable:
    """Field of a command to its handler. If several are set the first one in this order wins."""
    refreshes = RefreshCommands(runtime)
    plain = PlainCommands(runtime, membership, operations)
    return (
        ("connect", ConnectCommand(runtime, membership, registry, cluster).connect),
        ("subscribe", SubscribeCommand(runtime, membership).subscribe),
        ("unsubscribe", plain.unsubscribe),
        ("publish", plain.publish),
        ("presence", plain.presence),
        ("presence_stats", plain.presence_stats),
        ("history", plain.history),
        ("rpc", plain.rpc),
        ("send", plain.send),
        ("refresh", refreshes.refresh),
        ("sub_refresh", refreshes.sub_refresh),
    )


class PlainCommands:
    """Commands that are over with their reply."""

    __slots__ = ("_membership", "_operations", "_runtime")

    def __init__(
        self, runtime: Runtime, membership: Membership, operations: ChannelOperations
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._operations = operations

    async def unsubscribe(
        self, session: Session, request: messages.UnsubscribeRequest, id_: int
    ) -> Reply | None:
        """Ends a subscription; an unknown channel is no error."""
        _check_channel(request.channel)
        await self._membership.end(session, request.channel, codes.UNSUBSCRIBE_CLIENT)
        return Reply(id=id_, unsubscribe=messages.UnsubscribeResult())

    async def publish(
        self, session: Session, request: messages.PublishRequest, id_: int
    ) -> Reply | None:
        """Publishes as the handler allows."""
        _check_channel(request.channel)
        info = publisher_info(session, request.channel)
        event = Publishing(
            session.connection,
            request.channel,
            request.data,
            request.type,
            request.key,
            request.removed,
            info,
        )
        allowed = await self._runtime.handlers.publish(event)
        if not isinstance(allowed, PublishResult):
            await self._operations.publish(request.channel, request.data, allowed, info)
        session.reply_published(id_)
        return None

    async def presence(
        self, session: Session, request: messages.PresenceRequest, id_: int
    ) -> Reply | None:
        """Who is in a channel."""
        _check_channel(request.channel)
        await self._runtime.handlers.presence(PresenceQuery(session.connection, request.channel))
        entries = await self._operations.presence(request.channel)
        return Reply(id=id_, presence=messages.PresenceResult(dict(entries)))

    async def presence_stats(
        self, session: Session, request: messages.PresenceStatsRequest, id_: int
    ) -> Reply | None:
        """How many are in a channel."""
        _check_channel(request.channel)
        query = PresenceQuery(session.connection, request.channel, stats=True)
        await self._runtime.handlers.presence(query)
        stats = await self._operations.presence_stats(request.channel)
        result = messages.PresenceStatsResult(stats.num_clients, stats.num_users)
        return Reply(id=id_, presence_stats=result)

    async def history(
        self, session: Session, request: messages.HistoryRequest, id_: int
    ) -> Reply | None:
        """Part of a channel's stream, and its position."""
        _check_channel(request.channel)
        top_limit = self._runtime.options.history_max_publication_limit
        limit = request.limit
        if top_limit and (limit < 0 or limit > top_limit):
            limit = top_limit
        query = HistoryFilter(limit, request.since, request.reverse)
        asked = HistoryQuery(session.connection, request.channel, query)
        query = await self._runtime.handlers.history(asked)
        if request.reverse and request.since is not None and request.since.offset == 0:
            # Checked after permission: the client must not learn more than the handler allows.
            raise Error(codes.BAD_REQUEST, detail="reverse history since offset 0")
        found = await self._operations.history(request.channel, query)
        top = found.position
        result = messages.HistoryResult(found.publications, top.epoch, top.offset)
        return Reply(id=id_, history=result)

    async def rpc(self, session: Session, request: messages.RPCRequest, id_: int) -> Reply | None:
        """Calls a method of the program."""
        event = Rpc(session.connection, request.method, request.data)
        answer: Any = await self._runtime.handlers.rpc(event)
        return Reply(id=id_, rpc=messages.RPCResult(to_payload(answer)))

    async def send(self, session: Session, request: messages.SendRequest, _id: int) -> Reply | None:
        """A message without a reply."""
        await self._runtime.handlers.message(Message(session.connection, request.data))
        return None


def _check_channel(channel: str) -> None:
    if not channel:
        raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="empty channel")


def publisher_info(session: Session, channel: str) -> ClientInfo:
    """Who publishes, with the channel info of the subscription if there is one."""
    sub = session.subscriptions.get(channel)
    if sub is not None and sub.live:
        return sub.info
    return session.client_info

"""A client of the protocol on an in-memory transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.core.errors import Error
from flyball.core.payload import Data
from flyball.core.received import Publication
from flyball.core.types import StreamPosition, to_payload
from flyball.protocol import messages
from flyball.protocol.messages import Command, Push, Reply
from flyball.testing.failures import FAILURES
from flyball.testing.transport import MemoryTransport, memory_framing

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.errors import Disconnect
    from flyball.core.node import Node
    from flyball.core.session import Session
    from flyball.core.types import Payload

REPLY_TURNS = 200
"""Turns of the event loop that a reply may take before a test counts it as missing."""


class NoReplyError(AssertionError):
    """The server did not answer a command."""


class TestClient:
    """A client inside the test: commands in, decoded replies and pushes out, no socket.

    Args:
        node: the node under test.
        protocol: ``json`` or ``protobuf``.
        unidirectional: the connection only receives, as the ``uni_*`` transports do.
        headers: of the request that opened the connection, names in lower case.
        remote_addr: address of the peer.

    Every method that sends a command and has a result raises
    :class:`~flyball.core.errors.Error` if the server refuses it,
    :class:`~flyball.core.errors.Disconnect` if it ends the connection instead, and
    :class:`NoReplyError` if nothing comes back. Where a handler failed, its exception is the
    cause of the error, so that pytest shows its traceback.
    """

    __test__ = False  # no test class, whatever its name

    transport: MemoryTransport
    session: Session

    def __init__(
        self,
        node: Node,
        *,
        protocol: str = "json",
        unidirectional: bool = False,
        headers: Mapping[str, str] | None = None,
        remote_addr: str = "",
    ) -> None:
        self.node = node
        self.replies: dict[int, Reply] = {}
        """Replies that nobody took yet, by command id."""
        self.pushes: list[Push] = []
        """Pushes that nobody took yet, in order."""
        self.positions: dict[str, StreamPosition] = {}
        """Channel to what this client knows of its stream, as an SDK keeps it over a drop."""
        self.answer_pings = True
        self.pings: int = 0
        self._framing = memory_framing(protocol, unidirectional=unidirectional)
        self._headers = headers
        self._remote_addr = remote_addr
        self._ids = 0
        self._channels: dict[int, str] = {}  # of subscribe commands that wait for a reply
        self.reopen()

    # -- the connection

    def reopen(self) -> None:
        """A new connection of the same client, after :meth:`drop` or a disconnect."""
        FAILURES.watch(self.node)
        self.transport = MemoryTransport(self._framing, on_frame=self._take_frame)
        self.session = self.node.open_session(self.transport, self._headers, self._remote_addr)

    def drop(self) -> None:
        """The connection breaks; the server learns of it at once."""
        self.session.connection_lost()

    @property
    def closed_by(self) -> Disconnect | None:
        """How the server ended the connection, None while it did not."""
        return self.transport.closed_by

    @property
    def closed_code(self) -> int | None:
        """Code of the server's disconnect, None while there is none."""
        return self.transport.closed_by.code if self.transport.closed_by else None

    # -- what came

    def take(self, channel: str | None = None) -> list[Push]:
        """Pushes (of ``channel``, if given) that came since they were last taken."""
        taken = [p for p in self.pushes if channel is None or p.channel == channel]
        self.pushes = [p for p in self.pushes if p not in taken]
        return taken

    def take_publications(self, channel: str | None = None) -> list[Publication]:
        """The publications among :meth:`take`; other pushes stay."""
        taken = [p for p in self.pushes if p.pub and (channel is None or p.channel == channel)]
        self.pushes = [p for p in self.pushes if p not in taken]
        return [Publication.of(p.pub) for p in taken if p.pub is not None]

    def _take_frame(self, frame: bytes) -> None:
        if self._framing.unidirectional:
            for push in self._framing.pushes(frame):
                self._take_push(push)
            return
        for reply in self._framing.replies(frame):
            if reply.push is not None:
                self._take_push(reply.push)
            elif reply.id:
                self.replies[reply.id] = reply
                channel = self._channels.pop(reply.id, "")
                if reply.subscribe is not None:
                    self._note(channel, reply.subscribe)
                elif reply.connect is not None:
                    for channel, result in (reply.connect.subs or {}).items():
                        self._note(channel, result)
            else:
                self.pings += 1
                if self.answer_pings:
                    asyncio.get_running_loop().call_soon(self._pong)

    def _take_push(self, push: Push) -> None:
        if push.pub is not None and push.pub.offset and push.channel in self.positions:
            self.positions[push.channel].offset = push.pub.offset
        if push == Push():
            self.pings += 1
            return
        self.pushes.append(push)

    def _note(self, channel: str, result: messages.SubscribeResult) -> None:
        if result.positioned or result.recoverable:
            missed = result.publications
            offset = missed[-1].offset if missed else result.offset
            self.positions[channel] = StreamPosition(offset, result.epoch)

    def _pong(self) -> None:
        if not self.session.closed:
            self.session.receive(self._encode(Command()))

    # -- commands

    def send_raw(self, frame: bytes) -> None:
        """Sends one frame as it is."""
        self.transport.cork()
        self.session.receive(frame)
        self.transport.uncork()

    def send(self, **request: Any) -> int:
        """Sends one command, such as ``publish={"channel": "x", "data": 1}``; returns its id.

        The request is a dictionary, or a request message of :mod:`flyball.protocol.messages`.
        """
        self._ids += 1
        command = _command(self._ids, request)
        if command.subscribe is not None:
            self._channels[self._ids] = command.subscribe.channel
        self.send_raw(self._encode(command))
        return self._ids

    async def request(self, **request: Any) -> Reply:
        """Sends one command and waits, some turns of the event loop at most, for its reply."""
        number = self.send(**request)
        return await self.reply(number)

    async def reply(self, number: int) -> Reply:
        """The reply to the command that :meth:`send` gave ``number``."""
        for _ in range(REPLY_TURNS):
            reply = self.replies.pop(number, None)
            if reply is not None:
                if reply.error is not None:
                    error = reply.error
                    refused = Error(error.code, error.message, temporary=error.temporary)
                    raise refused from FAILURES.take(self.session.client_id)
                return reply
            if self.transport.closed_by is not None:
                raise self.transport.closed_by from FAILURES.take(self.session.client_id)
            await asyncio.sleep(0)
        message = f"no reply to command {number}"
        raise NoReplyError(message)

    async def connect(self, token: str = "", **fields: Any) -> messages.ConnectResult:
        """Connects; other fields are those of ``ConnectRequest``."""
        reply = await self.request(connect={"token": token, **fields})
        assert reply.connect is not None
        return reply.connect

    def connect_unidirectional(self, token: str = "", **fields: Any) -> None:
        """Opens a unidirectional connection; its ``connect`` push is in :attr:`pushes`."""
        request = _request(messages.ConnectRequest, {"token": token, **fields})
        self.session.connect_unidirectional(request)

    async def subscribe(
        self, channel: str, *, recover: bool = False, **fields: Any
    ) -> messages.SubscribeResult:
        """Subscribes; ``recover`` asks for what was missed since the known position."""
        if recover and "offset" not in fields and "epoch" not in fields:
            position = self.positions.get(channel, StreamPosition())
            fields |= {"offset": position.offset, "epoch": position.epoch}
        reply = await self.request(subscribe={"channel": channel, "recover": recover, **fields})
        assert reply.subscribe is not None
        return reply.subscribe

    async def unsubscribe(self, channel: str) -> None:
        """Ends a subscription."""
        await self.request(unsubscribe={"channel": channel})

    async def publish(self, channel: str, data: Payload) -> None:
        """Publishes."""
        await self.request(publish=messages.PublishRequest(channel, to_payload(data)))

    async def presence(self, channel: str) -> dict[str, messages.ClientInfo]:
        """Client id to info of everybody in ``channel``."""
        reply = await self.request(presence={"channel": channel})
        assert reply.presence is not None
        return reply.presence.presence

    async def presence_stats(self, channel: str) -> messages.PresenceStatsResult:
        """How many are in ``channel``."""
        reply = await self.request(presence_stats={"channel": channel})
        assert reply.presence_stats is not None
        return reply.presence_stats

    async def history(self, channel: str, **fields: Any) -> messages.HistoryResult:
        """Reads history; ``limit``, ``since`` and ``reverse`` as in ``HistoryRequest``."""
        reply = await self.request(history={"channel": channel, **fields})
        assert reply.history is not None
        return reply.history

    async def rpc(self, method: str, data: Payload = None) -> Data:
        """Calls a method; returns the data of its answer."""
        reply = await self.request(rpc=messages.RPCRequest(to_payload(data), method))
        assert reply.rpc is not None
        return Data(reply.rpc.data)

    async def refresh(self, token: str) -> messages.RefreshResult:
        """Prolongs the connection."""
        reply = await self.request(refresh={"token": token})
        assert reply.refresh is not None
        return reply.refresh

    async def sub_refresh(self, channel: str, token: str) -> messages.SubRefreshResult:
        """Prolongs a subscription."""
        reply = await self.request(sub_refresh={"channel": channel, "token": token})
        assert reply.sub_refresh is not None
        return reply.sub_refresh

    def message(self, data: Payload) -> None:
        """Sends a message that has no reply."""
        command = Command(send=messages.SendRequest(to_payload(data)))
        self.send_raw(self._encode(command))

    def _encode(self, command: Command) -> bytes:
        codec = self._framing.codec
        return codec.join((codec.encode_command(command),))


def _request(kind: type[Any], request: Any) -> Any:
    """A request message from a dictionary of its fields."""
    return msgspec.json.decode(msgspec.json.encode(request), type=kind)


def _command(number: int, request: dict[str, Any]) -> Command:
    ready = {k: v for k, v in request.items() if isinstance(v, msgspec.Struct)}
    plain = {k: v for k, v in request.items() if k not in ready}
    command: Command = _request(Command, {"id": number, **plain})
    for name, message in ready.items():
        setattr(command, name, message)
    return command

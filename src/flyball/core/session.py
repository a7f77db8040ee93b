"""A session: one connection's life as a state machine.

The topics live in files of their own (connect, subscribe, commands, refresh); this one has
the state, the order of commands, replies, timers and the end.
"""

from __future__ import annotations

import logging
from time import perf_counter
from typing import TYPE_CHECKING, Any, Final, Protocol, TypeAlias

from flyball.aio.eager import start_eagerly
from flyball.core.connection import Connection, SubscriptionInfo
from flyball.core.errors import Disconnect, Error
from flyball.core.ids import new_id
from flyball.core.inbox import WAITS, Inbox
from flyball.core.metrics import UNKNOWN
from flyball.core.refusals import FAULTS
from flyball.core.session_state import LISTENING, TRANSITIONS, SessionState
from flyball.core.types import NO_DATA, ClientInfo, Raw
from flyball.protocol import codes, messages
from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.codes import DisconnectCode
from flyball.protocol.messages import Push, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Mapping, Sequence

    from flyball.core.options import NodeOptions
    from flyball.core.runtime import Runtime
    from flyball.core.subscription import Subscription
    from flyball.core.transport import Transport
    from flyball.protocol.messages import Command, ConnectRequest

logger: Final = logging.getLogger("flyball.core")

LINGER = 5.0
"""Seconds until the transport is dropped after an error reply to connect."""
NEVER = float("inf")
UNREGISTERED = "unregistered"
"""Stands in metrics for every name that the client gave itself."""
UNANNOUNCED = (3000, 3008)
"""The client went away, or does not read: nothing is announced by a push."""

UNIDIRECTIONAL_DISCONNECTS: dict[int, DisconnectCode] = {
    codes.TOKEN_EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.EXPIRED.code: codes.DISCONNECT_EXPIRED,
    codes.TOO_MANY_REQUESTS.code: codes.DISCONNECT_TOO_MANY_REQUESTS,
    codes.PERMISSION_DENIED.code: codes.DISCONNECT_PERMISSION_DENIED,
}
"""A connect error as a disconnect, where there are no replies; all others are 3004."""

CommandHandler: TypeAlias = "Callable[[Session, Any, int], Coroutine[Any, Any, Reply | None]]"
"""Handles a request of a session; the number is the command's id."""
CommandTable: TypeAlias = "Sequence[tuple[str, CommandHandler]]"
"""Field of a command to its handler. If several are set the first one in this order wins."""


class SessionOwner(Protocol):
    """What a session tells whoever opened it."""

    @property
    def commands(self) -> CommandTable:
        """What a client may ask."""

    def refused(self, session: Session) -> None:
        """Connect was answered with an error."""

    def ended(self, session: Session, disconnect: Disconnect, *, connected: bool) -> None:
        """The session is closed; ``connected``: it was connected before."""

    def expired(self, session: Session) -> None:
        """The connection's time is over, unless the program prolongs it."""

    def maintain(self, session: Session) -> None:
        """The session's presence interval has passed."""


class Session:
    """One client connection. Transports feed it; handlers see its :attr:`connection`."""

    __slots__ = (
        "_busy",
        "_expire_deadline",
        "_inbox",
        "_next_ping",
        "_next_presence",
        "_owner",
        "_ping_sent_at",
        "_pong_deadline",
        "_remote_addr",
        "_runtime",
        "_stale_deadline",
        "client_id",
        "client_side_refresh",
        "connected_at",
        "connection",
        "emulated_headers",
        "expire_at",
        "headers",
        "info",
        "latency",
        "meta",
        "name",
        "session_id",
        "state",
        "storage",
        "subscriptions",
        "timer_tick",
        "transport",
        "user",
        "version",
    )

    def __init__(
        self,
        runtime: Runtime,
        owner: SessionOwner,
        transport: Transport,
        headers: Mapping[str, str] | None = None,
        remote_addr: str = "",
    ) -> None:
        self._runtime = runtime
        self._owner = owner
        self.transport: Transport = transport
        self.connection: Connection = Connection(self)
        """What handlers see of this session."""
        self.headers: Mapping[str, str] | None = headers
        """Headers of the request that opened the connection, names in lower case."""
        self._remote_addr = remote_addr
        self.emulated_headers: Mapping[str, str] | None = None
        """Headers that the client sent inside its connect command."""
        self.client_id: str = new_id()
        self.session_id: str = (
            new_id() if transport.emulation or transport.framing.unidirectional else ""
        )
        self.user: str = ""
        self.info: Raw = NO_DATA
        self.meta: Any = None
        self.storage: dict[str, Any] | None = None
        """For handlers; None as long as nothing is kept."""
        self.name: str = ""
        self.version: str = ""
        self.state: SessionState = SessionState.NEW
        self.subscriptions: dict[str, Subscription] = {}
        """Channel to subscription, unfinished ones included."""
        self.expire_at: float = 0.0
        """Unix seconds when the connection ends unless refreshed, 0 never."""
        self.connected_at: float = 0.0
        """Unix seconds; 0 before it is connected."""
        self.latency: float = 0.0
        """Seconds between the last ping that was answered and its pong; 0 before there is one."""
        self.client_side_refresh: bool = True
        self.timer_tick: int = 0
        self._busy = 0
        self._inbox: Inbox | None = None
        """What waits, if anything does."""
        self._next_ping = NEVER
        self._pong_deadline = NEVER
        self._ping_sent_at = 0.0
        self._next_presence = NEVER
        self._expire_deadline = NEVER
        self._stale_deadline = NEVER
        delay = runtime.options.stale_close_delay
        if delay:
            self._stale_deadline = runtime.clock.monotonic() + delay
            runtime.timers.arm(self, self._stale_deadline)

    def __repr__(self) -> str:
        return f"<Session {self.client_id} user={self.user!r} {self.state.value}>"

    @property
    def closed(self) -> bool:
        """The session ended; nothing is sent any more."""
        return self.state is SessionState.CLOSED

    def become(self, state: SessionState) -> None:
        """Takes the next state."""
        assert state in TRANSITIONS[self.state], (self.state, state)
        if self.is_stranger:
            self._runtime.held.free(self)
        self.state = state

    @property
    def remote_addr(self) -> str:
        """``host:port`` of the peer, empty if it is not known."""
        return self._remote_addr or self.transport.remote_address()

    @property
    def client_label(self) -> str:
        """The client's name in metrics: strangers choose it, so only whether it has one."""
        return UNREGISTERED if self.name else "unnamed"

    @property
    def metrics_key(self) -> tuple[str, str, str]:
        """Transport, client's name and version: the labels of its metrics."""
        version = UNREGISTERED if self.version else "unversioned"
        return self.transport.name, self.client_label, version

    @property
    def unidirectional(self) -> bool:
        """It only receives."""
        return self.transport.framing.unidirectional

    def is_subscribed(self, channel: str) -> bool:
        """Whether it has a live subscription to ``channel``."""
        sub = self.subscriptions.get(channel)
        return sub is not None and sub.live

    def subscription_info(self, channel: str) -> SubscriptionInfo | None:
        """Its live subscription to ``channel``, for handlers."""
        sub = self.subscriptions.get(channel)
        if sub is None or not sub.live:
            return None
        return SubscriptionInfo(channel, sub.options, sub.source, sub.server_side, sub.expire_at)

    def live_channels(self) -> frozenset[str]:
        """Channels of its live subscriptions."""
        return frozenset(name for name, sub in self.subscriptions.items() if sub.live)

    @property
    def client_info(self) -> ClientInfo:
        """What other clients see of this one."""
        return ClientInfo(user=self.user, client=self.client_id, conn_info=self.info)

    # -- input, from the transport

    def receive(self, frame: bytes) -> None:
        """Handles one frame of commands, in order.

        They are decoded one by one, each when its turn has come: nothing behind a connect that
        is not answered yet, or behind the end of the session, costs anything.
        """
        if self._inbox is not None:
            self._inbox.add(frame)
            self._count_held()
            return
        if not self.listens:
            return
        position = 0
        if self.is_free:
            position = self.carry_out(frame, 0)
            if position >= len(frame):
                return
        self._inbox = inbox = Inbox(self, frame, max(position, 0))
        inbox.work()
        self._count_held()

    def _count_held(self) -> None:
        """What a client sends behind a connect that is not answered yet fills a common room."""
        if self.is_stranger and self._inbox is not None:
            self._runtime.held.hold(self, self._inbox.size)

    @property
    def is_stranger(self) -> bool:
        """It is not known yet who the client is."""
        return self.state is SessionState.NEW

    def give_up(self) -> None:
        """See :meth:`Holder.give_up <flyball.aio.held.Holder.give_up>`."""
        self._end(codes.DISCONNECT_TOO_MANY_REQUESTS, "too much sent before connect was answered")

    def connect_unidirectional(self, request: ConnectRequest) -> None:
        """Opens a unidirectional connection: its only command."""
        if self.listens:
            self._execute(messages.Command(id=1, connect=request), 0)

    def handle_pong(self) -> None:
        """The client answered a ping."""
        if self._pong_deadline == NEVER:
            self._end(codes.DISCONNECT_BAD_REQUEST, "pong without a ping")
            return
        self.latency = self._runtime.clock.monotonic() - self._ping_sent_at
        self._runtime.metrics.ping_pong_duration[self.transport.name].observe(self.latency)
        self._pong_deadline = NEVER
        self.arm()

    def connection_lost(self, why: str = "") -> None:
        """The client went away, or its transport ended it: then ``why``, which the log is told."""
        self.transport.mark_closed()
        disconnect = Disconnect(codes.DISCONNECT_CONNECTION_CLOSED, detail=why)
        if why and not self.closed:
            self._runtime.refusals.log(self, "connection", disconnect, None)
        self._finish(disconnect)

    # -- order of commands

    @property
    def listens(self) -> bool:
        """Commands are taken."""
        return self.state in LISTENING

    @property
    def is_free(self) -> bool:
        """The next command may begin now. Nothing overtakes the connect command."""
        busy = self._busy
        if not busy:
            return self.state in LISTENING
        return self.state is SessionState.CONNECTED and busy < self._runtime.options.concurrency

    def carry_out(self, frame: bytes, position: int) -> int:
        """See :meth:`CommandTaker.carry_out <flyball.core.inbox.CommandTaker.carry_out>`."""
        try:
            command, after = self.transport.framing.codec.decode_command(frame, position)
        except DecodeError as error:
            if self._busy:
                return WAITS  # no error overtakes a command
            self._end(codes.DISCONNECT_BAD_REQUEST, str(error))
            return len(frame)
        self._execute(command, after - position)
        return after if self.state in LISTENING else len(frame)

    def overrun(self, detail: str) -> None:
        """More waits than may (called by the inbox)."""
        self._end(codes.DISCONNECT_TOO_MANY_REQUESTS, detail)

    def emptied(self) -> None:
        """Nothing waits any more (called by the inbox)."""
        self._inbox = None

    def _execute(self, item: Command, size: int) -> None:
        connected = self.state is SessionState.CONNECTED
        if item.id == 0 and item.send is None:
            if connected:
                self._count_received("client_pong", size)
            self.handle_pong()
            return
        method, handler, request = find_request(self._owner.commands, item)
        if request is None:
            if connected:
                self._count_received(UNKNOWN, size)
            self._end(codes.DISCONNECT_BAD_REQUEST, f"command {item.id} has no known request")
            return
        if method != "connect" and not connected:
            self._end(codes.DISCONNECT_BAD_REQUEST, f"{method} before connect")
            return
        self._count_received(method, size)
        if method == "connect" and connected:
            self._runtime.metrics.command_duration[method].observe(0.0)
            self._end(codes.DISCONNECT_BAD_REQUEST, "a second connect command")
            return
        self._busy += 1
        work = start_eagerly(self._run(method, request, handler(self, request, item.id), item.id))
        if work is not None:
            self._runtime.tasks.track_task(work, f"{method} of client {self.client_id}")

    def _count_received(self, kind: str, size: int) -> None:
        if size:  # the request of a unidirectional connection is no message
            traffic = self._runtime.metrics.received[self.transport.name][kind]
            traffic.messages += 1
            traffic.bytes += size

    async def _run(
        self, method: str, request: Any, handling: Coroutine[Any, Any, Reply | None], id_: int
    ) -> None:
        start = perf_counter()
        try:
            reply = await handling
            if reply is not None:
                self.reply(reply, method)
        except Error as error:
            self._runtime.refusals.log(self, method, error, request)
            self.reply_error(error, method, id_)
        except Disconnect as disconnect:
            self._runtime.refusals.log(self, method, disconnect, request)
            self.disconnect(disconnect)
        except EncodeError as error:
            self._end(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL, str(error))
        except Exception as error:  # noqa: BLE001 - the root of a command's work: logged
            message = "%s of client %s failed"
            failures = self._runtime.failures
            failures.log_failure(logger, method, error, message, method, self.client_id)
            if method == "connect":
                self._end(codes.DISCONNECT_SERVER_ERROR, "")
            else:
                self.reply_error(Error(codes.INTERNAL), method, id_)
        finally:
            self._busy -= 1
            if not self.unidirectional:
                self._runtime.metrics.command_duration[method].observe(perf_counter() - start)
        if self._inbox is not None:
            self._inbox.resume()

    # -- output

    def reply(self, reply: Reply, method: str) -> None:
        """Sends one reply."""
        if self.state is SessionState.CLOSED:
            return
        try:
            message = self.transport.framing.codec.encode_reply(reply)
        except EncodeError as error:
            self._end(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL, str(error))
            return
        self._send(message, method)

    def reply_published(self, id_: int) -> None:
        """Sends the result of a publish: always the same, but for the id."""
        if self.state is not SessionState.CLOSED:
            self._send(self.transport.framing.codec.encode_publish_reply(id_), "publish")

    def push(self, push: Push, kind: str) -> None:
        """Sends one push to this client only."""
        if self.state is SessionState.CLOSED:
            return
        try:
            message = self.transport.framing.push_message(push)
        except EncodeError as error:
            self._end(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL, str(error))
            return
        self._send(message, kind)

    def reply_error(self, error: Error, method: str, id_: int) -> None:
        """Refuses one command; after a refused connect the connection is dead."""
        if self.closed:
            return
        self._runtime.metrics.reply_errors[method, error.code] += 1
        if not id_:
            return  # a message without a reply
        if method == "connect" and self.unidirectional:
            self.disconnect(unidirectional_disconnect(self._runtime.options, error))
            return
        answer = messages.Error(error.code, error.message, error.temporary)
        self.reply(Reply(id=id_, error=answer), method)
        if method == "connect" and not self.closed:
            self.become(SessionState.REFUSED)
            self._owner.refused(self)
            self.transport.linger(LINGER)

    def _send(self, message: bytes, kind: str) -> None:
        traffic = self._runtime.metrics.sent[self.transport.name][kind]
        traffic.messages += 1
        traffic.bytes += len(message)
        self.transport.send_message(message)

    # -- timers

    @property
    def ping_interval(self) -> float:
        """Seconds between pings; 0 for none."""
        own = self.transport.ping_interval
        return self._runtime.options.ping_interval if own is None else own

    def started(self) -> None:
        """The session is connected: pings and expiry begin."""
        interval, now = self.ping_interval, self._runtime.clock.monotonic()
        self._stale_deadline = NEVER
        self.connected_at = self._runtime.clock.time()
        if interval:
            self._next_ping = now + self._runtime.spread(interval)
        self.arm()
        if logger.isEnabledFor(logging.DEBUG):
            name = self.transport.name
            logger.debug("client %s of %s connected: user %r", self.client_id, name, self.user)

    def set_expiry(self, expire_at: float) -> None:
        """The connection ends at ``expire_at`` (Unix seconds, 0 never) unless refreshed."""
        self.expire_at = expire_at
        if not expire_at:
            self._expire_deadline = NEVER
            return
        clock = self._runtime.clock
        delay = self._runtime.options.expired_close_delay if self.client_side_refresh else 0.0
        self._expire_deadline = clock.monotonic() + (expire_at - clock.time()) + delay

    def want_presence_tick(self) -> None:
        """There are subscriptions: they are looked after every presence interval."""
        if self._next_presence == NEVER and self.state is SessionState.CONNECTED:
            interval = self._runtime.options.presence_update_interval
            self._next_presence = self._runtime.clock.monotonic() + self._runtime.spread(interval)
            self.arm()

    def check_positions_soon(self) -> None:
        """The link between nodes was down: do not wait for the next regular check."""
        for sub in self.subscriptions.values():
            sub.checked_at = float("-inf")
        if self.subscriptions:
            self._next_presence = self._runtime.clock.monotonic()
            self.arm()

    def arm(self) -> None:
        """Sets the timer to whatever is due first."""
        due = min(
            self._next_ping,
            self._pong_deadline,
            self._next_presence,
            self._expire_deadline,
            self._stale_deadline,
        )
        if due == NEVER or self.state is SessionState.CLOSED:
            self._runtime.timers.cancel(self)
        else:
            self._runtime.timers.arm(self, due)

    def on_timer(self, now: float) -> None:
        """Does what is due (called by the timer wheel)."""
        if self.closed:
            return
        if now >= self._stale_deadline:
            self._end(codes.DISCONNECT_STALE, "no connect command in time")
            return
        if now >= self._pong_deadline:
            self._end(codes.DISCONNECT_NO_PONG, "")
            return
        if now >= self._expire_deadline:
            self._expire_deadline = NEVER
            self._owner.expired(self)
            if self.closed:
                return
        if now >= self._next_ping:
            self._ping(now)
        if now >= self._next_presence:
            if self.subscriptions:
                self._next_presence = now + self._runtime.options.presence_update_interval
                self._owner.maintain(self)
            else:
                self._next_presence = NEVER
        self.arm()

    def look_again(self, delay: float) -> None:
        """Asks for a presence tick within ``delay`` seconds."""
        self._next_presence = min(self._next_presence, self._runtime.clock.monotonic() + delay)
        self.arm()

    def _ping(self, now: float) -> None:
        options, transport = self._runtime.options, self.transport
        self._next_ping = now + self.ping_interval
        if not transport.app_ping:
            return
        self._send(transport.framing.ping, "server_ping")
        if options.pong_timeout and not self.unidirectional:
            self._ping_sent_at = now
            self._pong_deadline = now + options.pong_timeout

    # -- the end

    def disconnect(self, disconnect: Disconnect) -> None:
        """Ends the connection with a code, after what is already queued.

        Whatever fails on the way, the transport is closed.
        """
        if self.closed:
            return
        try:
            if self.transport.disconnect_push and disconnect.code not in UNANNOUNCED:
                answer = messages.Disconnect(code=disconnect.code, reason=disconnect.reason)
                self.push(Push(disconnect=answer), "push_disconnect")
            self._finish(disconnect)
        except Exception:
            logger.exception("the end of client %s went wrong", self.client_id)
            self.state = SessionState.CLOSED
        self.transport.close(disconnect)

    def _end(self, code: DisconnectCode, detail: str) -> None:
        disconnect = Disconnect(code, detail=detail)
        if code.code in FAULTS:
            self._runtime.refusals.log(self, "connection", disconnect, None)
        self.disconnect(disconnect)

    def close_slow(self) -> None:
        """The client reads too slowly. Returns at once; the session ends in the next loop turn."""
        self._runtime.tasks.soon(self.disconnect, Disconnect(codes.DISCONNECT_SLOW))

    def _finish(self, disconnect: Disconnect) -> None:
        if self.closed:
            return
        connected = self.state is SessionState.CONNECTED
        self.become(SessionState.CLOSED)
        self._inbox = None
        self._runtime.timers.cancel(self)
        if logger.isEnabledFor(logging.DEBUG):
            logger.debug(
                "client %s of %s disconnected: %s", self.client_id, self.transport.name, disconnect
            )
        self._owner.ended(self, disconnect, connected=connected)


def find_request(
    commands: CommandTable, command: Command
) -> tuple[str, CommandHandler, Any | None]:
    """The request that counts: the first one set, in the order of the table."""
    for method, handler in commands:
        request = getattr(command, method)
        if request is not None:
            return method, handler, request
    return *commands[0], None


def unidirectional_disconnect(options: NodeOptions, error: Error) -> Disconnect:
    """A connect error as a disconnect, for transports without replies."""
    code = options.uni_connect_disconnects.get(error.code)
    if code is None:
        code = UNIDIRECTIONAL_DISCONNECTS.get(error.code, codes.DISCONNECT_SERVER_ERROR)
    return Disconnect(code, detail=str(error), error=error)

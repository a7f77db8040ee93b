"""The sessions and subscriptions of this node, and the loop that delivers publications."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from flyball.core.delivery import Delivery
from flyball.core.errors import Disconnect
from flyball.core.subscription import NO_BASE, Buffered
from flyball.protocol import codes
from flyball.protocol.codec import EncodeError
from flyball.protocol.messages import Join, Leave, Push, StreamPosition

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flyball.core.metrics import Traffic
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription
    from flyball.core.transport import Framing
    from flyball.core.types import ClientInfo, Publication

NOWHERE: Final = StreamPosition()
"""The position of what is in no stream."""
PUBLICATION: Final = "push_publication"
"""The frame type of publications in metrics."""


class Listener(Protocol):
    """A part of this program that subscribes."""

    def take(self, publication: Publication, position: StreamPosition) -> None:
        """A publication of the channel; never raises."""

    def check(self) -> None:
        """The link between nodes was down: publications may be missing."""

    def stop(self) -> None:
        """The node is shut down: nothing comes any more."""


class SubscriberGroup:
    """Subscribers of one channel that share a framing: the same bytes suit many of them."""

    __slots__ = ("individual", "plain", "positioned", "sent")

    def __init__(self, sent: Traffic) -> None:
        self.plain: dict[Subscription, None] = {}
        """Every publication, no questions."""
        self.positioned: dict[Subscription, None] = {}
        """Every publication, with a check of the offset."""
        self.individual: dict[Subscription, None] = {}
        """Delta, a filter, or a subscribe that is not finished."""
        self.sent: Traffic = sent
        """Counts their publications: those who share a framing share a transport's name."""

    def members(self, sub: Subscription) -> dict[Subscription, None]:
        """The set that ``sub`` belongs to in its present state."""
        if sub.individual:
            return self.individual
        return self.positioned if sub.positioned else self.plain

    def remove(self, sub: Subscription) -> None:
        """Takes ``sub`` out of whichever set holds it."""
        for members in (self.plain, self.positioned, self.individual):
            members.pop(sub, None)

    def __len__(self) -> int:
        return len(self.plain) + len(self.positioned) + len(self.individual)

    def __iter__(self) -> Iterator[Subscription]:
        yield from self.plain
        yield from self.positioned
        yield from self.individual


class Channel:
    """One channel that has subscribers on this node."""

    __slots__ = ("groups", "listeners", "read_from", "top", "top_at")

    def __init__(self) -> None:
        self.groups: dict[Framing, SubscriberGroup] = {}
        self.listeners: list[Listener] = []
        self.top: StreamPosition | None = None
        """Top of the stream as last read for position checks, at monotonic ``top_at``."""
        self.top_at: float = 0.0
        self.read_from: float = 0.0
        """What was read of it before this monotonic time says nothing any more."""

    @property
    def num_subscribers(self) -> int:
        """Number of subscriptions."""
        return sum(map(len, self.groups.values()))

    @property
    def empty(self) -> bool:
        """Nobody is left."""
        return not self.groups and not self.listeners


class Hub:
    """All sessions and subscriptions of one node."""

    __slots__ = (
        "_lag_limit",
        "_metrics",
        "_monotonic",
        "_on_lost",
        "by_session_id",
        "channels",
        "num_subscriptions",
        "sessions",
        "users",
    )

    def __init__(
        self, runtime: Runtime, on_lost: Callable[[Subscription, Disconnect | None], None]
    ) -> None:
        """``on_lost`` is told of a subscription that missed something, or whose session must end."""
        self.sessions: dict[str, Session] = {}
        """Client id to session, connected ones only."""
        self.by_session_id: dict[str, Session] = {}
        """Session id to session: emulation and unidirectional transports."""
        self.users: dict[str, dict[Session, None]] = {}
        self.channels: dict[str, Channel] = {}
        self.num_subscriptions: int = 0
        self._metrics = runtime.metrics
        self._monotonic = runtime.clock.monotonic
        self._on_lost = on_lost
        self._lag_limit = runtime.options.channel_position_max_time_lag

    # -- sessions

    @property
    def num_clients(self) -> int:
        """Connected sessions."""
        return len(self.sessions)

    @property
    def num_users(self) -> int:
        """Distinct users, anonymous ones counting as one."""
        return len(self.users)

    @property
    def num_channels(self) -> int:
        """Channels with subscribers on this node."""
        return len(self.channels)

    def add_session(self, session: Session) -> None:
        """Makes a connected session known."""
        self.sessions[session.client_id] = session
        self.users.setdefault(session.user, {})[session] = None
        if session.session_id:
            self.by_session_id[session.session_id] = session

    def remove_session(self, session: Session) -> None:
        """Forgets a session; harmless if it was not known."""
        if self.sessions.pop(session.client_id, None) is None:
            return
        if session.session_id:
            self.by_session_id.pop(session.session_id, None)
        same_user = self.users[session.user]
        del same_user[session]
        if not same_user:
            del self.users[session.user]

    def sessions_of(self, user: str, client: str = "", session_id: str = "") -> list[Session]:
        """Sessions of ``user``, narrowed to a client id and a session id if given."""
        return [
            s
            for s in self.users.get(user, ())
            if (not client or s.client_id == client)
            and (not session_id or s.session_id == session_id)
        ]

    # -- subscriptions

    def add_subscription(self, sub: Subscription) -> bool:
        """Adds ``sub``; True if it is the first of its channel."""
        channel = self.channels.get(sub.channel)
        first = channel is None
        if channel is None:
            channel = self.channels[sub.channel] = Channel()
        framing = sub.transport.framing
        group = channel.groups.get(framing)
        if group is None:
            traffic = self._metrics.sent[sub.transport.name][PUBLICATION]
            group = channel.groups[framing] = SubscriberGroup(traffic)
        group.members(sub)[sub] = None
        self.num_subscriptions += 1
        return first

    def remove_subscription(self, sub: Subscription) -> bool:
        """Removes ``sub``; True if nobody is left in the channel."""
        channel = self.channels.get(sub.channel)
        if channel is None:
            return False
        framing = sub.transport.framing
        group = channel.groups.get(framing)
        if group is None:
            return False
        before = len(group)
        group.remove(sub)
        self.num_subscriptions -= before - len(group)
        if not len(group):
            del channel.groups[framing]
        return self._drop_if_empty(sub.channel, channel)

    def regroup(self, sub: Subscription) -> None:
        """Puts ``sub`` where it belongs after its ``individual`` state changed."""
        channel = self.channels.get(sub.channel)
        group = channel.groups.get(sub.transport.framing) if channel else None
        if group is not None:
            group.remove(sub)
            group.members(sub)[sub] = None

    def add_listener(self, name: str, listener: Listener) -> bool:
        """Adds a part of this program as a subscriber; True if it is the channel's first."""
        channel = self.channels.get(name)
        first = channel is None
        if channel is None:
            channel = self.channels[name] = Channel()
        channel.listeners.append(listener)
        return first

    def remove_listener(self, name: str, listener: Listener) -> bool:
        """Removes a listener; True if nobody is left in the channel."""
        channel = self.channels.get(name)
        if channel is None or listener not in channel.listeners:
            return False
        channel.listeners.remove(listener)
        return self._drop_if_empty(name, channel)

    def _drop_if_empty(self, name: str, channel: Channel) -> bool:
        if not channel.empty:
            return False
        self.channels.pop(name, None)
        return True

    def forget_tops(self) -> None:
        """Positions of streams, read or being read, are from before a link was lost."""
        now = self._monotonic()
        for channel in self.channels.values():
            channel.top = None
            channel.read_from = now

    def listeners(self) -> list[Listener]:
        """All parts of this program that subscribe."""
        return [x for channel in self.channels.values() for x in channel.listeners]

    # -- delivery

    def broadcast(
        self,
        name: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
        lag: float | None = None,
    ) -> None:
        """Delivers one publication to all subscribers of this node.

        Encodes once for each framing among them. Sending never calls back into sessions or
        the hub, so the sets stand still during the loops.
        """
        channel = self.channels.get(name)
        if channel is None:
            return
        now = self._monotonic()
        delivery = Delivery(name, publication, position, previous if delta else None, now)
        if lag is not None:
            self._metrics.pub_sub_lag.observe(lag)
            delivery.lagging = 0 < self._lag_limit < lag
        for framing, group in channel.groups.items():
            try:
                if group.plain:
                    frame, size = delivery.plain(framing)
                    for sub in group.plain:
                        sub.transport.send(frame)
                    group.sent.count(len(group.plain), size)
                if group.positioned:
                    frame, size = delivery.plain(framing)
                    group.sent.count(self._to_positioned(group, delivery, frame), size)
                if group.individual:
                    self._to_individual(group, delivery)
            except EncodeError:
                self._refuse(group, delivery)
        for listener in tuple(channel.listeners):
            listener.take(publication, position)
        for sub in delivery.lost:
            self._on_lost(sub, None)
        self._metrics.broadcast_duration["publication"].observe(self._monotonic() - now)

    def _to_positioned(self, group: SubscriberGroup, delivery: Delivery, frame: bytes) -> int:
        offset, epoch, now = delivery.publication.offset, delivery.position.epoch, delivery.now
        sent = 0
        for sub in group.positioned:
            # The usual case of Subscription.advance, written out.
            if sub.offset + 1 == offset and sub.epoch == epoch and not delivery.lagging:
                sub.offset = offset
                sub.checked_at = now
            elif epoch:
                step = None if delivery.lagging else sub.advance(offset, epoch, now)
                if step is None:
                    delivery.lost.append(sub)
                if not step:
                    continue
            sub.transport.send(frame)
            sent += 1
        return sent

    def _to_individual(self, group: SubscriberGroup, delivery: Delivery) -> None:
        offset, epoch, now = delivery.publication.offset, delivery.position.epoch, delivery.now
        for sub in group.individual:
            if sub.buffer is not None:
                sub.buffer.append(
                    Buffered(delivery.publication, delivery.position, delivery.previous)
                )
                continue
            if sub.positioned and epoch:
                step = None if delivery.lagging else sub.advance(offset, epoch, now)
                if step is None:
                    delivery.lost.append(sub)
                if not step:
                    continue
            self._send_individual(sub, delivery, group.sent)

    def deliver_buffered(self, sub: Subscription, buffered: Buffered) -> bool:
        """Sends what arrived during the subscribe; False if it shows a hole in the stream."""
        transport = sub.transport
        if buffered.push is not None:
            message = transport.framing.push_message(buffered.push)
            transport.send(transport.framing.frame((message,)))
            kind = "push_leave" if buffered.push.join is None else "push_join"
            self._metrics.sent[transport.name][kind].count(1, len(message))
            return True
        publication, position = buffered.publication, buffered.position
        assert publication is not None
        assert position is not None
        if sub.positioned and position.epoch:
            step = sub.advance(publication.offset, position.epoch, self._monotonic())
            if not step:
                return step is False
        self._deliver_alone(sub, publication, position, buffered.previous)
        return True

    def deliver_to(self, sub: Subscription, publication: Publication) -> None:
        """Sends a publication that is in no stream to one subscriber."""
        self._deliver_alone(sub, publication, NOWHERE, None)

    def _deliver_alone(
        self,
        sub: Subscription,
        publication: Publication,
        position: StreamPosition,
        previous: Publication | None,
    ) -> None:
        delivery = Delivery(sub.channel, publication, position, previous, self._monotonic())
        try:
            sent = self._metrics.sent[sub.transport.name][PUBLICATION]
            self._send_individual(sub, delivery, sent)
        except EncodeError:
            self._on_lost(sub, Disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL))

    def _send_individual(self, sub: Subscription, delivery: Delivery, sent: Traffic) -> None:
        if sub.tags_filter is not None and not delivery.matches(sub.tags_filter):
            self._metrics.tags_filter_dropped += 1
            return
        framing = sub.transport.framing
        if not sub.delta:
            frame, size = delivery.plain(framing)
            sub.transport.send(frame)
            sent.count(1, size)
            return
        previous = delivery.previous
        # A patch only against the very value this client holds: a filter, or the end of a
        # recovery, may have left it with another one, or none.
        patch = sub.positioned and previous is not None and previous.offset == sub.base_offset
        frame, size = delivery.delta(framing, patch=patch)
        sub.transport.send(frame)
        sent.count(1, size)
        sub.base_offset = delivery.publication.offset or NO_BASE

    def _refuse(self, group: SubscriberGroup, delivery: Delivery) -> None:
        # Binary data in a channel with JSON clients: those cannot be told.
        for sub in list(group):
            if sub.buffer is None:
                self._on_lost(sub, Disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL))
            else:  # finds it out after its subscribe reply
                sub.buffer.append(Buffered(delivery.publication, delivery.position))

    def broadcast_join_leave(self, name: str, info: ClientInfo, *, joined: bool) -> None:
        """Delivers a join or a leave to the subscribers that want them."""
        channel = self.channels.get(name)
        if channel is None:
            return
        kind = "push_join" if joined else "push_leave"
        push = Push(channel=name)
        if joined:
            push.join = Join(info=info)
        else:
            push.leave = Leave(info=info)
        for framing, group in channel.groups.items():
            frame = message = b""
            for members in (group.plain, group.positioned, group.individual):
                for sub in members:
                    if not sub.push_join_leave:
                        continue
                    if sub.buffer is not None:
                        sub.buffer.append(Buffered(None, push=push))
                        continue
                    if not frame:
                        message = framing.push_message(push)
                        frame = framing.frame((message,))
                    sub.transport.send(frame)
                    self._metrics.sent[sub.transport.name][kind].count(1, len(message))

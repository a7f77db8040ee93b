"""The sessions and subscriptions of this node, and the loop that delivers publications."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import Disconnect
from flyball.core.subscription import NO_BASE, Held
from flyball.protocol import codes
from flyball.protocol.codec import EncodeError
from flyball.protocol.delta import create_delta
from flyball.protocol.messages import Join, Leave, Push, Reply

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from flyball.core.metrics import Metrics
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription
    from flyball.core.transport import Framing
    from flyball.core.types import ClientInfo, Publication, StreamPosition
    from flyball.protocol.filter import TagsFilter


class SubscriberGroup:
    """Subscribers of one channel that share a framing: the same bytes suit many of them."""

    __slots__ = ("plain", "positioned", "special")

    def __init__(self) -> None:
        self.plain: dict[Subscription, None] = {}
        """Every publication, no questions."""
        self.positioned: dict[Subscription, None] = {}
        """Every publication, with a check of the offset."""
        self.special: dict[Subscription, None] = {}
        """Delta, a filter, or a subscribe that is not finished."""

    def members(self, sub: Subscription) -> dict[Subscription, None]:
        """The set that ``sub`` belongs to in its present state."""
        if sub.special:
            return self.special
        return self.positioned if sub.positioned else self.plain

    def remove(self, sub: Subscription) -> None:
        """Takes ``sub`` out of whichever set holds it."""
        for members in (self.plain, self.positioned, self.special):
            if sub in members:
                del members[sub]
                return

    def __len__(self) -> int:
        return len(self.plain) + len(self.positioned) + len(self.special)

    def __iter__(self) -> Iterator[Subscription]:
        yield from self.plain
        yield from self.positioned
        yield from self.special


class Channel:
    """One channel that has subscribers on this node."""

    __slots__ = ("groups", "listeners", "top", "top_at")

    def __init__(self) -> None:
        self.groups: dict[Framing, SubscriberGroup] = {}
        self.listeners: list[Callable[[Publication, StreamPosition], None]] = []
        """Parts of this program that subscribe."""
        self.top: StreamPosition | None = None
        """Top of the stream as last read for position checks, at monotonic ``top_at``."""
        self.top_at = 0.0

    def subscribers(self) -> Iterator[Subscription]:
        """All subscriptions, in no particular order."""
        for group in self.groups.values():
            yield from group

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
        "_time",
        "by_session_id",
        "channels",
        "num_subscriptions",
        "sessions",
        "users",
    )

    def __init__(
        self,
        metrics: Metrics,
        monotonic: Callable[[], float],
        time: Callable[[], float],
        on_lost: Callable[[Subscription, Disconnect | None], None],
        lag_limit: float = 0.0,
    ) -> None:
        self.sessions: dict[str, Session] = {}
        """Client id to session, connected ones only."""
        self.by_session_id: dict[str, Session] = {}
        """Session id to session: emulation and unidirectional transports."""
        self.users: dict[str, dict[Session, None]] = {}
        self.channels: dict[str, Channel] = {}
        self.num_subscriptions = 0
        self._metrics = metrics
        self._monotonic = monotonic
        self._time = time
        self._on_lost = on_lost
        self._lag_limit = lag_limit

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
        same_user = self.users.get(session.user)
        if same_user is not None:
            same_user.pop(session, None)
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
            group = channel.groups[framing] = SubscriberGroup()
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
        """Puts ``sub`` where it belongs after its ``special`` state changed."""
        channel = self.channels.get(sub.channel)
        group = channel.groups.get(sub.transport.framing) if channel else None
        if group is not None:
            group.remove(sub)
            group.members(sub)[sub] = None

    def add_listener(
        self, name: str, listener: Callable[[Publication, StreamPosition], None]
    ) -> bool:
        """Adds a part of this program as a subscriber; True if it is the channel's first."""
        channel = self.channels.get(name)
        first = channel is None
        if channel is None:
            channel = self.channels[name] = Channel()
        channel.listeners.append(listener)
        return first

    def remove_listener(
        self, name: str, listener: Callable[[Publication, StreamPosition], None]
    ) -> bool:
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

    # -- delivery

    def broadcast(
        self,
        name: str,
        publication: Publication,
        position: StreamPosition,
        *,
        delta: bool = False,
        previous: Publication | None = None,
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
        delivery.lagging = self._lagging(publication)
        for framing, group in channel.groups.items():
            sent = 0
            try:
                if group.plain:
                    frame = delivery.plain_frame(framing)
                    for sub in group.plain:
                        sub.transport.send(frame)
                    sent = len(group.plain)
                if group.positioned:
                    sent += self._to_positioned(group, delivery, delivery.plain_frame(framing))
                if group.special:
                    sent += self._to_special(group, delivery)
            except EncodeError:
                self._refuse(group)
            if sent:
                key = (framing_transport(group), "push_publication")
                self._metrics.transport_sent[key] += sent
                self._metrics.transport_sent_size[key] += sent * delivery.frame_size(framing)
        for listener in tuple(channel.listeners):
            listener(publication, position)
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

    def _to_special(self, group: SubscriberGroup, delivery: Delivery) -> int:
        offset, epoch, now = delivery.publication.offset, delivery.position.epoch, delivery.now
        sent = 0
        for sub in group.special:
            if sub.held is not None:
                sub.held.append(Held(delivery.publication, delivery.position, delivery.previous))
                continue
            if sub.positioned and epoch:
                step = None if delivery.lagging else sub.advance(offset, epoch, now)
                if step is None:
                    delivery.lost.append(sub)
                if not step:
                    continue
            sent += self._send_special(sub, delivery)
        return sent

    def deliver_held(self, sub: Subscription, held: Held) -> bool:
        """Sends what arrived during the subscribe; False if it shows a hole in the stream."""
        if held.push is not None:
            sub.transport.send(push_frame(sub.transport.framing, held.push))
            return True
        publication, position = held.publication, held.position
        assert publication is not None
        assert position is not None
        if sub.positioned and position.epoch:
            step = sub.advance(publication.offset, position.epoch, self._monotonic())
            if not step:
                return step is False
        delivery = Delivery(sub.channel, publication, position, held.previous, self._monotonic())
        try:
            self._send_special(sub, delivery)
        except EncodeError:
            self._on_lost(sub, Disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL))
        return True

    def _send_special(self, sub: Subscription, delivery: Delivery) -> bool:
        if sub.tags_filter is not None and not delivery.matches(sub.tags_filter):
            self._metrics.tags_filter_dropped += 1
            return False
        framing = sub.transport.framing
        if not sub.delta:
            sub.transport.send(delivery.plain_frame(framing))
            return True
        previous = delivery.previous
        # A patch only against the very value this client holds: a filter, or the end of a
        # recovery, may have left it with another one, or none.
        patch = sub.positioned and previous is not None and previous.offset == sub.base_offset
        sub.transport.send(delivery.delta_frame(framing, patch=patch))
        sub.base_offset = delivery.publication.offset or NO_BASE
        return True

    def _lagging(self, publication: Publication) -> bool:
        if not publication.time:
            return False
        lag = self._time() - publication.time / 1000
        self._metrics.pub_sub_lag.observe(max(lag, 0.0))
        return 0 < self._lag_limit < lag

    def _refuse(self, group: SubscriberGroup) -> None:
        # Binary data in a channel with JSON clients: those cannot be told.
        for sub in list(group):
            if sub.held is None:
                self._on_lost(sub, Disconnect(codes.DISCONNECT_INAPPROPRIATE_PROTOCOL))

    def broadcast_join_leave(self, name: str, info: ClientInfo, *, joined: bool) -> None:
        """Delivers a join or a leave to the subscribers that want them."""
        channel = self.channels.get(name)
        if channel is None:
            return
        kind = "join" if joined else "leave"
        push = Push(channel=name)
        if joined:
            push.join = Join(info=info)
        else:
            push.leave = Leave(info=info)
        for framing, group in channel.groups.items():
            frame = b""
            for members in (group.plain, group.positioned, group.special):
                for sub in members:
                    if not sub.push_join_leave:
                        continue
                    if sub.held is not None:
                        sub.held.append(Held(None, push=push))
                        continue
                    if not frame:
                        frame = push_frame(framing, push)
                    sub.transport.send(frame)
                    key = (sub.transport.name, f"push_{kind}")
                    self._metrics.transport_sent[key] += 1
                    self._metrics.transport_sent_size[key] += len(frame)


class Delivery:
    """One publication on its way out: each form of it is made once, when first needed."""

    __slots__ = (
        "_frames",
        "_matches",
        "_patch",
        "channel",
        "lagging",
        "lost",
        "now",
        "position",
        "previous",
        "publication",
    )

    def __init__(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: Publication | None,
        now: float,
    ) -> None:
        self.channel = channel
        self.publication = publication
        self.position = position
        self.previous = previous
        """What a patch may be made against; None if none was asked for."""
        self.now = now
        self.lagging = False
        """It took longer than allowed to come here: positions are not to be trusted."""
        self.lost: list[Subscription] = []
        """Subscriptions that turn out to have missed something."""
        self._frames: dict[tuple[Framing, int], bytes] = {}
        self._matches: dict[TagsFilter, bool] = {}
        self._patch: bytes | None = None

    def plain_frame(self, framing: Framing) -> bytes:
        """The publication as it is."""
        frame = self._frames.get((framing, 0))
        if frame is None:
            frame = publication_frame(framing, self.channel, self.publication)
            self._frames[framing, 0] = frame
        return frame

    def delta_frame(self, framing: Framing, *, patch: bool) -> bytes:
        """The publication for a subscriber with delta: in full, or as a patch if that is shorter."""
        key = (framing, 2 if patch else 1)
        frame = self._frames.get(key)
        if frame is None:
            publication = framing.codec.delta_publication(
                self.publication, self._shorter_patch() if patch else None
            )
            frame = self._frames[key] = publication_frame(framing, self.channel, publication)
        return frame

    def _shorter_patch(self) -> bytes | None:
        if self._patch is None:
            assert self.previous is not None
            data = bytes(self.publication.data)
            patch = create_delta(bytes(self.previous.data), data)
            self._patch = patch if len(patch) < len(data) else b""
        return self._patch or None

    def matches(self, tags_filter: TagsFilter) -> bool:
        """Whether the publication's tags pass; equal filters are asked once."""
        result = self._matches.get(tags_filter)
        if result is None:
            result = self._matches[tags_filter] = tags_filter.matches(self.publication.tags)
        return result

    def frame_size(self, framing: Framing) -> int:
        """Size in bytes of what was sent in ``framing``, whichever form."""
        for form in (0, 1, 2):
            frame = self._frames.get((framing, form))
            if frame is not None:
                return len(frame)
        return 0


def publication_frame(framing: Framing, channel: str, publication: Publication) -> bytes:
    """A publication push as bytes for the wire."""
    codec = framing.codec
    if framing.unidirectional:
        return framing.frame((codec.encode_publication_uni(channel, publication),))
    return framing.frame((codec.encode_publication_push(channel, publication),))


def push_frame(framing: Framing, push: Push) -> bytes:
    """Any push as bytes for the wire."""
    return framing.frame((push_message(framing, push),))


def push_message(framing: Framing, push: Push) -> bytes:
    """Any push as one message."""
    if framing.unidirectional:
        return framing.codec.encode_push(push)
    return framing.codec.encode_reply(Reply(push=push))


def framing_transport(group: SubscriberGroup) -> str:
    """Name of the transport whose framing the group shares."""
    for members in (group.plain, group.positioned, group.special):
        for sub in members:
            return sub.transport.name
    return ""

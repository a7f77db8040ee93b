"""Names and payloads in Redis: Centrifugo's, so that nodes of both kinds can share a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw

from flyball.core.errors import FlyballError
from flyball.core.types import ClientInfo, Publication, StreamPosition, payload
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import NO_DATA

if TYPE_CHECKING:
    from flyball.core.types import PublishOptions

DEFAULT_PREFIX: Final = "centrifugo"
JOIN: Final = b"__j__"
LEAVE: Final = b"__l__"
_HISTORY: Final = b"__p1:"
_DELTA: Final = b"__d1:"
_MARK: Final = b"__"
_DATA_TAG: Final = b"\x22"  # field 4 of Publication, by its length
_TIME_TAG: Final = b"\x48"  # field 9, a varint


class MalformedError(FlyballError):
    """Something in Redis is not of this layout."""


class Names:
    """The names of keys and PUB/SUB channels below a prefix."""

    __slots__ = ("_lists", "_prefix", "client", "control")

    def __init__(self, prefix: str = DEFAULT_PREFIX, *, lists: bool = False) -> None:
        self._prefix = prefix.encode()
        self._lists = lists
        self.client: bytes = b"%s.client." % self._prefix
        """What the names of channels begin with in PUB/SUB."""
        self.control: bytes = b"%s.control" % self._prefix
        """Control messages for all nodes."""

    def node(self, node_id: str) -> bytes:
        """Control messages for one node."""
        return b"%s.node.%s" % (self._prefix, node_id.encode())

    def messages(self, channel: bytes) -> bytes:
        """PUB/SUB of a channel."""
        return self.client + channel

    def history(self, channel: bytes) -> tuple[bytes, bytes]:
        """The stream (or list) of a channel, and its position."""
        if self._lists:
            return b"%s.list.%s" % (self._prefix, channel), b"%s.list.meta.%s" % (
                self._prefix,
                channel,
            )
        return b"%s.stream.%s" % (self._prefix, channel), b"%s.stream.meta.%s" % (
            self._prefix,
            channel,
        )

    def result(self, channel: bytes, key: str) -> bytes:
        """The result of an idempotent publish."""
        return b"%s.result.%s.%s" % (self._prefix, channel, key.encode())

    def presence(self, channel: bytes, *, users: bool) -> tuple[bytes, ...]:
        """Clients of a channel and when they are over; the same of their users if asked."""
        prefix = b"%s.presence." % self._prefix
        found: tuple[bytes, ...] = (prefix + b"data." + channel, prefix + b"expire." + channel)
        if users:
            found += (prefix + b"user.clients." + channel, prefix + b"user.expire." + channel)
        return found


def channel_bytes(channel: str, *, braces: bool) -> bytes:
    """A channel as part of names; in braces they all belong to one slot of a Cluster."""
    return b"{%s}" % channel.encode() if braces else channel.encode()


def channel_of(name: bytes, prefix: bytes, *, braces: bool) -> str:
    """The channel of a name in PUB/SUB."""
    found = name[len(prefix) :]
    return (found[1:-1] if braces else found).decode()


# -- publications


def write_publication(data: Raw, options: PublishOptions, now: float) -> bytes:
    """A publication as it is stored: without offset and epoch. ``now`` in Unix seconds."""
    time = int(now * 1000)
    if options.info is None and not options.tags and not options.version:
        stamp = _TIME_TAG + varint(time)
        return _DATA_TAG + varint(len(data)) + bytes(data) + stamp if data else stamp
    publication = Publication(
        data=data, info=options.info, tags=options.tags, version=options.version, time=time
    )
    return CLIENT.protobuf.write(publication)


def read_publication(stored: bytes) -> Publication:
    """A publication as it was stored, with its time.

    Raises:
        MalformedError: it is none.
    """
    if stored[:1] == _DATA_TAG:
        length, start = read_varint(stored, 1)
        end = start + length
        rest = stored[end : end + 1]
        if not rest and end == len(stored):
            return Publication(Raw(stored[start:end]))
        if rest == _TIME_TAG:
            time, after = read_varint(stored, end + 1)
            if after == len(stored):
                return Publication(Raw(stored[start:end]) if length else NO_DATA, time=time)
    try:
        return CLIENT.protobuf.read(Publication, stored)
    except DecodeError as error:
        raise MalformedError(f"no publication: {error}") from None


def at(publication: Publication, offset: int, epoch: str) -> Publication:
    """Puts a publication at its place; the first one of a stream carries the epoch."""
    publication.offset = offset
    if offset == 1:
        publication.epoch = epoch
    return publication


# -- messages of a channel


class Message:
    """A message of PUB/SUB, taken apart. One of ``publication``, ``join``, ``leave`` is set."""

    __slots__ = ("delta", "join", "leave", "position", "previous", "publication", "stored")

    def __init__(self) -> None:
        self.publication: Publication | None = None
        self.position: StreamPosition = NO_POSITION
        self.delta: bool = False
        self.previous: Publication | None = None
        self.join: ClientInfo | None = None
        self.leave: ClientInfo | None = None
        self.stored: bytes = b""
        """The publication as the history has it, if it has one."""


NO_POSITION: Final = StreamPosition()


def read_message(data: bytes) -> Message:
    """Takes a message of PUB/SUB apart.

    Raises:
        MalformedError: it is none of this layout.
    """
    message = Message()
    if data[:2] != _MARK:
        message.publication = read_publication(data)
    elif data.startswith(_HISTORY):
        message.position, message.stored = split_item(data)
        message.publication = _placed(message.stored, message.position)
    elif data.startswith(_DELTA):
        _read_delta(message, data)
    elif data.startswith(JOIN):
        message.join = read_info(data[len(JOIN) :])
    elif data.startswith(LEAVE):
        message.leave = read_info(data[len(LEAVE) :])
    else:
        raise MalformedError(f"a message begins with {data[:5]!r}")
    return message


def split_item(data: bytes) -> tuple[StreamPosition, bytes]:
    """``__p1:OFFSET:EPOCH__`` and what is behind it."""
    colon = data.find(b":", 5)
    end = data.find(_MARK, colon + 1)
    if colon < 0 or end < 0:
        raise MalformedError(f"a message begins with {data[:20]!r}")
    return _position(data[5:colon], data[colon + 1 : end]), data[end + 2 :]


def _read_delta(message: Message, data: bytes) -> None:
    offset, epoch, length, rest = data[5:].split(b":", 3)
    message.position = position = _position(offset, epoch)
    size = _number(length)
    previous, rest = rest[:size], rest[size + 1 :]
    message.stored = rest.partition(b":")[2]
    message.delta = True
    message.publication = _placed(message.stored, position)
    if previous:
        message.previous = read_publication(previous)
        # It stood before this one: the stream has no holes.
        message.previous.offset = position.offset - 1
        message.previous.time = 0


def _placed(stored: bytes, position: StreamPosition) -> Publication:
    return at(read_publication(stored), position.offset, position.epoch)


def _position(offset: bytes, epoch: bytes) -> StreamPosition:
    return StreamPosition(_number(offset), epoch.decode())


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise MalformedError(f"{text[:20]!r} is no number") from None


def write_info(info: ClientInfo) -> bytes:
    """Who somebody is, as presence and join messages have it."""
    return CLIENT.protobuf.write(info)


def read_info(stored: bytes) -> ClientInfo:
    """See :func:`write_info`."""
    try:
        info = CLIENT.protobuf.read(ClientInfo, stored)
    except DecodeError as error:
        raise MalformedError(f"no client info: {error}") from None
    info.conn_info, info.chan_info = payload(bytes(info.conn_info)), payload(bytes(info.chan_info))
    return info


# -- varints


def varint(value: int) -> bytes:
    """A number of Protobuf."""
    if value < 128:
        return bytes((value,))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


def read_varint(data: bytes, position: int) -> tuple[int, int]:
    """The number at ``position`` and where it ends.

    Raises:
        MalformedError: it is cut off.
    """
    value = shift = 0
    for index in range(position, min(position + 10, len(data))):
        byte = data[index]
        value |= (byte & 127) << shift
        if byte < 128:
            return value, index + 1
        shift += 7
    raise MalformedError("a number is cut off")

"""Names and payloads in Redis: Centrifugo's, so that nodes of both kinds can share a server."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.core.types import StreamPosition
from flyball.engines.common.publications import (
    MalformedError,
    read_info,
    read_publication,
    write_info,
    write_publication,
)

if TYPE_CHECKING:
    from flyball.core.types import ClientInfo, Publication

__all__ = [
    "DEFAULT_PREFIX",
    "JOIN",
    "LEAVE",
    "NO_POSITION",
    "MalformedError",
    "Message",
    "Names",
    "at",
    "channel_bytes",
    "channel_of",
    "read_info",
    "read_message",
    "read_publication",
    "split_item",
    "write_info",
    "write_publication",
]

DEFAULT_PREFIX: Final = "centrifugo"
JOIN: Final = b"__j__"
LEAVE: Final = b"__l__"
_HISTORY: Final = b"__p1:"
_DELTA: Final = b"__d1:"
_MARK: Final = b"__"


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
        message.previous = read_publication(previous, timed=False)
        # It stood before this one: the stream has no holes.
        message.previous.offset = position.offset - 1


def _placed(stored: bytes, position: StreamPosition) -> Publication:
    return at(read_publication(stored), position.offset, position.epoch)


def _position(offset: bytes, epoch: bytes) -> StreamPosition:
    return StreamPosition(_number(offset), epoch.decode())


def _number(text: bytes) -> int:
    try:
        return int(text)
    except ValueError:
        raise MalformedError(f"{text[:20]!r} is no number") from None

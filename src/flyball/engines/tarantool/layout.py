"""Names and messages in Tarantool."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, NamedTuple

from msgspec import Raw

from flyball.core.types import NO_DATA, Publication, StreamPosition
from flyball.engines.common.publications import MalformedError, read_info
from flyball.engines.tarantool.connection import ENCODING, string_of, text_of
from flyball.engines.tarantool.options import SEPARATOR
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError

if TYPE_CHECKING:
    from flyball.core.types import ClientInfo, PublishOptions

PUBLICATION: Final = 0
DELTA: Final = 1
JOIN: Final = 2
LEAVE: Final = 3
CONTROL: Final = 4
"""Kinds of messages: see ``module.lua``."""

Message = list[Any]
"""Name, kind, data; of publications also the rest and when it was made (Unix ms); of kept ones
offset and epoch; with a delta data and rest of the one before."""
MISSHAPEN: Final = (AttributeError, IndexError, TypeError, ValueError)
"""What comes of reading a message that has other fields than ours."""
NO_POSITION: Final = StreamPosition()


class Arrived(NamedTuple):
    """A message with a publication, taken apart."""

    publication: Publication
    position: StreamPosition
    delta: bool
    previous: Publication | None
    made: float
    """When it was made, in Unix seconds."""


class Names:
    """Names below a prefix, as they are sent."""

    __slots__ = ("_channel", "_node", "_start", "control")

    def __init__(self, prefix: str) -> None:
        self._channel = text_of(f"{prefix}{SEPARATOR}channel{SEPARATOR}")
        self._node = text_of(f"{prefix}{SEPARATOR}node{SEPARATOR}")
        self._start = len(self._channel)
        self.control: str = text_of(f"{prefix}{SEPARATOR}control")
        """Control messages for all nodes."""

    def channel(self, channel: str) -> str:
        """Stream, presence and messages of a channel."""
        return self._channel + text_of(channel)

    def channel_of(self, name: str) -> str:
        """The channel of a name."""
        return string_of(name[self._start :])

    def node(self, node_id: str) -> str:
        """Control messages for one node."""
        return self._node + text_of(node_id)


def stored(text: str) -> bytes:
    """Bytes that came as text."""
    return text.encode(ENCODING)


def rest_of(options: PublishOptions) -> str:
    """What a publication has beside its data, as it is sent; mostly nothing."""
    if options.info is None and not options.tags and not options.version:
        return ""
    rest = Publication(info=options.info, tags=options.tags, version=options.version)
    return text_of(CLIENT.protobuf.write(rest))


def publication_of(data: str, rest: str, offset: int, epoch: str) -> Publication:
    """A publication at its place, 0 if it is not kept; the first one of a stream has the epoch.

    Raises:
        MalformedError: it is none.
    """
    raw = Raw(data.encode(ENCODING)) if data else NO_DATA
    if rest:
        try:
            found = CLIENT.protobuf.read(Publication, rest.encode(ENCODING))
        except DecodeError as error:
            raise MalformedError(f"no publication: {error}") from None
        found.data, found.offset = raw, offset
    else:
        found = Publication(raw, offset=offset)
    if offset == 1:
        found.epoch = epoch
    return found


def read_message(message: Message) -> Arrived | ClientInfo:
    """Takes a message of a channel apart: a publication, or who joined or left.

    Raises:
        MalformedError: it is none.
        AttributeError, IndexError, TypeError, ValueError: it has other fields (:data:`MISSHAPEN`).
    """
    kind = message[1]
    if kind in (PUBLICATION, DELTA):
        return _arrived(message)
    if kind in (JOIN, LEAVE):
        return read_info(stored(message[2]))
    raise MalformedError(f"its kind is {kind!r}")


def _arrived(message: Message) -> Arrived:
    _, kind, data, rest, made, *place = message
    if not place:
        publication = publication_of(data, rest, 0, "")
        return Arrived(publication, NO_POSITION, kind == DELTA, None, made / 1000)
    offset, epoch, *before = place
    publication = publication_of(data, rest, offset, epoch)
    previous = None
    if before:
        # It stood before this one: the stream has no holes.
        previous = publication_of(before[0], before[1], offset - 1, epoch)
    position = StreamPosition(offset, epoch)
    return Arrived(publication, position, kind == DELTA, previous, made / 1000)

"""What is stored: messages of the history stream, each with the state of its channel after it.

All messages of a channel have one subject. The last one says everything about the channel, and a
new one is only taken if that is still the last: so a publish needs no lock, and what is stored is
never half of something.
"""

from __future__ import annotations

import random
import string
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.engines.common import publications
from flyball.engines.common.publications import MalformedError
from flyball.protocol.codec import UNREADABLE

if TYPE_CHECKING:
    from flyball.core.types import Publication, PublishOptions, Raw

FORMAT: Final = 1
FIRST_BYTES: Final = range(0x90, 0xA0)
"""What an entry may begin with: an array of MessagePack. Messages of the client protocol do not."""
MOST_JUMPS: Final = 20


class Jump(msgspec.Struct, array_like=True, frozen=True):
    """An earlier message of the channel."""

    sequence: int
    """Its place in the JetStream stream."""
    top: int
    """Offset of the last publication in it."""


class Entry(msgspec.Struct, array_like=True, kw_only=True):
    """A message of the history stream. Times are Unix milliseconds."""

    format: int = FORMAT
    epoch: str
    top: int
    """Offset of the last publication in this message, and so of the channel."""
    publications: list[bytes]
    """In Protobuf, without offsets: those up to ``top``. None if only the state has changed."""
    deltas: int = 0
    """Bit n: subscribers want publication n as a patch."""
    previous: bytes = b""
    """The publication before the first one, where that wants a patch."""
    size: int = 0
    """Publications that the channel keeps."""
    floor: int = 0
    """Publications up to this offset are removed."""
    expires: int = 0
    """When the publications are over."""
    meta_expires: int = 0
    """When offset and epoch are over."""
    version: int = 0
    version_epoch: str = ""
    number: int = 0
    """How many messages of the channel were before this one."""
    jumps: list[Jump] = []
    """Number n: the latest message before this one whose number is divisible by 2 to the n."""
    writer: int = 0
    """Who wrote it: a number that each store draws for itself."""

    @property
    def first(self) -> int:
        """Offset of the first publication in this message."""
        return self.top - len(self.publications) + 1

    def bottom(self, now: int) -> int:
        """Offset below the oldest publication that the channel has at ``now``."""
        if now >= self.expires:
            return self.top
        return max(self.floor, self.top - self.size)

    def is_same(self, other: Entry) -> bool:
        """Whether the two are one message."""
        mine = (self.epoch, self.number, self.writer, self.top, self.publications)
        return mine == (other.epoch, other.number, other.writer, other.top, other.publications)

    def reach(self, offset: int) -> int:
        """From which sequence on messages must be read to see ``offset``; not far before it."""
        found = 0
        for jump in self.jumps:
            if jump.top < offset:
                found = max(found, jump.sequence)
        return found + 1

    def jumps_after(self, sequence: int) -> list[Jump]:
        """The jumps of the message that follows this one, which is at ``sequence``.

        The last one stands for all levels above it. Of those to what is removed one is enough.
        """
        renewed = (self.number & -self.number).bit_length() or 1
        jumps = [Jump(sequence, self.top)] * renewed + self.jumps[renewed:]
        if len(self.jumps) <= renewed and self.jumps:
            jumps.append(self.jumps[-1])
        bottom = max(self.floor, self.top - self.size)
        for level, jump in enumerate(jumps):
            if jump.top <= bottom:
                return jumps[: level + 1]
        return jumps[:MOST_JUMPS]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Entry)


def write_entry(entry: Entry) -> bytes:
    """An entry as it is stored."""
    return _encoder.encode(entry)


def read_entry(stored: bytes) -> Entry:
    """An entry that was stored.

    Raises:
        MalformedError: it is none, or of a version that is not known here.
    """
    try:
        entry = _decoder.decode(stored)
    except UNREADABLE as error:
        raise MalformedError(f"no entry of the history: {error}") from None
    if entry.format != FORMAT:
        raise MalformedError(f"an entry of version {entry.format}; {FORMAT} is known here")
    return entry


def new_writer() -> int:
    """A number for who writes."""
    return random.getrandbits(32)


def new_epoch() -> str:
    """A name for a new stream: eight letters."""
    return "".join(random.choices(string.ascii_letters, k=8))  # noqa: S311 - no secret


def write_publication(data: Raw, options: PublishOptions, now: int) -> bytes:
    """A publication as it is stored; ``now`` in Unix milliseconds."""
    return publications.write_publication(data, options, now / 1000)


def read_publication(stored: bytes, offset: int, epoch: str, *, timed: bool = True) -> Publication:
    """A publication as it was stored, at its place; the first one of a stream carries the epoch.

    Raises:
        MalformedError: it is none.
    """
    publication = publications.read_publication(stored, timed=timed)
    publication.offset = offset
    if offset == 1:
        publication.epoch = epoch
    return publication

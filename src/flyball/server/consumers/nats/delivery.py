"""A message as JetStream gives it out."""

from __future__ import annotations

from typing import Final, NamedTuple, TypeAlias

from flyball.engines.nats import wire
from flyball.server.consumers.base import Message

ACK: Final = b"+ACK"
"""It is done."""
NAK: Final = b"-NAK"
"""Somebody else shall have it."""
WORKING: Final = b"+WPI"
"""It is being worked on."""
_PREFIX: Final = b"$JS.ACK."
_OLD_WORDS: Final = 9
_NEW_WORDS: Final = 11

Key: TypeAlias = tuple[int, bytes]
"""Place and time of a message: a stream that is made anew gives other ones."""


class Delivery(NamedTuple):
    """One message in hand."""

    reply: bytes
    """Where the server hears what becomes of it."""
    sequence: int
    """Its place in the stream."""
    time: bytes
    """When it was stored."""
    subject: bytes
    headers: bytes
    data: bytes

    @property
    def key(self) -> Key:
        """What tells it from all others of the stream."""
        return self.sequence, self.time

    @property
    def size(self) -> int:
        """Its bytes."""
        return len(self.headers) + len(self.data)

    def message(self, stream: str, method_header: str) -> Message:
        """What it says."""
        fields = wire.header_fields(self.headers) if self.headers else {}
        subject = self.subject.decode(errors="replace")
        return Message(
            data=self.data,
            method=fields.get(method_header, ""),
            metadata=fields,
            place=f"stream {stream}, sequence {self.sequence}, subject {subject}",
        )


def delivery(reply: bytes, subject: bytes, headers: bytes, data: bytes) -> Delivery | None:
    """A message of a stream; None: it is another one.

    Its reply subject tells of it: ``$JS.ACK``, (domain, account,) stream, consumer, times given
    out, place in the stream, place in the consumer, time, messages left (, anything).
    """
    words = reply.split(b".")
    if not reply.startswith(_PREFIX) or (len(words) != _OLD_WORDS and len(words) < _NEW_WORDS):
        return None
    first = 2 if len(words) == _OLD_WORDS else 4
    sequence, time = words[first + 3], words[first + 5]
    if not sequence.isdigit():
        return None
    return Delivery(reply, int(sequence), time, subject, headers, data)

"""How messages stand in the body of each kind of streaming response."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar

from flyball.transports.common.stream_framing import StreamFraming

if TYPE_CHECKING:
    from collections.abc import Sequence


class EventFraming(StreamFraming):
    """Server-sent events, one for each message."""

    opening: ClassVar[bytes] = b"\r\n"

    def body(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`StreamFraming.body`."""
        events = b"".join([b"data: %b\n\n" % message for message in messages])
        # A carriage return ends a line of an event stream. In JSON it can only be white space.
        return events.replace(b"\r", b" ") if b"\r" in events else events


class UniStreamFraming(StreamFraming):
    """Lines for connections that only receive."""

    unidirectional: ClassVar[bool] = True


class UniEventFraming(EventFraming):
    """Server-sent events for connections that only receive."""

    unidirectional: ClassVar[bool] = True

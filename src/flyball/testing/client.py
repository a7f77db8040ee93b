"""A client of the protocol on an in-memory transport."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

from flyball.core.transport import Framing, Transport
from flyball.protocol.json_codec import JSON

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.errors import Disconnect
    from flyball.core.node import Node
    from flyball.core.session import Session
    from flyball.protocol.codec import Codec


class MemoryFraming(Framing):
    """Messages as they are, joined as the codec joins them."""

    def __init__(self, codec: Codec = JSON, *, unidirectional: bool = False) -> None:
        self.codec = codec
        self.unidirectional = unidirectional  # type: ignore[misc]

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`."""
        return self.codec.join(messages)


MEMORY_JSON = MemoryFraming()


class MemoryTransport(Transport):
    """Records what is sent."""

    __slots__ = ("closed_by", "frames", "lingers", "reading")

    name: ClassVar[str] = "memory"

    def __init__(self, framing: Framing = MEMORY_JSON) -> None:
        super().__init__(framing)
        self.frames: list[bytes] = []
        """Every frame sent so far and not taken yet."""
        self.closed_by: Disconnect | None = None
        """Why the server closed the connection, if it did."""
        self.lingers = 0.0
        self.reading = True

    def _write(self, data: bytes) -> None:
        self.frames.append(data)

    def _close(self, disconnect: Disconnect) -> None:
        self.closed_by = disconnect

    def linger(self, delay: float) -> None:
        """See :meth:`Transport.linger`."""
        self.lingers = delay

    def pause_reading(self) -> None:
        """See :meth:`Transport.pause_reading`."""
        self.reading = False

    def resume_reading(self) -> None:
        """See :meth:`Transport.resume_reading`."""
        self.reading = True


class TestClient:
    """Speaks JSON commands to a node and shows what comes back, decoded.

    ``client.send(subscribe={"channel": "x"})`` returns the messages that the node sent at
    once. What comes later is in :meth:`take`.
    """

    __test__ = False

    def __init__(self, node: Node, *, headers: dict[str, str] | None = None) -> None:
        self.node = node
        self.transport = MemoryTransport()
        self.session: Session = node.open_session(self.transport, headers)
        self._ids = 0

    def send_raw(self, frame: bytes | str) -> list[dict[str, Any]]:
        """Sends one frame as it is and returns :meth:`take`."""
        data = frame.encode() if isinstance(frame, str) else frame
        self.transport.cork()
        self.session.receive(data)
        self.transport.uncork()
        return self.take()

    def send(self, **request: Any) -> list[dict[str, Any]]:
        """Sends one command, such as ``publish={"channel": "x", "data": 1}``."""
        self._ids += 1
        return self.send_raw(msgspec.json.encode({"id": self._ids, **request}))

    def take(self) -> list[dict[str, Any]]:
        """Every message that came since the last call, decoded."""
        frames, self.transport.frames = self.transport.frames, []
        return [msgspec.json.decode(line) for frame in frames for line in frame.split(b"\n")]

    async def request(self, **request: Any) -> dict[str, Any]:
        """Sends one command and waits, a few loop turns at most, for its reply.

        Raises:
            AssertionError: there is none, as after a disconnect.
        """
        messages = self.send(**request)
        for _ in range(100):
            for message in messages:
                if message.get("id") == self._ids:
                    return message
            await asyncio.sleep(0)
            messages = self.take()
        error = f"no reply to {request}; closed: {self.transport.closed_by}"
        raise AssertionError(error)

    def connect(self, **request: Any) -> dict[str, Any]:
        """Connects and returns the connect result.

        Raises:
            AssertionError: it was refused.
        """
        messages = self.send(connect=request)
        if not messages or "connect" not in messages[0]:
            error = f"connect refused: {messages}, closed: {self.transport.closed_by}"
            raise AssertionError(error)
        result: dict[str, Any] = messages[0]["connect"]
        return result

    def drop(self) -> None:
        """The connection breaks."""
        self.session.connection_lost()

    @property
    def closed_code(self) -> int | None:
        """Code of the server's disconnect, None while the connection is open."""
        return self.transport.closed_by.code if self.transport.closed_by else None

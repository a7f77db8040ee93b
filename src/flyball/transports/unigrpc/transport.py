"""One GRPC stream as a transport."""

from __future__ import annotations

from typing import TYPE_CHECKING, ClassVar, Final

from flyball.core.transport import Framing
from flyball.protocol.protobuf_codec import PROTOBUF, split_frame
from flyball.transports.common.outbox import OutboxTransport

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.core.node import Node
    from flyball.protocol.codec import Codec


class GrpcFraming(Framing):
    """One Push for each GRPC message: its bytes without a length."""

    unidirectional: ClassVar[bool] = True
    codec: Codec = PROTOBUF

    def frame(self, messages: Sequence[bytes]) -> bytes:
        """See :meth:`Framing.frame`; there are no frames of several messages here."""
        (message,) = split_frame(messages[0])
        return message


FRAMING: Final = GrpcFraming()


class UniGrpcTransport(OutboxTransport):
    """A stream of Push messages; :meth:`run` is what the call does until it ends."""

    __slots__ = ()

    name: ClassVar[str] = "uni_grpc"
    ping_interval: ClassVar[float | None] = 25.0
    """Fixed, as the original has it (transports reference, section 7)."""
    disconnect_push: ClassVar[bool] = True

    def __init__(self, node: Node) -> None:
        super().__init__(node, FRAMING)

    def send_message(self, message: bytes) -> None:
        """See :meth:`Transport.send_message`; each message is a frame of its own."""
        self.send(FRAMING.frame((message,)))

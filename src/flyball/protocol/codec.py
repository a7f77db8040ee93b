"""What a codec does: messages to and from the bytes of one encoding, without framing of a transport."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.protocol.messages import (
        Command,
        ConnectRequest,
        EmulationRequest,
        Publication,
        Push,
        Reply,
    )


UNREADABLE: Final = (msgspec.DecodeError, UnicodeError, RecursionError)
"""What msgspec raises for bytes that are not what is expected, are no UTF-8, or nest too deep."""


class DecodeError(ValueError):
    """The peer sent something that is no message of the protocol (close with 3501)."""


class EncodeError(ValueError):
    """A message cannot be expressed in this encoding (binary data for JSON: close with 3506)."""


class Codec(ABC):
    """One encoding of the client protocol. Stateless, so one instance serves all connections."""

    name: ClassVar[str]
    """``json`` or ``protobuf``."""
    ping: ClassVar[bytes]
    """The message of a server ping (an empty reply)."""

    @abstractmethod
    def decode_command(self, frame: bytes, start: int) -> tuple[Command, int]:
        """The command of ``frame`` that begins at ``start``, and where the next one does.

        That is the length of the frame after the last one. What comes behind a command is not
        looked at: the session may end before. A frame without any command is an error.

        Raises:
            DecodeError: the command is malformed.
        """

    @abstractmethod
    def decode_connect(self, message: bytes) -> ConnectRequest:
        """The ConnectRequest that opens a unidirectional connection.

        Raises:
            DecodeError: ``message`` is malformed.
        """

    @abstractmethod
    def decode_emulation(self, body: bytes) -> EmulationRequest:
        """The body of a POST to ``/emulation``; its ``data`` is a frame of commands.

        ``data`` is absent where the body holds nothing that could be a frame.

        Raises:
            DecodeError: ``body`` is malformed.
        """

    @abstractmethod
    def encode_reply(self, reply: Reply) -> bytes:
        """One message, ready for :meth:`join`.

        Raises:
            EncodeError: a payload is not valid in this encoding.
        """

    @abstractmethod
    def encode_push(self, push: Push) -> bytes:
        """One bare push, for unidirectional transports, ready for :meth:`join`.

        Raises:
            EncodeError: a payload is not valid in this encoding.
        """

    @abstractmethod
    def encode_publication_push(self, channel: str, publication: Publication) -> bytes:
        """The same as ``encode_reply(Reply(push=Push(channel=channel, pub=publication)))``.

        Raises:
            EncodeError: a payload is not valid in this encoding.
        """

    @abstractmethod
    def encode_publication_uni(self, channel: str, publication: Publication) -> bytes:
        """The same as ``encode_push(Push(channel=channel, pub=publication))``.

        Raises:
            EncodeError: a payload is not valid in this encoding.
        """

    @abstractmethod
    def encode_publish_reply(self, command_id: int) -> bytes:
        """The same as ``encode_reply(Reply(id=command_id, publish=PublishResult()))``."""

    @abstractmethod
    def join(self, messages: Sequence[bytes]) -> bytes:
        """Several messages (at least one) as the payload of one frame."""

    @abstractmethod
    def delta_publication(self, publication: Publication, patch: bytes | None) -> Publication:
        """``publication`` for a subscriber that negotiated delta; the given one is not changed.

        ``patch`` is the fossil patch against the value the subscriber holds, None for the
        full value. (JSON: ``data`` becomes a JSON string and ``epoch`` is left out. A patch
        that cannot be written as text is not used; look at ``delta`` of the result.)

        Raises:
            EncodeError: the payload is not valid in this encoding.
        """

    @abstractmethod
    def encode_command(self, command: Command) -> bytes:
        """One command as a client sends it, ready for :meth:`join`.

        Raises:
            EncodeError: a payload is not valid in this encoding.
        """

    @abstractmethod
    def decode_replies(self, frame: bytes) -> list[Reply]:
        """The replies of one frame, as a client reads them.

        Raises:
            DecodeError: ``frame`` is malformed.
        """

    @abstractmethod
    def decode_push(self, message: bytes) -> Push:
        """One message of :meth:`encode_push`, as a client reads it.

        Raises:
            DecodeError: ``message`` is malformed.
        """

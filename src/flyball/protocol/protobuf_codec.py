"""The Protobuf encoding of the client protocol: each message behind its length as a varint."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar, Final

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import Codec, DecodeError, EncodeError
from flyball.protocol.fields import MAX_U64, as_tuple
from flyball.protocol.messages import (
    ClientInfo,
    Command,
    ConnectRequest,
    EmulationRequest,
    Publication,
    Push,
    Reply,
)
from flyball.protocol.varints import read_varint, varint

_read: Final = CLIENT.protobuf.read
_write: Final = CLIENT.protobuf.write


class ProtobufCodec(Codec):
    """Protobuf messages, each with its length in front."""

    name: ClassVar[str] = "protobuf"
    ping: ClassVar[bytes] = b"\x00"

    def decode_command(self, frame: bytes, start: int) -> tuple[Command, int]:
        """See :meth:`Codec.decode_command`; an empty message is an empty command (a pong)."""
        end = len(frame)
        if start >= end:
            raise DecodeError("the frame holds no command")
        length = frame[start]
        start += 1
        if length > 127:
            length, start = read_varint(frame, start - 1)
        stop = start + length
        if stop > end:
            raise _too_long(length, end - start)
        return _read_command(frame[start:stop]), stop

    def decode_connect(self, message: bytes) -> ConnectRequest:
        """The ConnectRequest that opens a unidirectional connection, without a length.

        Raises:
            DecodeError: ``message`` is malformed.
        """
        return _read(ConnectRequest, message)

    def decode_emulation(self, body: bytes) -> EmulationRequest:
        """The body of an emulation request; ``data`` is a frame.

        Raises:
            DecodeError: ``body`` is malformed.
        """
        return _read(EmulationRequest, body)

    def encode_reply(self, reply: Reply) -> bytes:
        """The message behind its length.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _framed(_write(reply))

    def encode_push(self, push: Push) -> bytes:
        """The message behind its length.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _framed(_write(push))

    def encode_publication_push(self, channel: str, publication: Publication) -> bytes:
        """The reply that pushes ``publication``, behind its length.

        Raises:
            EncodeError: a number is out of its range.
        """
        push = _write_publication_push(channel, publication)
        return _framed(b'"' + varint(len(push)) + push)  # field 4 of Reply

    def encode_publication_uni(self, channel: str, publication: Publication) -> bytes:
        """The bare push of ``publication``, behind its length.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _framed(_write_publication_push(channel, publication))

    def encode_publish_reply(self, command_id: int) -> bytes:
        """The reply to a successful publish."""
        return _framed((b"\x08" + varint(command_id) if command_id else b"") + b"B\x00")

    def join(self, messages: Sequence[bytes]) -> bytes:
        """One message after the other: each knows its length."""
        return messages[0] if len(messages) == 1 else b"".join(messages)

    def delta_publication(self, publication: Publication, patch: bytes | None) -> Publication:
        """The publication with the patch as ``data``, or as it is."""
        if patch is None:
            return publication
        copy: Publication = msgspec.structs.replace(
            publication, data=Raw(patch), version=0, delta=True
        )
        return copy

    def encode_command(self, command: Command) -> bytes:
        """One command behind its length, as a client sends it.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _framed(_write(command))

    def decode_replies(self, frame: bytes) -> list[Reply]:
        """The replies of one frame, as a client reads them.

        Raises:
            DecodeError: the frame is malformed.
        """
        return [_read(Reply, part) for part in split_frame(frame)]

    def decode_push(self, message: bytes) -> Push:
        """One message of a unidirectional connection with its length, as a client reads it.

        Raises:
            DecodeError: the message is malformed.
        """
        parts = split_frame(message)
        if len(parts) != 1:
            raise DecodeError(f"one push expected, not {len(parts)}")
        return _read(Push, parts[0])


def split_frame(frame: bytes) -> list[bytes]:
    """The messages of a frame without their lengths.

    Raises:
        DecodeError: a length is malformed or longer than what is left.
    """
    parts: list[bytes] = []
    pos = 0
    while pos < len(frame):
        length, pos = read_varint(frame, pos)
        if pos + length > len(frame):
            raise _too_long(length, len(frame) - pos)
        parts.append(frame[pos : pos + length])
        pos += length
    return parts


def _too_long(length: int, left: int) -> DecodeError:
    return DecodeError(f"a message of {length} bytes is announced, the frame has {left} left")


def _framed(data: bytes) -> bytes:
    return varint(len(data)) + data


def _read_command(data: bytes) -> Command:
    """``data`` as a command. The usual form, an id and one request, is taken apart by hand.

    Raises:
        DecodeError: it is malformed.
    """
    size = len(data)
    if size < 4 or data[0] != _ID_TAG:
        return _read(Command, data)
    command_id = data[1]
    pos = 2
    if command_id > 127:
        command_id, pos = read_varint(data, 1)
    request = _REQUESTS.get(data[pos]) if pos + 1 < size else None
    if request is None or command_id > _U32_MAX:
        return _read(Command, data)
    length = data[pos + 1]
    pos += 2
    if length > 127:
        length, pos = read_varint(data, pos - 1)
    if pos + length != size:
        return _read(Command, data)
    name, struct = request
    command = Command(command_id)
    setattr(command, name, _read(struct, data[pos:]))
    return command


_ID_TAG: Final = 8
_U32_MAX: Final = 2**32 - 1


_REQUESTS: Final[dict[int, tuple[str, type[Struct]]]] = {
    CLIENT.protobuf.classes[Command].DESCRIPTOR.fields_by_name[field.name].number << 3 | 2: (
        field.name,
        field.message,
    )
    for field in CLIENT.table[Command]
    if field.message is not None
}
"""The first byte of each request inside a command, with its name and struct."""


# Most publications have only data, an offset and the publisher: those are written by hand,
# in a third of the time. The first bytes are (field number << 3 | wire type).

_REST: Final = as_tuple(Publication())[3:]
"""The fields of a publication after data, info and offset, when none is set."""


def _write_publication_push(channel: str, publication: Publication) -> bytes:
    """The push of ``publication``.

    Raises:
        EncodeError: a number is out of its range.
    """
    if as_tuple(publication)[3:] != _REST:
        return _write(Push(channel=channel, pub=publication))
    offset = publication.offset
    if not 0 <= offset <= MAX_U64:
        raise EncodeError(f"offset {offset} is no unsigned 64-bit number")
    data = publication.data
    body = b'"' + varint(len(data)) + bytes(data) if data else b""  # field 4: data
    try:
        if publication.info is not None:
            info = _write_info(publication.info)
            body += b"*" + varint(len(info)) + info  # field 5: info
        name = channel.encode()
    except UnicodeEncodeError:
        return _write(Push(channel=channel, pub=publication))
    if offset:
        body += b"0" + varint(offset)  # field 6: offset
    head = b"\x12" + varint(len(name)) + name if name else b""  # field 2: channel
    return head + b'"' + varint(len(body)) + body  # field 4: pub


def _write_info(info: ClientInfo) -> bytes:
    """``info``; raises UnicodeEncodeError for lone surrogates."""
    user = info.user.encode()
    client = info.client.encode()
    out = b"\x0a" + varint(len(user)) + user if user else b""  # field 1: user
    if client:
        out += b"\x12" + varint(len(client)) + client  # field 2: client
    if info.conn_info:
        out += b"\x1a" + varint(len(info.conn_info)) + bytes(info.conn_info)  # field 3
    if info.chan_info:
        out += b'"' + varint(len(info.chan_info)) + bytes(info.chan_info)  # field 4
    return out


PROTOBUF: Final = ProtobufCodec()
"""The codec of Protobuf connections."""

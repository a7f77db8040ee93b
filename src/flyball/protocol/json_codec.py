"""The JSON encoding: one message a line, payloads copied through as text."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, ClassVar, Final

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.client import CLIENT
from flyball.protocol.codec import UNREADABLE, Codec, DecodeError, EncodeError
from flyball.protocol.fields import MAX_U64
from flyball.protocol.json_writer import write_string
from flyball.protocol.messages import (
    NO_DATA,
    Command,
    ConnectRequest,
    EmulationRequest,
    Publication,
    Push,
    Reply,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

_NEWLINE: Final = 10
_LINE_BREAK: Final = b"\n"

_OPENING: Final = b"{"
_MINUS_ZERO: Final = b"-0"
_OBJECTS: Final = re.compile(rb'"\w+"(?=\s*:\s*\{)')
"""A name with an object."""

_decode_command: Final = msgspec.json.Decoder(Command).decode
_read: Final = CLIENT.json_reader.read
_encode: Final = CLIENT.json_writer.encode
_encode_with: Final = CLIENT.json_writer.encode_with
_collect: Final = CLIENT.json_writer.collect
_write: Final = CLIENT.json_writer.write


class JsonCodec(Codec):
    """JSON messages, by the original's rules for output and its tolerance for input."""

    name: ClassVar[str] = "json"
    ping: ClassVar[bytes] = b"{}"

    def decode_command(self, frame: bytes, start: int) -> tuple[Command, int]:
        """See :meth:`Codec.decode_command`: a line; the last one may be empty."""
        end = frame.find(_LINE_BREAK, start)
        if end < 0:
            end = len(frame)
            return _decode_line(frame[start:] if start else frame), end
        return _decode_line(frame[start:end]), end + 1

    def decode_connect(self, message: bytes) -> ConnectRequest:
        """The ConnectRequest that opens a unidirectional connection; it may span lines.

        Raises:
            DecodeError: ``message`` is malformed.
        """
        return _read(ConnectRequest, message)

    def decode_emulation(self, body: bytes) -> EmulationRequest:
        """The body of an emulation request; ``data`` becomes the frame in the JSON string.

        ``data`` is absent if it is no string: then there is nothing to carry out.

        Raises:
            DecodeError: ``body`` is malformed.
        """
        request = _read(EmulationRequest, body)
        try:
            frame = msgspec.json.decode(request.data, type=str) if request.data else ""
        except UNREADABLE:
            frame = ""
        request.data = Raw(frame.encode()) if frame else NO_DATA
        return request

    def encode_reply(self, reply: Reply) -> bytes:
        """One line without its end.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        rpc = reply.rpc
        if rpc is not None and rpc.data:  # the one payload in it
            return _encode_with(reply, (rpc.data,))
        return _encode(reply)

    def encode_push(self, push: Push) -> bytes:
        """One line without its end.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode(push)

    def encode_publication_push(self, channel: str, publication: Publication) -> bytes:
        """The reply that pushes ``publication``.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        push = Push(channel=channel, pub=publication)
        return _encode_publication(Reply(push=push), publication)

    def encode_publication_uni(self, channel: str, publication: Publication) -> bytes:
        """The bare push of ``publication``.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode_publication(Push(channel=channel, pub=publication), publication)

    def encode_publish_reply(self, command_id: int) -> bytes:
        """The reply to a successful publish."""
        return b'{"id":%d,"publish":{}}' % command_id if command_id else b'{"publish":{}}'

    def join(self, messages: Sequence[bytes]) -> bytes:
        """Lines with breaks between, none at the end."""
        return messages[0] if len(messages) == 1 else _LINE_BREAK.join(messages)

    def delta_publication(self, publication: Publication, patch: bytes | None) -> Publication:
        """A copy with ``data`` as a JSON string of the patch, or of the full text.

        A patch can cut a character in two, and then has no place in a JSON string: the
        full text is taken instead.

        Raises:
            EncodeError: the full data is no text.
        """
        text = None if patch is None else _text(patch)
        delta = text is not None
        if text is None:
            text = _text(bytes(publication.data))
        if text is None:
            raise EncodeError("a payload is binary; it needs a Protobuf client")
        copy: Publication = msgspec.structs.replace(
            publication, data=Raw(write_string(text)), epoch="", version=0, delta=delta
        )
        return copy

    def encode_command(self, command: Command) -> bytes:
        """One command, as a client sends it.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode(command)

    def decode_replies(self, frame: bytes) -> list[Reply]:
        """The replies of one frame, as a client reads them.

        Raises:
            DecodeError: the frame is malformed.
        """
        return [_read(Reply, line) for line in frame.split(_LINE_BREAK)]

    def decode_push(self, message: bytes) -> Push:
        """One message of a unidirectional connection, as a client reads it.

        Raises:
            DecodeError: the message is malformed.
        """
        return _read(Push, message)


def _text(data: bytes) -> str | None:
    """``data`` as text, None if it is none."""
    try:
        return data.decode()
    except UnicodeDecodeError:
        return None


def _decode_line(line: bytes) -> Command:
    """The one command of a line, with payloads that stand on their own.

    Raises:
        DecodeError: it is malformed.
    """
    try:
        if not line.isascii():
            line.decode()  # the strict decoder does not look into payloads
        command = _decode_command(line)
    except RecursionError:
        raise DecodeError("values are nested too deep") from None
    except (msgspec.DecodeError, UnicodeDecodeError):
        return _read(Command, line)
    if line.count(_OPENING) > 2 and _has_twins(line, command):
        return _read(Command, line)
    # A payload is a view into the frame, and would keep all of it as long as it lives.
    # 64-bit unsigned numbers are open upwards in msgspec: the tolerant reader refuses them.
    if (publish := command.publish) is not None and publish.data is not NO_DATA:
        publish.data = publish.data.copy()
    if (subscribe := command.subscribe) is not None:
        if subscribe.offset > MAX_U64 or _MINUS_ZERO in line:
            return _read(Command, line)
        if subscribe.data is not NO_DATA:
            subscribe.data = subscribe.data.copy()
    if (rpc := command.rpc) is not None and rpc.data is not NO_DATA:
        rpc.data = rpc.data.copy()
    if (send := command.send) is not None and send.data is not NO_DATA:
        send.data = send.data.copy()
    if (
        command.connect is not None
        or command.sub_refresh is not None
        or command.history is not None
    ):
        return _settle_rare(command, line)
    return command


def _has_twins(line: bytes, command: Command) -> bool:
    """Whether an object may be there twice, and have to be merged.

    The text of a payload may look like one: then the tolerant reader is asked for nothing.
    """
    if command.publish is not None:  # a usual one, whose payload is an object in its own right
        return line.count(b'"publish"') > 1
    if command.rpc is not None:
        return line.count(b'"rpc"') > 1
    names = _OBJECTS.findall(line)
    return len(names) > len(set(names))


def _settle_rare(command: Command, line: bytes) -> Command:
    """What :func:`_decode_line` does at its end, for commands with lists of numbers."""
    offsets: list[int] = []
    if (connect := command.connect) is not None:
        if connect.data is not NO_DATA:
            connect.data = connect.data.copy()
        offsets += [s.offset for s in (connect.subs or {}).values()]
    if (sub_refresh := command.sub_refresh) is not None:
        offsets += [item.version for batch in sub_refresh.track for item in batch.items]
    if command.history is not None and command.history.since is not None:
        offsets.append(command.history.since.offset)
    if offsets and (max(offsets) > MAX_U64 or _MINUS_ZERO in line):
        return _read(Command, line)
    return command


def _encode_publication(message: Struct, publication: Publication) -> bytes:
    """``message``, which holds nothing but ``publication``, as a line.

    Raises:
        EncodeError: a payload is not valid JSON.
    """
    data = publication.data
    info = publication.info
    if (
        (info is None or (info.conn_info is NO_DATA and info.chan_info is NO_DATA))
        and publication.tags is None
        and publication.prev_data is NO_DATA
        and data
    ):
        return _encode_with(message, (data,))
    payloads: list[Raw] = []
    if not _collect(publication, payloads):
        return _write(message)
    return _encode_with(message, payloads)


JSON: Final = JsonCodec()
"""The codec of JSON connections."""

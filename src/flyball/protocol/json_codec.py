"""The JSON encoding: one message a line, payloads copied through as text."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar, Final, TypeVar

import msgspec
from msgspec import Raw, Struct

from flyball.protocol.codec import Codec, DecodeError, EncodeError
from flyball.protocol.json_reader import read_message
from flyball.protocol.json_writer import write_message, write_string
from flyball.protocol.messages import (
    NO_DATA,
    Command,
    ConnectRequest,
    EmulationRequest,
    Publication,
    Push,
    Reply,
)
from flyball.protocol.schema import FIELDS, Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

M = TypeVar("M", bound=Struct)

_NEWLINE: Final = 10
_LINE_BREAK: Final = b"\n"
_U64_END: Final = 2**64

_decode_command: Final = msgspec.json.Decoder(Command).decode
_decode_raw: Final = msgspec.json.Decoder(Raw).decode
_encode: Final = msgspec.json.Encoder().encode

# Bytes that msgspec leaves alone in strings but the protocol escapes (``<>&``, and U+2028/9
# by their first byte), and the backslash: msgspec has short forms for \b and \f.
_LESS, _GREATER, _AMPERSAND, _BACKSLASH, _SEPARATOR = b"<>&\\\xe2"
_DOUBTFUL: Final = b"<>&\\\xe2"


class JsonCodec(Codec):
    """JSON messages, by the original's rules for output and its tolerance for input."""

    name: ClassVar[str] = "json"
    ping: ClassVar[bytes] = b"{}"

    def decode_frame(self, frame: bytes) -> tuple[list[Command], DecodeError | None]:
        """The commands of one frame: lines, the last may be empty."""
        if _NEWLINE not in frame:
            try:
                return [_decode_line(frame)], None
            except DecodeError as error:
                return [], error
        lines = frame.split(_LINE_BREAK)
        if not lines[-1]:
            lines.pop()
        commands: list[Command] = []
        for line in lines:
            try:
                commands.append(_decode_line(line))
            except DecodeError as error:
                return commands, error
        return commands, None

    def decode_connect(self, message: bytes) -> ConnectRequest:
        """The ConnectRequest that opens a unidirectional connection; it may span lines.

        Raises:
            DecodeError: ``message`` is malformed.
        """
        return read_message(ConnectRequest, message)

    def decode_emulation(self, body: bytes) -> EmulationRequest:
        """The body of an emulation request; ``data`` becomes the frame in the JSON string.

        ``data`` is absent if it is no string: then there is nothing to carry out.

        Raises:
            DecodeError: ``body`` is malformed.
        """
        request = read_message(EmulationRequest, body)
        try:
            frame = msgspec.json.decode(request.data, type=str) if request.data else ""
        except msgspec.DecodeError:
            frame = ""
        request.data = Raw(frame.encode()) if frame else NO_DATA
        return request

    def encode_reply(self, reply: Reply) -> bytes:
        """One line without its end.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode_message(reply)

    def encode_push(self, push: Push) -> bytes:
        """One line without its end.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode_message(push)

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
            publication, data=Raw(write_string(text)), epoch="", delta=delta
        )
        return copy

    def encode_command(self, command: Command) -> bytes:
        """One command, as a client sends it.

        Raises:
            EncodeError: a payload is not valid JSON.
        """
        return _encode_message(command)

    def decode_replies(self, frame: bytes) -> list[Reply]:
        """The replies of one frame, as a client reads them.

        Raises:
            DecodeError: the frame is malformed.
        """
        return [read_message(Reply, line) for line in frame.split(_LINE_BREAK)]

    def decode_push(self, message: bytes) -> Push:
        """One message of a unidirectional connection, as a client reads it.

        Raises:
            DecodeError: the message is malformed.
        """
        return read_message(Push, message)


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
        return read_message(Command, line)
    # A payload is a view into the frame, and would keep all of it as long as it lives.
    # 64-bit unsigned numbers are open upwards in msgspec: the tolerant reader refuses them.
    if (publish := command.publish) is not None and publish.data is not NO_DATA:
        publish.data = publish.data.copy()
    if (subscribe := command.subscribe) is not None:
        if subscribe.offset >= _U64_END:
            return read_message(Command, line)
        if subscribe.data is not NO_DATA:
            subscribe.data = subscribe.data.copy()
    if (rpc := command.rpc) is not None and rpc.data is not NO_DATA:
        rpc.data = rpc.data.copy()
    if (send := command.send) is not None and send.data is not NO_DATA:
        send.data = send.data.copy()
    if command.connect is not None or command.sub_refresh is not None:
        return _settle_rare(command, line)
    if (
        (history := command.history) is not None
        and (since := history.since) is not None
        and since.offset >= _U64_END
    ):
        return read_message(Command, line)
    return command


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
    if offsets and max(offsets) >= _U64_END:
        return read_message(Command, line)
    return command


def _encode_message(message: Struct) -> bytes:
    """``message`` as a line.

    Raises:
        EncodeError: a payload is not valid JSON.
    """
    payloads: list[Raw] = []
    if not _collect(message, payloads):
        return write_message(message)
    return _encode_checked(message, payloads)


def _encode_publication(message: Struct, publication: Publication) -> bytes:
    """``message``, which holds nothing but ``publication``, as a line.

    Raises:
        EncodeError: a payload is not valid JSON.
    """
    data = publication.data
    if (
        publication.info is None
        and publication.tags is None
        and publication.prev_data is NO_DATA
        and data
    ):
        return _encode_checked(message, (data,))
    payloads: list[Raw] = []
    if not _collect(publication, payloads):
        return write_message(message)
    return _encode_checked(message, payloads)


def _encode_checked(message: Struct, payloads: Sequence[Raw]) -> bytes:
    """``message`` as a line: by msgspec if that is right, else by the exact writer.

    Raises:
        EncodeError: one of ``payloads``, which are all that are in it, is not valid JSON.
    """
    try:
        line = _encode(message)
        for payload in payloads:
            # each by itself: "1},{" would do no harm to the line as a whole
            _decode_raw(payload)
    except (UnicodeEncodeError, msgspec.DecodeError, RecursionError):
        return write_message(message)
    if _NEWLINE in line or (_is_doubtful(line) and not _is_doubt_cleared(line, payloads)):
        return write_message(message)
    if not line.isascii():
        try:
            line.decode()
        except UnicodeDecodeError:
            raise EncodeError("a payload is not valid UTF-8") from None
    return line


def _is_doubtful(line: bytes) -> bool:
    """Whether a string in ``line`` may need other escapes than msgspec's."""
    return (
        _LESS in line
        or _BACKSLASH in line
        or _GREATER in line
        or _AMPERSAND in line
        or _SEPARATOR in line
    )


def _is_doubt_cleared(line: bytes, payloads: Sequence[Raw]) -> bool:
    """Whether all doubtful bytes of ``line`` stand in payloads, which are not escaped."""
    count = len(line) - len(line.translate(None, _DOUBTFUL))
    for payload in payloads:
        data = bytes(payload)
        count -= len(data) - len(data.translate(None, _DOUBTFUL))
    return count == 0


def _collect(message: Struct, payloads: list[Raw]) -> bool:
    """Add all payloads inside ``message`` to ``payloads``.

    False if msgspec would write something that has to be left out: an empty payload that
    is not the default, an empty map.
    """
    for name, visit in _PATHS[type(message)]:
        value = getattr(message, name)
        if value is not None and value is not NO_DATA and not visit(value, payloads):
            return False
    return True


def _collect_payload(payload: Raw, payloads: list[Raw]) -> bool:
    payloads.append(payload)
    return len(payload) > 0


def _collect_list(messages: list[Struct], payloads: list[Raw]) -> bool:
    return all(_collect(message, payloads) for message in messages)


def _collect_map(messages: dict[str, Struct], payloads: list[Raw]) -> bool:
    return len(messages) > 0 and all(_collect(m, payloads) for m in messages.values())


def _collect_text_map(texts: dict[str, str], _payloads: list[Raw]) -> bool:
    return len(texts) > 0


_Visit = Callable[[Any, list[Raw]], bool]
_Path = tuple[tuple[str, _Visit], ...]

_VISITS: Final[dict[Kind, _Visit]] = {
    Kind.PAYLOAD: _collect_payload,
    Kind.MESSAGE: _collect,
    Kind.MESSAGES: _collect_list,
    Kind.MESSAGE_MAP: _collect_map,
    Kind.TEXT_MAP: _collect_text_map,
}
_WATCHED: Final = (Kind.PAYLOAD, Kind.MESSAGE_MAP, Kind.TEXT_MAP)


def _paths() -> dict[type[Struct], _Path]:
    """For each message the fields that can hold payloads or maps, at any depth."""
    paths: dict[type[Struct], _Path] = dict.fromkeys(FIELDS, ())
    while True:
        found = {
            message: tuple(
                (f.name, _VISITS[f.kind])
                for f in fields
                if f.kind in _WATCHED or (f.message is not None and paths[f.message])
            )
            for message, fields in FIELDS.items()
        }
        if found == paths:
            return paths
        paths = found


_PATHS: Final = _paths()

JSON: Final = JsonCodec()
"""The codec of JSON connections."""

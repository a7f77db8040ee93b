"""The Protobuf encoding: each message behind its length as a varint.

The schema comes from ``client.binpb``, compiled from ``client.proto``, and is loaded into
a pool of this module, so that another package's messages of the same name do no harm.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from importlib.resources import files
from operator import attrgetter
from typing import Any, ClassVar, Final, TypeVar

import msgspec
from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from msgspec import Raw, Struct

from flyball.protocol.codec import Codec, DecodeError, EncodeError
from flyball.protocol.messages import (
    NO_DATA,
    ClientInfo,
    Command,
    ConnectRequest,
    EmulationRequest,
    Publication,
    Push,
    Reply,
)
from flyball.protocol.schema import FIELDS, Field, Kind, as_tuple

M = TypeVar("M", bound=Struct)

PACKAGE: Final = "flyball.client"
"""Package of the messages in ``client.proto``."""

_MAX_VARINT: Final = 10
_U64_END: Final = 2**64


def _load_classes() -> dict[type[Struct], type[message.Message]]:
    """The Protobuf class of every message struct."""
    data = files(__package__).joinpath("client.binpb").read_bytes()
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(data).file:
        pool.AddSerializedFile(file.SerializeToString())
    find = pool.FindMessageTypeByName
    return {
        struct: message_factory.GetMessageClass(find(f"{PACKAGE}.{struct.__name__}"))
        for struct in FIELDS
    }


CLASSES: Final = _load_classes()
"""The Protobuf class of every message struct."""


class ProtobufCodec(Codec):
    """Protobuf messages, each with its length in front."""

    name: ClassVar[str] = "protobuf"
    ping: ClassVar[bytes] = b"\x00"

    def decode_frame(self, frame: bytes) -> tuple[list[Command], DecodeError | None]:
        """The commands of one frame; an empty message is an empty command (a pong)."""
        commands: list[Command] = []
        try:
            pos = 0
            end = len(frame)
            while pos < end:
                length = frame[pos]
                pos += 1
                if length > 127:
                    length, pos = _read_varint(frame, pos - 1)
                stop = pos + length
                if stop > end:
                    raise _too_long(length, end - pos)
                commands.append(_read_command(frame[pos:stop]))
                pos = stop
        except DecodeError as error:
            return commands, error
        if not commands:
            return commands, DecodeError("the frame holds no command")
        return commands, None

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
        return _framed(b'"' + _varint(len(push)) + push)  # field 4 of Reply

    def encode_publication_uni(self, channel: str, publication: Publication) -> bytes:
        """The bare push of ``publication``, behind its length.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _framed(_write_publication_push(channel, publication))

    def encode_publish_reply(self, command_id: int) -> bytes:
        """The reply to a successful publish."""
        return _framed((b"\x08" + _varint(command_id) if command_id else b"") + b"B\x00")

    def join(self, messages: Sequence[bytes]) -> bytes:
        """One message after the other: each knows its length."""
        return messages[0] if len(messages) == 1 else b"".join(messages)

    def delta_publication(self, publication: Publication, patch: bytes | None) -> Publication:
        """The publication with the patch as ``data``, or as it is."""
        if patch is None:
            return publication
        copy: Publication = msgspec.structs.replace(publication, data=Raw(patch), delta=True)
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

    def encode_message(self, message: Struct) -> bytes:
        """Any message of the protocol without a length: for gRPC, and between nodes.

        Raises:
            EncodeError: a number is out of its range.
        """
        return _write(message)

    def decode_message(self, struct: type[M], data: bytes) -> M:
        """The message of type ``struct`` that is all of ``data``: for gRPC, and between nodes.

        Raises:
            DecodeError: ``data`` is malformed.
        """
        return _read(struct, data)


def split_frame(frame: bytes) -> list[bytes]:
    """The messages of a frame without their lengths.

    Raises:
        DecodeError: a length is malformed or longer than what is left.
    """
    parts: list[bytes] = []
    pos = 0
    while pos < len(frame):
        length, pos = _read_varint(frame, pos)
        if pos + length > len(frame):
            raise _too_long(length, len(frame) - pos)
        parts.append(frame[pos : pos + length])
        pos += length
    return parts


def _too_long(length: int, left: int) -> DecodeError:
    return DecodeError(f"a message of {length} bytes is announced, the frame has {left} left")


def _read_varint(data: bytes, pos: int) -> tuple[int, int]:
    """The varint at ``pos`` and where it ends.

    Raises:
        DecodeError: it is cut off, or has more than 64 bits.
    """
    head = data[pos : pos + 2]
    if len(head) == 2 and head[1] < 128 <= head[0]:
        return head[0] & 127 | head[1] << 7, pos + 2
    value = 0
    for index, byte in enumerate(data[pos : pos + _MAX_VARINT]):
        value |= (byte & 127) << (7 * index)
        if byte < 128:
            if value >= _U64_END:
                break
            return value, pos + index + 1
    raise DecodeError("a length prefix is cut off or too long")


def _varint(value: int) -> bytes:
    if value < 128:
        return _SMALL[value]
    if value < 1 << 14:
        return bytes((value & 127 | 128, value >> 7))
    out = bytearray()
    while value > 127:
        out.append(value & 127 | 128)
        value >>= 7
    out.append(value)
    return bytes(out)


_SMALL: Final = tuple(bytes((i,)) for i in range(128))


def _framed(data: bytes) -> bytes:
    return _varint(len(data)) + data


# --- reading: Protobuf message to struct ---------------------------------------------------

_Convert = Callable[[Any], Any]


def _read(struct: type[M], data: bytes) -> M:
    """``data`` as a struct.

    Raises:
        DecodeError: it is malformed.
    """
    try:
        parsed = CLASSES[struct].FromString(data)
    except (message.DecodeError, UnicodeDecodeError, RecursionError) as error:
        # the library's pure Python form, where there is no compiled one, raises the last two
        raise DecodeError(f"malformed {struct.__name__}: {error}") from None
    value: M = _READERS[struct](parsed)
    return value


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
        command_id, pos = _read_varint(data, 1)
    request = _REQUESTS.get(data[pos]) if pos + 1 < size else None
    if request is None or command_id > _U32_MAX:
        return _read(Command, data)
    length = data[pos + 1]
    pos += 2
    if length > 127:
        length, pos = _read_varint(data, pos - 1)
    if pos + length != size:
        return _read(Command, data)
    name, struct = request
    command = Command(command_id)
    setattr(command, name, _read(struct, data[pos:]))
    return command


_ID_TAG: Final = 8
_U32_MAX: Final = 2**32 - 1


def _reader(struct: type[Struct]) -> _Convert:
    """What turns a Protobuf message into ``struct``."""
    fields = FIELDS[struct]
    if 1 < len(fields) <= _FLAT_SIZE and all(field.kind in _FLAT_KINDS for field in fields):
        return _flat_reader(struct)
    return _sparse_reader(struct)


_FLAT_SIZE: Final = 6
_FLAT_KINDS: Final = (Kind.TEXT, Kind.FLAG, Kind.NUMBER, Kind.PAYLOAD)


def _flat_reader(struct: type[Struct]) -> _Convert:
    """A reader that takes all fields, for a few plain ones."""
    get = attrgetter(*(field.name for field in FIELDS[struct]))
    payloads = [i for i, field in enumerate(FIELDS[struct]) if field.kind is Kind.PAYLOAD]
    if not payloads:
        return lambda parsed: struct(*get(parsed))

    def read(parsed: message.Message) -> Struct:
        values = list(get(parsed))
        for index in payloads:
            values[index] = Raw(values[index]) if values[index] else NO_DATA
        return struct(*values)

    return read


def _sparse_reader(struct: type[Struct]) -> _Convert:
    """A reader that looks only at the fields that are set.

    Those that JSON writes always have no default in the struct and are always given.
    """
    converters = {field.name: _value_reader(field) for field in FIELDS[struct]}
    always = [field for field in FIELDS[struct] if field.always]

    def read(parsed: message.Message) -> Struct:
        values: dict[str, Any] = {}
        for descriptor, value in parsed.ListFields():
            name = descriptor.name
            convert = converters[name]
            values[name] = value if convert is None else convert(value)
        for field in always:
            if field.name not in values:
                values[field.name] = _ZERO[field.kind]()
        return struct(**values)

    return read


_ZERO: Final[dict[Kind, Callable[[], Any]]] = {
    Kind.TEXT: str,
    Kind.NUMBER: int,
    Kind.MESSAGES: list,
    Kind.MESSAGE_MAP: dict,
}


def _value_reader(field: Field) -> _Convert | None:
    """What turns the value of a Protobuf field into that of the struct's, None for nothing."""
    if field.message is None:
        return _PLAIN_READERS.get(field.kind)
    struct = field.message

    def read(value: Any) -> Struct:  # looked up late: messages contain each other
        inner: Struct = _READERS[struct](value)
        return inner

    if field.kind is Kind.MESSAGE:
        return read
    if field.kind is Kind.MESSAGES:
        return lambda values: [read(value) for value in values]
    return lambda values: {key: read(value) for key, value in values.items()}


_PLAIN_READERS: Final[dict[Kind, _Convert]] = {
    Kind.PAYLOAD: Raw,
    Kind.TEXTS: list,
    Kind.TEXT_MAP: dict,
}
_READERS: Final[dict[type[Struct], _Convert]] = {struct: _reader(struct) for struct in FIELDS}

_REQUESTS: Final[dict[int, tuple[str, type[Struct]]]] = {
    CLASSES[Command].DESCRIPTOR.fields_by_name[field.name].number << 3 | 2: (
        field.name,
        field.message,
    )
    for field in FIELDS[Command]
    if field.message is not None
}
"""The first byte of each request inside a command, with its name and struct."""


# --- writing: struct to Protobuf message ---------------------------------------------------


def _write(struct: Struct) -> bytes:
    """``struct`` as Protobuf.

    Raises:
        EncodeError: a number is out of its range.
    """
    build = CLASSES[type(struct)]
    try:
        built = build(**_values(struct))
    except (ValueError, TypeError):
        try:  # once more without lone surrogates, the one fault that can be mended
            built = build(**_values(_clean(struct)))
        except (ValueError, TypeError) as error:
            raise EncodeError(f"{type(struct).__name__} cannot be written: {error}") from error
    return built.SerializeToString()


def _values(struct: Struct) -> dict[str, Any]:
    """The fields of ``struct`` that are set, in the form Protobuf constructors take."""
    values: dict[str, Any] = {}
    for writer, value in zip(_WRITERS[type(struct)], as_tuple(struct), strict=True):
        if value:
            name, convert = writer
            values[name] = value if convert is None else convert(value)
    return values


def _value_writer(field: Field) -> _Convert | None:
    if field.kind is Kind.PAYLOAD:
        return bytes
    if field.message is None:
        return None
    if field.kind is Kind.MESSAGE:
        return _values
    if field.kind is Kind.MESSAGES:
        return lambda structs: [_values(struct) for struct in structs]
    built = CLASSES[field.message]  # values of maps have to be messages
    return lambda structs: {key: built(**_values(value)) for key, value in structs.items()}


_WRITERS: Final[dict[type[Struct], tuple[tuple[str, _Convert | None], ...]]] = {
    struct: tuple((field.name, _value_writer(field)) for field in fields)
    for struct, fields in FIELDS.items()
}


def _clean(value: Any) -> Any:
    """``value`` with lone surrogates replaced in all strings inside."""
    if isinstance(value, str):
        return value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
    if isinstance(value, list):
        return [_clean(item) for item in value]
    if isinstance(value, dict):
        return {_clean(key): _clean(item) for key, item in value.items()}
    if isinstance(value, Struct):
        return type(value)(*map(_clean, as_tuple(value)))
    return value


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
    if not 0 <= offset < _U64_END:
        raise EncodeError(f"offset {offset} is no unsigned 64-bit number")
    data = publication.data
    body = b'"' + _varint(len(data)) + bytes(data) if data else b""  # field 4: data
    try:
        if publication.info is not None:
            info = _write_info(publication.info)
            body += b"*" + _varint(len(info)) + info  # field 5: info
        name = channel.encode()
    except UnicodeEncodeError:
        return _write(Push(channel=channel, pub=publication))
    if offset:
        body += b"0" + _varint(offset)  # field 6: offset
    head = b"\x12" + _varint(len(name)) + name if name else b""  # field 2: channel
    return head + b'"' + _varint(len(body)) + body  # field 4: pub


def _write_info(info: ClientInfo) -> bytes:
    """``info``; raises UnicodeEncodeError for lone surrogates."""
    user = info.user.encode()
    client = info.client.encode()
    out = b"\x0a" + _varint(len(user)) + user if user else b""  # field 1: user
    if client:
        out += b"\x12" + _varint(len(client)) + client  # field 2: client
    if info.conn_info:
        out += b"\x1a" + _varint(len(info.conn_info)) + bytes(info.conn_info)  # field 3
    if info.chan_info:
        out += b'"' + _varint(len(info.chan_info)) + bytes(info.chan_info)  # field 4
    return out


PROTOBUF: Final = ProtobufCodec()
"""The codec of Protobuf connections."""

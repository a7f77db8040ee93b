"""Messages of one family to and from Protobuf.

Their classes are made from a compiled descriptor set, in a pool of their own, so that another
package's messages of the same name do no harm.
"""

from __future__ import annotations

from collections.abc import Callable
from operator import attrgetter
from typing import Any, Final, TypeAlias, TypeVar

from google.protobuf import descriptor_pb2, descriptor_pool, message, message_factory
from google.protobuf.unknown_fields import UnknownFieldSet
from msgspec import Raw, Struct

from flyball.protocol.codec import DecodeError, EncodeError
from flyball.protocol.fields import ZEROS, FieldKind, FieldTable, MessageField, as_tuple, inner
from flyball.protocol.messages import NO_DATA

M = TypeVar("M", bound=Struct)

_Convert: TypeAlias = Callable[[Any], Any]

_FLAT_SIZE: Final = 6
_FLAT_KINDS: Final = (
    FieldKind.TEXT,
    FieldKind.FLAG,
    FieldKind.NUMBER,
    FieldKind.DECIMAL,
    FieldKind.PAYLOAD,
)


class ProtobufMessages:
    """Reads and writes the messages of one family, without lengths around them.

    Args:
        table: the family.
        package: of the messages in the descriptors.
        descriptors: a compiled ``FileDescriptorSet``.
        strict: a known field with another wire type than its own is an error, not unknown.
    """

    __slots__ = ("_readers", "_strict", "_table", "_writers", "classes", "pool")

    def __init__(
        self, table: FieldTable, package: str, descriptors: bytes, *, strict: bool = False
    ) -> None:
        pool = descriptor_pool.DescriptorPool()
        for file in descriptor_pb2.FileDescriptorSet.FromString(descriptors).file:
            pool.AddSerializedFile(file.SerializeToString())
        self._table = table
        self._strict = strict
        self.pool: descriptor_pool.DescriptorPool = pool
        """All descriptors of the family."""
        self.classes: dict[type[Struct], type[message.Message]] = {
            struct: message_factory.GetMessageClass(
                pool.FindMessageTypeByName(f"{package}.{struct.__name__}")
            )
            for struct in table
        }
        """The Protobuf class of every message struct."""
        self._readers: dict[type[Struct], _Convert] = {s: self._reader(s) for s in table}
        self._writers = {
            struct: tuple((field.name, self._value_writer(field)) for field in fields)
            for struct, fields in table.items()
        }

    def read(self, struct: type[M], data: bytes) -> M:
        """The message of type ``struct`` that is all of ``data``.

        Raises:
            DecodeError: ``data`` is malformed.
        """
        try:
            parsed = self.classes[struct].FromString(data)
        except (message.DecodeError, UnicodeDecodeError, RecursionError) as error:
            # The library's pure Python form, where there is no compiled one, raises the last two.
            raise DecodeError(f"malformed {struct.__name__}: {error}") from None
        value: M = self._readers[struct](parsed)
        return value

    def write(self, struct: Struct) -> bytes:
        """``struct`` as Protobuf.

        Raises:
            EncodeError: a number is out of its range.
        """
        build = self.classes[type(struct)]
        try:
            built = build(**self._values(struct))
        except (ValueError, TypeError):
            try:  # once more without lone surrogates, the one fault that can be mended
                built = build(**self._values(_clean(struct)))
            except (ValueError, TypeError) as error:
                name = type(struct).__name__
                raise EncodeError(f"{name} cannot be written: {error}") from error
        return built.SerializeToString()

    # -- reading: Protobuf message to struct

    def _reader(self, struct: type[Struct]) -> _Convert:
        """What turns a Protobuf message into ``struct``."""
        fields = self._table[struct]
        if 1 < len(fields) <= _FLAT_SIZE and all(field.kind in _FLAT_KINDS for field in fields):
            read = _flat_reader(struct, fields)
        else:
            read = self._sparse_reader(struct)
        return _strictly(read) if self._strict else read

    def _sparse_reader(self, struct: type[Struct]) -> _Convert:
        """A reader that looks only at the fields that are set.

        Those that JSON writes always have no default in the struct and are always given.
        """
        fields = self._table[struct]
        converters = {field.name: self._value_reader(field) for field in fields}
        zeros = [(field.name, ZEROS[field.kind]) for field in fields if field.always]

        def read(parsed: message.Message) -> Struct:
            values: dict[str, Any] = {}
            for descriptor, value in parsed.ListFields():
                name = descriptor.name
                convert = converters[name]
                values[name] = value if convert is None else convert(value)
            for name, zero in zeros:
                if name not in values:
                    values[name] = zero()
            return struct(**values)

        return read

    def _value_reader(self, field: MessageField) -> _Convert | None:
        """What turns the value of a Protobuf field into that of the struct's, None for nothing."""
        if field.message is None:
            return _PLAIN_READERS.get(field.kind)
        struct = field.message

        def read(value: Any) -> Struct:  # looked up late: messages contain each other
            found: Struct = self._readers[struct](value)
            return found

        if field.kind is FieldKind.MESSAGE:
            return read
        if field.kind is FieldKind.MESSAGES:
            return lambda values: [read(value) for value in values]
        return lambda values: {key: read(value) for key, value in values.items()}

    # -- writing: struct to Protobuf message

    def _values(self, struct: Struct) -> dict[str, Any]:
        """The fields of ``struct`` that are set, in the form Protobuf constructors take."""
        values: dict[str, Any] = {}
        for writer, value in zip(self._writers[type(struct)], as_tuple(struct), strict=True):
            if value:
                name, convert = writer
                values[name] = value if convert is None else convert(value)
        return values

    def _value_writer(self, field: MessageField) -> _Convert | None:
        if field.kind is FieldKind.PAYLOAD:
            return bytes
        if field.message is None:
            return None
        if field.kind is FieldKind.MESSAGE:
            return self._values
        if field.kind is FieldKind.MESSAGES:
            return lambda structs: [self._values(s) if s is not None else {} for s in structs]
        build = self.classes[inner(field)]  # values of maps have to be messages
        return lambda structs: {key: build(**self._values(s)) for key, s in structs.items()}


def _strictly(read: _Convert) -> _Convert:
    """``read``, if no known field has come in another wire type: the library would skip it."""

    def read_strictly(parsed: message.Message) -> Any:
        for field in UnknownFieldSet(parsed):  # type: ignore[attr-defined]  # it has no __iter__
            known = parsed.DESCRIPTOR.fields_by_number.get(field.field_number)
            if known is not None:
                raise DecodeError(f"field {known.name} has wire type {field.wire_type}")
        return read(parsed)

    return read_strictly


def _flat_reader(struct: type[Struct], fields: tuple[MessageField, ...]) -> _Convert:
    """A reader that takes all fields, for a few plain ones."""
    get = attrgetter(*(field.name for field in fields))
    payloads = [i for i, field in enumerate(fields) if field.kind is FieldKind.PAYLOAD]
    if not payloads:
        return lambda parsed: struct(*get(parsed))

    def read(parsed: message.Message) -> Struct:
        values = list(get(parsed))
        for index in payloads:
            values[index] = Raw(values[index]) if values[index] else NO_DATA
        return struct(*values)

    return read


_PLAIN_READERS: Final[dict[FieldKind, _Convert]] = {
    FieldKind.PAYLOAD: Raw,
    FieldKind.TEXTS: list,
    FieldKind.TEXT_MAP: dict,
    FieldKind.DECIMAL_MAP: dict,
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
        names = value.__struct_fields__
        return type(value)(**{name: _clean(getattr(value, name)) for name in names})
    return value

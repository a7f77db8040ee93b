"""A family of messages, read and written in JSON and Protobuf by the same rules.

The client protocol is one, the server API another. A family is a set of msgspec structs; what
is special about one of them (fast paths for the hot messages) stands on top of it.
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cached_property
from typing import TypeVar

from msgspec import Struct

from flyball.protocol.fields import GROWN, MAX_U64, FieldTable, Paths, field_table, paths_to
from flyball.protocol.json_reader import JsonDecoder, JsonReader
from flyball.protocol.json_writer import JsonWriter
from flyball.protocol.protobuf import ProtobufMessages

M = TypeVar("M", bound=Struct)


class Schema:
    """All messages of a family.

    Args:
        structs: the messages; those inside them come by themselves. Their fields stand in schema order,
            which is the order of the JSON output. A field without a default is always written.
        package: of the messages in the Protobuf descriptors, where each has the name of its
            struct.
        descriptors: a compiled ``FileDescriptorSet``; empty for a family without Protobuf.
        strict: see :class:`~flyball.protocol.protobuf.ProtobufMessages`.
        canonical: see :class:`~flyball.protocol.json_writer.JsonWriter`.
    """

    def __init__(
        self,
        structs: Iterable[type[Struct]],
        *,
        package: str = "",
        descriptors: bytes = b"",
        canonical: bool = False,
        strict: bool = False,
    ) -> None:
        self.table: FieldTable = field_table(structs)
        self.json_reader: JsonReader = JsonReader(self.table)
        """JSON by the tolerant rules: names in any case, unknown ones ignored, ``null`` absent."""
        self.json_writer: JsonWriter = JsonWriter(self.table, canonical=canonical)
        self._package = package
        self._descriptors = descriptors
        self._strict = strict

    @cached_property
    def protobuf(self) -> ProtobufMessages:
        """The family in Protobuf; made when first asked for."""
        return ProtobufMessages(self.table, self._package, self._descriptors, strict=self._strict)

    @cached_property
    def _wide(self) -> Paths:
        return paths_to(self.table, lambda field: field.high == MAX_U64)

    @cached_property
    def _grown(self) -> Paths:
        return paths_to(self.table, lambda field: field.kind in GROWN)

    def json_decoder(self, message: type[M]) -> JsonDecoder[M]:
        """What reads one type of message from JSON, fast and tolerantly."""
        return JsonDecoder(message, self.json_reader, self._wide, self._grown)

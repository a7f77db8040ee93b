"""The messages of the client protocol as a schema: the one that all codecs share."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from flyball.protocol import messages
from flyball.protocol.fields import structs_in
from flyball.protocol.schema import Schema

PACKAGE: Final = "flyball.client"
"""Package of the messages in ``client.proto``."""

CLIENT: Final = Schema(
    structs_in(messages),
    package=PACKAGE,
    descriptors=files(__package__).joinpath("client.binpb").read_bytes(),
    strict=True,
)
"""All messages between clients and server."""

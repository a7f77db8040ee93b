"""The messages of the server API as a schema: the one that all its doors share."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from flyball.protocol.fields import structs_in
from flyball.protocol.schema import Schema
from flyball.server.api import messages

PACKAGE: Final = "centrifugal.centrifugo.api"
"""Package of the messages in ``api.proto``."""

API: Final = Schema(
    structs_in(messages),
    package=PACKAGE,
    descriptors=files(__package__).joinpath("api.binpb").read_bytes(),
    canonical=True,
)
"""All requests and results of the server API."""

"""The messages between server and backend as a schema: the one that HTTP and GRPC share."""

from __future__ import annotations

from importlib.resources import files
from typing import Final

from flyball.protocol.fields import structs_in
from flyball.protocol.schema import Schema
from flyball.server.proxies import messages

PACKAGE: Final = "centrifugal.centrifugo.proxy"
"""Package of the messages in ``proxy.proto``: part of the paths that backends serve over GRPC."""

PROXY: Final = Schema(
    structs_in(messages),
    package=PACKAGE,
    descriptors=files(__package__).joinpath("proxy.binpb").read_bytes(),
    canonical=True,
)
"""All questions and answers."""

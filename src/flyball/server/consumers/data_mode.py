"""Publication data mode: bodies are published as they are; what else there is stands beside them."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final

from msgspec import Raw

from flyball.protocol.fields import MAX_U64
from flyball.server.api import messages as m
from flyball.server.api.methods import METHODS
from flyball.server.consumers.errors import DroppedError

if TYPE_CHECKING:
    from flyball.server.api.methods import Method
    from flyball.server.consumers.base import Message

_TRUE: Final = ("1", "t", "T", "true", "TRUE", "True")
_FALSE: Final = ("0", "f", "F", "false", "FALSE", "False")
_NUMBER: Final = re.compile(r"[0-9]{1,20}")


@dataclass(frozen=True, slots=True, kw_only=True)
class PublicationDataMode:
    """Names of the metadata, and what becomes of a message that has them."""

    channels: str = "centrifugo-channels"
    """Comma separated; with more than one the message is a broadcast."""
    idempotency_key: str = "centrifugo-idempotency-key"
    delta: str = "centrifugo-delta"
    """A bool."""
    version: str = "centrifugo-version"
    """A whole number."""
    version_epoch: str = "centrifugo-version-epoch"
    tags_prefix: str = "centrifugo-tag-"
    """What follows is the name of a tag; empty: there are none."""

    def command(self, message: Message) -> tuple[Method, m.PublishRequest | m.BroadcastRequest]:
        """The publication as a request of the server API.

        Raises:
            DroppedError: there is no channel, or a value is malformed.
        """
        given = message.metadata
        channels = [name for name in given.get(self.channels, "").split(",") if name]
        if not channels:
            raise DroppedError(f"{self.channels!r} names no channel")
        what: dict[str, Any] = {
            "data": Raw(message.data),
            "tags": self._tags(message),
            "idempotency_key": given.get(self.idempotency_key, ""),
            "delta": _bool(self.delta, given.get(self.delta, "")),
            "version": _number(self.version, given.get(self.version, "")),
            "version_epoch": given.get(self.version_epoch, ""),
        }
        if len(channels) == 1:
            return METHODS["publish"], m.PublishRequest(channel=channels[0], **what)
        return METHODS["broadcast"], m.BroadcastRequest(channels=channels, **what)

    def _tags(self, message: Message) -> dict[str, str] | None:
        start = self.tags_prefix
        if not start:
            return None
        tags = {
            name.removeprefix(start): value
            for name, value in message.metadata.items()
            if name.startswith(start)
        }
        return tags or None


def _bool(name: str, text: str) -> bool:
    if text not in ("", *_TRUE, *_FALSE):
        raise DroppedError(f"{name!r} is {text[:64]!r}; true and false are allowed")
    return text in _TRUE


def _number(name: str, text: str) -> int:
    if not text:
        return 0
    if not _NUMBER.fullmatch(text) or int(text) > MAX_U64:
        raise DroppedError(f"{name!r} is {text[:64]!r}; a number from 0 to 2^64 - 1 is allowed")
    return int(text)

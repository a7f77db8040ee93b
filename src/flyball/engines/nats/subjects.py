"""Channels as NATS subjects.

``<prefix>.client.<channel>``, as the original has it. A channel that is no valid subject, because of
white space or an empty token, stands behind a mark in Base64; one that is too long by its hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from typing import TYPE_CHECKING, Final

from flyball.core.errors import EngineRefusal
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.engines.nats.options import NatsOptions

LONGEST: Final = 2048
"""Bytes of a channel that stands in its subject; a server takes lines of 4096."""
MARK: Final = "~="
"""What the subject of an encoded channel begins with; a channel that begins so is encoded too."""
_INVALID: Final = re.compile(r"[\x00-\x20\x7f]|^\.|\.\.|\.$|^$")
_WILDCARD: Final = re.compile(r"[*>]")


class Subjects:
    """The subjects below a prefix."""

    __slots__ = ("_client", "_options", "control")

    def __init__(self, options: NatsOptions) -> None:
        self._options = options
        raw = options.raw_mode
        self._client = f"{options.prefix}.client." if raw is None else raw.prefix
        self.control: bytes = f"{options.prefix}.control".encode()
        """Control messages for all nodes."""

    def node(self, node_id: str) -> bytes:
        """Control messages for one node."""
        return f"{self._options.prefix}.node.{node_id}".encode()

    def channel(self, channel: str) -> bytes:
        """Messages of a channel.

        Raises:
            EngineRefusal: the channel has wildcards that are not allowed, or no subject.
        """
        has_wildcards = _WILDCARD.search(channel) is not None
        if has_wildcards and not self._options.allow_wildcards:
            detail = f"channel {channel!r} has a wildcard of NATS; see allow_wildcards"
            raise EngineRefusal(codes.BAD_REQUEST, detail=detail)
        if self._options.raw_mode is None:
            return (self._client + token(channel)).encode()
        for old, new in self._options.raw_mode.channel_replacements:
            channel = channel.replace(old, new)
        subject = self._client + channel
        if _INVALID.search(subject) or len(subject.encode()) > LONGEST:
            raise EngineRefusal(codes.BAD_REQUEST, detail=f"{subject!r} is no NATS subject")
        return subject.encode()

    def matched(self, subject: bytes) -> str:
        """What a subject of raw mode says behind the prefix: a channel after its replacements."""
        return subject.decode(errors="replace")[len(self._client) :]


def token(channel: str) -> str:
    """A channel as the end of a subject."""
    raw = channel.encode()
    if len(raw) > LONGEST:
        return f"{MARK}{hashlib.sha256(raw).hexdigest()}"
    if _INVALID.search(channel) or channel.startswith(MARK):
        return MARK + base64.urlsafe_b64encode(raw).decode()
    return channel


def is_pattern(subject: bytes) -> bool:
    """Whether the subject stands for others."""
    return any(part in (b"*", b">") for part in subject.split(b"."))

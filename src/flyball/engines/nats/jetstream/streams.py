"""The JetStream streams of one prefix: names, subjects, and how they are made."""

from __future__ import annotations

import base64
import hashlib
import re
import secrets
from typing import TYPE_CHECKING, Any, Final

from flyball.engines.nats.subjects import MARK, token

if TYPE_CHECKING:
    from flyball.engines.nats.options import JetStreamOptions

_PLAIN: Final = re.compile(r"[A-Za-z0-9_-]{1,200}")
_SECOND: Final = 1_000_000_000


class Streams:
    """What is kept where.

    ``history``: all channels, one subject for each; a message is delivered by the server to the
    subject of the channel once it is stored. ``once``: publications that have an idempotency key
    and no history; delivered likewise. ``presence``: the last message of a subject is an entry.
    """

    __slots__ = ("_options", "_prefix", "history", "once", "presence")

    def __init__(self, prefix: str, options: JetStreamOptions) -> None:
        self._prefix = prefix
        self._options = options
        name = prefix
        if not _PLAIN.fullmatch(prefix):
            digest = hashlib.sha256(prefix.encode()).hexdigest()[:8]
            name = re.sub(r"[^A-Za-z0-9_-]", "_", prefix)[:100] + "_" + digest
        self.history: str = f"{name}_history"
        self.once: str = f"{name}_once"
        self.presence: str = f"{name}_presence"

    def history_subject(self, channel: str) -> bytes:
        """Messages of a channel in ``history``."""
        return f"{self._prefix}.js.history.{token(channel)}".encode()

    def barrier_subject(self) -> bytes:
        """One node's messages in ``history`` that mean nothing; no channel has this subject."""
        return f"{self._prefix}.js.history.{MARK}.barrier.{secrets.token_hex(8)}".encode()

    def once_subject(self, channel: str) -> bytes:
        """Messages of a channel in ``once``."""
        return f"{self._prefix}.js.once.{token(channel)}".encode()

    def presence_subject(self, channel: str, client: str = "") -> bytes:
        """An entry of ``presence``; those of all clients if none is named."""
        last = _word(client) if client else "*"
        return f"{self._prefix}.js.presence.{_word(channel)}.{last}".encode()

    def configs(self) -> list[dict[str, Any]]:
        """All three, as they are asked for."""
        options = self._options
        window = int(options.idempotency_window * _SECOND)
        common = {
            "retention": "limits",
            "num_replicas": options.replicas,
            "allow_direct": True,
            "discard": "new",
        }
        republished = {"dest": f"{self._prefix}.client.>"}
        return [
            {
                **common,
                "name": self.history,
                "subjects": [f"{self._prefix}.js.history.>"],
                "storage": options.storage,
                "max_bytes": options.max_bytes,
                "duplicate_window": window,
                "allow_msg_ttl": True,
                "republish": {"src": f"{self._prefix}.js.history.>", **republished},
            },
            {
                **common,
                "name": self.once,
                "subjects": [f"{self._prefix}.js.once.>"],
                "storage": options.storage,
                "max_age": window,
                "duplicate_window": window,
                "republish": {"src": f"{self._prefix}.js.once.>", **republished},
            },
            {
                **common,
                "name": self.presence,
                "subjects": [f"{self._prefix}.js.presence.>"],
                "storage": "memory",
                "max_msgs_per_subject": 1,
                "discard": "old",
                "allow_msg_ttl": True,
            },
        ]


def _word(text: str) -> str:
    """Any text as one word of a subject."""
    if _PLAIN.fullmatch(text):
        return text
    raw = text.encode()
    if len(raw) > 200:
        return f"{MARK}{hashlib.sha256(raw).hexdigest()}"
    return MARK + base64.urlsafe_b64encode(raw).decode()

"""Which options a reload puts in force, and which wait for the next start."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

from flyball.server.config.schema import Config
from flyball.server.config.table import to_plain

RELOADED: Final = (
    *("channel.", "rpc.", "client.token.", "client.subscription_token."),
    *("client.insecure", "client.insecure_skip_token_signature_verify"),
    "client.allow_anonymous_connect_without_token",
    "client.disallow_anonymous_connection_tokens",
    "client.user_id_http_header",
    "client.subscribe_to_user_personal_channel.",
)
"""Options, and sections (with a dot at the end), that a reload puts in force."""


def waiting_for_restart(running: Config, wanted: Config) -> list[str]:
    """Return the options that differ and that a reload leaves as they are."""
    return [
        key
        for key in _differences(to_plain(running), to_plain(wanted))
        if not any(key.startswith(r) if r.endswith(".") else key == r for r in RELOADED)
    ]


def _differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> Iterator[str]:
    for name, before in old.items():
        after = new[name]
        if isinstance(before, dict) and isinstance(after, dict) and before.keys() == after.keys():
            yield from _differences(before, after, f"{prefix}{name}.")
        elif before != after:
            yield f"{prefix}{name}"

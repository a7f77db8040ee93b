"""Settings of a consumer of Google Pub/Sub."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flyball.core.errors import ConfigError

_NAME: Final = re.compile(r"[A-Za-z][A-Za-z0-9._~+%-]{2,254}")
_PROJECT: Final = re.compile(r"[^/\s]+")


@dataclass(frozen=True, slots=True, kw_only=True)
class PubSubOptions:
    """Which subscriptions, and how they are read."""

    project: str
    """The project that has them."""
    subscriptions: tuple[str, ...]
    """Their names, without the project."""
    method_attribute: str = "centrifugo-method"
    """Attribute with the method."""
    max_messages: int = 100
    """Most messages of one subscription that are here and not done."""
    max_bytes: int = 1_000_000
    """Most bytes of those messages."""
    key_file: str = ""
    """A service account's, in JSON; empty: who we are is found as Google's libraries find it."""

    def __post_init__(self) -> None:
        if not _PROJECT.fullmatch(self.project):
            raise ConfigError(f"project_id: {self.project!r} is no id of a project")
        for name in self.subscriptions:
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"subscriptions: {name!r} is no name of a subscription; it begins with a"
                    " letter, has 3 to 255 letters, digits and -._~+%, and stands without its"
                    " project"
                )
        if len(set(self.subscriptions)) < len(self.subscriptions):
            raise ConfigError("subscriptions: one of them stands there twice")
        for option, value in (
            ("max_outstanding_messages", self.max_messages),
            ("max_outstanding_bytes", self.max_bytes),
        ):
            if value <= 0:
                raise ConfigError(f"{option} is {value}; it must be above 0")

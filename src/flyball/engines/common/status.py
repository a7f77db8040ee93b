"""Which links of an engine are down, and who wants to know."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Callable


class LinkStatus:
    """All links of an engine. Tells when the first is lost, and when all are back.

    Args:
        engine: its name, as health checks show it.
    """

    __slots__ = (
        "_down",
        "_engine",
        "on_lost",
        "on_restored",
        "on_resubscribed",
        "on_resubscribing",
    )

    def __init__(self, engine: str) -> None:
        self._engine = engine
        self._down: dict[object, str] = {}
        self.on_lost: Callable[[str], None] | None = None
        """Told the reason when the first link is lost."""
        self.on_resubscribing: Callable[[], None] | None = None
        """Told when a link for subscriptions is back, before anything comes by it."""
        self.on_resubscribed: Callable[[], None] | None = None
        """Told when it has all its subscriptions again."""
        self.on_restored: Callable[[], None] | None = None
        """Told when no link is down any more, or when what was missed may be had again."""

    def lost(self, link: object, reason: str) -> None:
        """A link is down, or still is, for another reason."""
        first = not self._down
        self._down[link] = reason
        if first and self.on_lost is not None:
            self.on_lost(reason)

    def restored(self, link: object) -> None:
        """A link is back."""
        if self._down.pop(link, None) is not None and not self._down:
            self.missed()

    def missed(self) -> None:
        """Messages may have been missed, though no link is down."""
        if self.on_restored is not None and not self._down:
            self.on_restored()

    def closed(self, link: object) -> None:
        """A link is not needed any more."""
        if self._down.pop(link, None) is not None and not self._down:
            self.missed()

    def reason(self, link: object) -> str:
        """Why a link is down; empty if it is not."""
        return self._down.get(link, "")

    @property
    def problem(self) -> str:
        """Why links are down now; empty if none is."""
        return "; ".join(f"{self._engine} {reason}" for reason in self._down.values())

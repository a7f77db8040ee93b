"""What all ways of publishing have in common."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, Protocol

from flyball.core.errors import FlyballError

if TYPE_CHECKING:
    from flyball.core.keywords import PublishKeywords
    from flyball.core.types import Payload, PublishResult

__all__ = ["TIMEOUT", "AsyncWay", "PublishFailed", "Way", "without_password"]

TIMEOUT: Final = 10.0
"""Seconds for a whole publish."""


class PublishFailed(FlyballError):
    """The API or the store cannot be reached, or answers nothing that it should. The message says
    what. Whether the publication was made may be unknown: an ``idempotency_key`` lets one try again.
    """


def without_password(url: str) -> str:
    """A URL as messages show it: what stands before the host may be a secret."""
    scheme, _, rest = url.rpartition("://")
    return f"{scheme}://***@{rest.rpartition('@')[2]}" if "@" in rest else url


class Way(Protocol):
    """How a :class:`~flyball.Publisher` publishes; its methods are the publisher's."""

    def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """Publishes into one channel."""

    def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """Publishes into several."""

    def close(self) -> None:
        """Closes the connections."""


class AsyncWay(Protocol):
    """How a :class:`~flyball.AsyncPublisher` publishes; its methods are the publisher's."""

    async def publish(self, channel: str, data: Payload, fields: PublishKeywords) -> PublishResult:
        """Publishes into one channel."""

    async def broadcast(
        self, channels: list[str], data: Payload, fields: PublishKeywords
    ) -> list[PublishResult]:
        """Publishes into several."""

    async def close(self) -> None:
        """Closes the connections."""

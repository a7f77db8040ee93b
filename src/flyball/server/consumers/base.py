"""What a consumer is, and what it reads."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One message of a source."""

    data: bytes
    """Its body."""
    method: str = ""
    """Method of the server API; empty: the body names it."""
    metadata: Mapping[str, str] = field(default_factory=dict)
    """Headers, attributes or values that came along. Only publication data mode looks at them."""
    place: str = ""
    """Where it stands in the source, for whoever looks for it: ``partition 0, id 17``."""


class Consumer(ABC):
    """Reads one source, and has done what its messages say.

    A message leaves the source (is deleted, acknowledged, committed) when it was done or can never
    be, and not before: a node that dies in between leaves it to the next one.
    """

    @abstractmethod
    async def start(self) -> None:
        """Begins to read, in the background. A source that is out of reach is tried again.

        Raises:
            ConfigError: what it is configured with cannot be used.
        """

    @abstractmethod
    async def stop(self) -> None:
        """Ends after the messages that are being done, and leaves the others to their source."""

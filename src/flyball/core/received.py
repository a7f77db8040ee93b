"""What a program gets of a channel: publications, as a subscriber and from history."""

from __future__ import annotations

from typing import Any, Self, TypeVar, overload

import msgspec

from flyball.core.payload import Data, decode_json
from flyball.core.types import ClientInfo, Raw, StreamPosition
from flyball.core.types import HistoryResult as KeptHistory
from flyball.core.types import Publication as Kept

__all__ = ["HistoryResult", "Publication"]

T = TypeVar("T")


class Publication(msgspec.Struct, frozen=True):
    """One publication of a channel."""

    raw: Raw
    """The payload as ``msgspec.Raw``, to be passed on into JSON without a look."""
    info: ClientInfo | None = None
    """Who published, where a client did."""
    offset: int = 0
    """Its place in the stream; 0 where the channel keeps no history."""
    tags: dict[str, str] | None = None
    """``PublishOptions.tags``."""
    time: int = 0
    """Unix milliseconds of its publish, where the engine tells."""
    version: int = 0
    """``PublishOptions.version``."""

    @classmethod
    def of(cls, kept: Kept) -> Self:
        """The program's view of what the engine gave."""
        return cls(kept.data, kept.info, kept.offset, kept.tags, kept.time, kept.version)

    @property
    def data(self) -> Data:
        """The payload."""
        return Data(self.raw)

    @overload
    def json(self) -> Any: ...
    @overload
    def json(self, type: type[T]) -> T: ...
    def json(self, type: Any = Any) -> Any:  # noqa: A002
        """The payload, decoded from JSON into ``type``; see :meth:`Data.json`.

        Raises:
            Error: 107, it is no JSON or does not fit.
        """
        return decode_json(self.raw, type)

    def __repr__(self) -> str:
        where = f", offset={self.offset}" if self.offset else ""
        return f"Publication({self.data!s}{where})"


class HistoryResult(msgspec.Struct, frozen=True):
    """Publications of a stream and its top position."""

    publications: list[Publication]
    """What was found, oldest first unless asked in reverse."""
    position: StreamPosition
    """The top of the stream."""

    @classmethod
    def of(cls, kept: KeptHistory) -> Self:
        """The program's view of what the engine gave."""
        return cls([Publication.of(p) for p in kept.publications], kept.position)

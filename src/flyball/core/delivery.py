"""A publication on its way out: each form of it is made once, whoever needs it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.protocol.delta import shorter_patch

if TYPE_CHECKING:
    from flyball.core.subscription import Subscription
    from flyball.core.transport import Framing
    from flyball.core.types import Publication, StreamPosition
    from flyball.protocol.filter import TagsFilter


class Delivery:
    """One publication on its way out: each form of it is made once, when first needed."""

    __slots__ = (
        "_frames",
        "_matches",
        "_patch",
        "channel",
        "lagging",
        "lost",
        "now",
        "position",
        "previous",
        "publication",
    )

    def __init__(
        self,
        channel: str,
        publication: Publication,
        position: StreamPosition,
        previous: Publication | None,
        now: float,
    ) -> None:
        self.channel: str = channel
        self.publication: Publication = publication
        self.position: StreamPosition = position
        self.previous: Publication | None = previous
        """What a patch may be made against; None if none was asked for."""
        self.now: float = now
        self.lagging: bool = False
        """It took longer than allowed to come here: positions are not to be trusted."""
        self.lost: list[Subscription] = []
        """Subscriptions that turn out to have missed something."""
        self._frames: dict[tuple[Framing, int], tuple[bytes, int]] = {}
        self._matches: dict[TagsFilter, bool] = {}
        self._patch: bytes | None = None
        """Empty: the data itself is as short."""

    def plain(self, framing: Framing) -> tuple[bytes, int]:
        """The publication as it is: its frame, and the size of the message in it."""
        found = self._frames.get((framing, 0))
        return self._make(framing, 0, self.publication) if found is None else found

    def delta(self, framing: Framing, *, patch: bool) -> tuple[bytes, int]:
        """The publication for a subscriber with delta: in full, or as a patch if that is shorter."""
        form = 2 if patch else 1
        found = self._frames.get((framing, form))
        if found is None:
            publication = framing.codec.delta_publication(
                self.publication, self._shorter_patch() if patch else None
            )
            found = self._make(framing, form, publication)
        return found

    def _make(self, framing: Framing, form: int, publication: Publication) -> tuple[bytes, int]:
        message = framing.publication_message(self.channel, publication)
        made = self._frames[framing, form] = framing.frame((message,)), len(message)
        return made

    def _shorter_patch(self) -> bytes | None:
        if self._patch is None:
            assert self.previous is not None
            source, target = bytes(self.previous.data), bytes(self.publication.data)
            self._patch = shorter_patch(source, target) or b""
        return self._patch or None

    def matches(self, tags_filter: TagsFilter) -> bool:
        """Whether the publication's tags pass; equal filters are asked once."""
        result = self._matches.get(tags_filter)
        if result is None:
            result = self._matches[tags_filter] = tags_filter.matches(self.publication.tags)
        return result

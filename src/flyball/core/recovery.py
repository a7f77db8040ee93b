"""What a returning subscriber gets: pure decisions over what the stream holds."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from flyball.protocol.delta import shorter_patch

if TYPE_CHECKING:
    from flyball.core.types import HistoryResult, Publication, StreamPosition
    from flyball.protocol.codec import Codec
    from flyball.protocol.filter import TagsFilter


@dataclass(frozen=True, slots=True)
class Recovery:
    """Outcome of a recovery. If not ``recovered`` there are no publications."""

    recovered: bool
    publications: list[Publication]


NOT_RECOVERED = Recovery(recovered=False, publications=[])


def recover_stream(wanted: StreamPosition, history: HistoryResult) -> Recovery:
    """Everything after ``wanted``, or nothing if that cannot be proven to be everything.

    ``history`` is what was read after ``wanted.offset``, cut at the recovery limit.
    """
    top = history.position
    if wanted.epoch and wanted.epoch != top.epoch:
        return NOT_RECOVERED
    missed = history.publications
    if not missed:
        return Recovery(wanted.offset == top.offset, [])
    complete = missed[0].offset == wanted.offset + 1 and missed[-1].offset == top.offset
    return Recovery(recovered=True, publications=missed) if complete else NOT_RECOVERED


def recover_cache(
    wanted: StreamPosition, newest_first: HistoryResult, tags_filter: TagsFilter | None
) -> Recovery:
    """The latest publication (that passes the filter), unless the client already has it."""
    top = newest_first.position
    if wanted.offset and wanted.offset == top.offset and wanted.epoch == top.epoch:
        return Recovery(recovered=True, publications=[])
    for publication in newest_first.publications:
        if tags_filter is None or tags_filter.matches(publication.tags):
            return Recovery(recovered=True, publications=[publication])
    return NOT_RECOVERED


def chain_deltas(publications: list[Publication], codec: Codec) -> list[Publication]:
    """Recovered publications for a client with delta: the first in full, then patches."""
    chained = []
    base: bytes | None = None
    for publication in publications:
        data = bytes(publication.data)
        patch = None
        if base is not None:
            patch = shorter_patch(base, data)
        chained.append(codec.delta_publication(publication, patch))
        base = data
    return chained

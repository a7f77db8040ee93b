"""What aiokafka logs is told by the consumer whose connections it is about.

The library tries again for ever by itself, with a line for each attempt, and raises nothing.
"""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Callable
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final, TypeAlias

from flyball.server.consumers.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import Iterator

    from aiokafka import TopicPartition

    from flyball.aio.clock import Clock
    from flyball.server.consumers.kafka.link import Link
    from flyball.server.consumers.workers import Worker

_LIBRARY: Final = logging.getLogger("aiokafka")

Listener: TypeAlias = Callable[[str], None]
"""Is given the text of an error."""

_listener: ContextVar[Listener | None] = ContextVar("_listener", default=None)


class _Handler(logging.Handler):
    """Gives errors to who listens; other records go where all do, if these are wanted."""

    def emit(self, record: logging.LogRecord) -> None:
        listener = _listener.get()
        root = logging.getLogger()
        if listener is None or root.isEnabledFor(logging.DEBUG):
            root.handle(record)
        if listener is not None and record.levelno >= logging.ERROR:
            error = record.exc_info[1] if record.exc_info else None
            listener(record.getMessage() + (f": {error!r}" if error is not None else ""))


_HANDLER: Final = _Handler()


@contextlib.contextmanager
def heard_by(listener: Listener) -> Iterator[None]:
    """Within, and in tasks that begin within, the library's errors are given to ``listener``."""
    if _HANDLER not in _LIBRARY.handlers:
        _LIBRARY.addHandler(_HANDLER)
        _LIBRARY.propagate = False
    token = _listener.set(listener)
    try:
        yield
    finally:
        _listener.reset(token)


class Complaints:
    """Whether a link works: the library says only when it does not.

    Args:
        worker: tells the log and the metrics.
        clock: where time comes from.
        patience: seconds without an answer, or without a complaint, that mean something.
    """

    def __init__(self, worker: Worker, clock: Clock, patience: float) -> None:
        self.last: str = ""
        """The last one that was kept; empty: there was none."""
        self._worker = worker
        self._clock = clock
        self._patience = patience
        self._keeps = False
        self._complained = float("-inf")
        self._answers: dict[TopicPartition, tuple[int | None, float]] = {}
        """What a broker last answered, and when we saw that, by partition."""

    @contextlib.contextmanager
    def kept(self) -> Iterator[None]:
        """Within, they are not told: what fails says it."""
        self._keeps, self.last = True, ""
        try:
            yield
        finally:
            self._keeps = False

    def hear(self, text: str) -> None:
        """There is one."""
        if self._keeps:
            self.last = text
            return
        self._complained = self._clock.monotonic()
        self._worker.failed(SourceError(text))

    def look(self, link: Link, fetched: list[TopicPartition]) -> None:
        """Tells that all is well, or that brokers are silent, after partitions were fetched."""
        now = self._clock.monotonic()
        before, self._answers = self._answers, {}
        for place in fetched:
            answer = link.answered(place)
            known = before.get(place)
            seen = known[1] if known is not None and known[0] == answer else now
            self._answers[place] = (answer, seen)
            if now - seen > self._patience:
                self.hear(f"no answer about {place.topic}:{place.partition} for {now - seen:.0f} s")
        if self._is_well(now) and not link.missing_topics():
            self._worker.well()

    def _is_well(self, now: float) -> bool:
        if not self._answers:
            return now - self._complained > self._patience
        return all(
            answer is not None and seen > self._complained
            for answer, seen in self._answers.values()
        )

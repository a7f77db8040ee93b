"""Messages in hand: their source lets us have them for a time, which is renewed while they are done."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final, Self

from flyball.server.consumers.errors import SourceError

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable

    from flyball.aio.clock import Clock, TimerHandle

RENEWALS: Final = 3
"""How often the time is renewed before it would be over."""
SHORTEST: Final = 0.01
"""Seconds between renewals, however short the time is."""
MARGIN: Final = 0.9
"""Part of the time that we count on: the source began to count before we did."""
BUDGET: Final = 8 << 20
"""Bytes of messages that are wanted in hand at most; one alone may be larger."""


class Holding:
    """A batch of messages, for as long as the ``with`` lasts.

    Args:
        clock: where time comes from.
        limit: seconds that the source lets us have them, counted from each renewal.
        renew: asks the source for as long again; the future is done when it has agreed.
        since: when it was renewed last, monotonic; None: they have just come.
    """

    def __init__(
        self,
        clock: Clock,
        limit: float,
        renew: Callable[[], asyncio.Future[Any]],
        since: float | None = None,
    ) -> None:
        self._clock = clock
        self._limit = limit
        self._renew = renew
        self.renewed: float = clock.monotonic() if since is None else since
        """When the source last agreed."""
        self._timer: TimerHandle | None = None

    def __enter__(self) -> Self:
        self._wait()
        return self

    def __exit__(self, *_: object) -> None:
        if self._timer is not None:
            self._timer.cancel()

    def check(self) -> None:
        """To be called before a message is done.

        Raises:
            SourceError: the time is over; the source may have given them to somebody else.
        """
        if self._over:
            raise SourceError(
                f"nothing was heard of its messages for {self._limit:g} s; others may have them"
            )

    @property
    def _over(self) -> bool:
        return self._clock.monotonic() - self.renewed >= self._limit * MARGIN

    def _wait(self) -> None:
        delay = max(self._limit / RENEWALS, SHORTEST)
        self._timer = self._clock.call_later(delay, self._due)

    def _due(self) -> None:
        # Late is too late: who has them now must not lose them to us.
        if not self._over:
            now = self._clock.monotonic()
            self._renew().add_done_callback(lambda answer: self._answered(answer, now))
        self._wait()

    def _answered(self, answer: asyncio.Future[Any], asked: float) -> None:
        if not answer.cancelled() and answer.exception() is None:
            self.renewed = asked


class BatchSize:
    """How many messages to ask for: fewer if those that came were large.

    Args:
        most: messages, if they are small.
    """

    __slots__ = ("_most", "now")

    def __init__(self, most: int) -> None:
        self._most = most
        self.now: int = 1
        """To be asked for; nothing is known of them at first."""

    def saw(self, largest: int) -> None:
        """The largest message of a batch had that many bytes."""
        self.now = max(1, min(self._most, BUDGET // max(largest, 1)))

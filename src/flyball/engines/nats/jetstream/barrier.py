"""What shows that a copy has all that was acknowledged."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flyball.engines.nats.jetstream.api import JetStream

BARRIER_TTL: Final = "10s"
"""For how long the server keeps a message that only shows how far it is; longer than any read."""


class Barrier:
    """A message that is stored behind all that was acknowledged before it was sent.

    Of servers with copies any may answer a read: one that lags, one that has just become the
    leader, one that does not know that it is none any more. One that has this message has all
    before it.

    Args:
        jetstream: where it is stored.
        subject: under which subject.
    """

    def __init__(self, jetstream: JetStream, subject: bytes) -> None:
        self._jetstream = jetstream
        self.subject: bytes = subject
        self.place: int = 0
        """Where the last one was stored."""
        self._sent = 0
        self._stored = 0
        """Number of the last one that was stored."""
        self._under_way: asyncio.Future[None] | None = None

    async def put(self) -> None:
        """Returns once one is stored that was sent after this call; one does for all who wait."""
        wanted = self._sent + 1
        while self._stored < wanted:
            if self._under_way is not None:
                await asyncio.shield(self._under_way)
            else:
                await self._put()

    async def _put(self) -> None:
        self._under_way = under_way = asyncio.get_running_loop().create_future()
        self._sent = number = self._sent + 1
        try:
            ack = await self._jetstream.publish(self.subject, b"", {"Nats-TTL": BARRIER_TTL})
            self._stored, self.place = number, ack.sequence
        finally:
            under_way.set_result(None)
            self._under_way = None

"""Feeds: publications that a program makes for one subscription alone (``SubscribeOptions.feed``).

A feed begins when the subscribe reply was sent. It ends with its subscription, or ends that:

- it is through: the client is unsubscribed with 2000 and does not come back,
- it raises: with 2500, and the client subscribes again (3010 where the server had subscribed it),
- it raises ``Disconnect``: the connection ends.

What it gives is in no stream: it has no offset, and nobody else gets it.
"""

from __future__ import annotations

import asyncio
import logging
from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import Disconnect, Error
from flyball.core.received import Publication as Received
from flyball.core.types import Publication, to_payload
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import AsyncIterable

    from flyball.core.membership import Membership
    from flyball.core.runtime import Runtime
    from flyball.core.subscription import Subscription

__all__ = ["Feed"]

logger: Final = logging.getLogger("flyball.core")

TURN: Final = 32
"""Publications sent until others have a turn, from a source that never waits."""


class Feed:
    """Carries what a source gives to one subscriber."""

    __slots__ = ("_membership", "_runtime", "_source", "_sub", "_task")

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        sub: Subscription,
        source: AsyncIterable[Any],
    ) -> None:
        self._runtime = runtime
        self._membership = membership
        self._sub = sub
        self._source = source
        self._task: asyncio.Task[None] | None = None

    def start(self) -> None:
        """The subscription is live."""
        # A task of its own: it waits for most of its life, in code of the program.
        self._task = asyncio.get_running_loop().create_task(self._run())
        self._runtime.tasks.track_task(self._task, f"feed of {self._sub.channel!r}")

    async def close(self) -> None:
        """The subscription is over, or never became live; the source is closed."""
        if self._task is not None:
            self._task.cancel()
            return
        try:
            await _close(self._source)
        except Exception:
            logger.exception("the feed of %r cannot be closed", self._sub.channel)

    async def _run(self) -> None:
        sub = self._sub
        try:
            await self._send_all()
        except Disconnect as disconnect:
            sub.session.disconnect(disconnect)
        except Exception as error:  # noqa: BLE001 - of the program's code: told below
            self._tell(error)
            if sub.live:
                sub.feed = None  # the end of the subscription is not to end this task
                await self._membership.lose_state(sub)
        else:
            if sub.live:
                sub.feed = None
                code = codes.UNSUBSCRIBE_SERVER
                await self._membership.end(sub.session, sub.channel, code)

    async def _send_all(self) -> None:
        sub, hub, source = self._sub, self._membership.hub, self._source
        iterator = aiter(source)
        try:
            sent = 0
            async for item in iterator:
                if not sub.live:
                    return
                hub.deliver_to(sub, _publication(item))
                sent += 1
                if sent % TURN == 0:
                    await asyncio.sleep(0)
        finally:
            await _close(iterator)
            if source is not iterator:
                await _close(source)

    def _tell(self, error: Exception) -> None:
        if getattr(error, "logged", False):
            return
        channel, client = self._sub.channel, self._sub.session.client_id
        if isinstance(error, Error):
            logger.warning("the feed of %r for client %s failed: %s", channel, client, error)
        else:
            logger.error("the feed of %r for client %s failed", channel, client, exc_info=error)


def _publication(item: Any) -> Publication:
    if isinstance(item, Received):
        return Publication(data=item.raw, info=item.info, tags=item.tags)
    return Publication(data=to_payload(item))


async def _close(source: Any) -> None:
    """Async generators, and all else that can be closed, are closed where they stand."""
    close = getattr(source, "aclose", None)
    if close is not None:
        await close()

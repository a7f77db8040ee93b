"""Keeps the broker's subscriptions in line with the channels that have subscribers here."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

from flyball.aio.eager import start_eagerly

if TYPE_CHECKING:
    from collections.abc import Callable, MutableMapping

    from flyball.core.broker import Broker


class BrokerLinks:
    """For each channel at most one broker call is under way; the last wish wins."""

    __slots__ = ("_actions", "_broker", "_linked", "_wanted", "_work")

    def __init__(
        self, broker: Broker, wanted: Callable[[str], bool], actions: MutableMapping[str, int]
    ) -> None:
        """``wanted`` tells whether a channel has subscribers; calls are counted in ``actions``."""
        self._actions = actions
        self._broker = broker
        self._wanted = wanted
        self._linked: set[str] = set()
        self._work: dict[str, asyncio.Task[None]] = {}

    async def settle(self, channel: str) -> None:
        """Returns once the broker is subscribed to ``channel``, or not, as wanted now.

        Raises whatever the broker raised for this channel.
        """
        while self._wanted(channel) != (channel in self._linked):
            work = self._work.get(channel)
            if work is None:
                work = start_eagerly(self._step(channel, wanted=self._wanted(channel)))
                if work is None:
                    continue
                self._work[channel] = work
                work.add_done_callback(lambda _: self._work.pop(channel, None))
            await asyncio.shield(work)

    async def drain(self) -> None:
        """Waits for the calls under way, whatever becomes of them."""
        await asyncio.gather(*self._work.values(), return_exceptions=True)

    async def _step(self, channel: str, *, wanted: bool) -> None:
        if wanted:
            self._actions["broker_subscribe"] += 1
            await self._broker.subscribe(channel)
            self._linked.add(channel)
        else:
            self._actions["broker_unsubscribe"] += 1
            await self._broker.unsubscribe(channel)
            self._linked.discard(channel)

"""Presence in JetStream: one subject for each client in a channel, whose last message is its entry."""

from __future__ import annotations

from math import ceil
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.core.broker import PresenceManager
from flyball.core.types import PresenceStats
from flyball.engines.common.publications import MalformedError, read_info, write_info
from flyball.engines.nats.jetstream.api import BATCH, JetStream
from flyball.engines.nats.jetstream.streams import Streams
from flyball.protocol.codec import UNREADABLE

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from flyball.core.types import ClientInfo
    from flyball.engines.nats.link import NatsLink
    from flyball.engines.nats.options import JetStreamOptions, NatsOptions

GONE_TTL: Final = "1s"
"""How long the server remembers that an entry was removed."""


class Here(msgspec.Struct, array_like=True, frozen=True):
    """An entry as it is stored: when it is over (Unix milliseconds), and who it is in Protobuf."""

    expires: int
    info: bytes


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(Here)


class JetStreamPresenceManager(PresenceManager):
    """Knows by JetStream who is subscribed.

    Args:
        link: to the servers, shared with the other parts of the engine.
        options: the prefix.
        jetstream: how long entries live.
        clock: Unix seconds; if none is given, those of the servers.
    """

    def __init__(
        self,
        link: NatsLink,
        options: NatsOptions,
        jetstream: JetStreamOptions,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._link = link
        self._streams = Streams(options.prefix, jetstream)
        self._ttl = jetstream.presence_ttl
        configs = self._streams.configs()[-1:]
        self._api = JetStream(link, configs, leader=jetstream.replicas > 1, clock=clock)
        self._started = False

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._link.problem or self._api.problem

    async def start(self) -> None:
        """See :meth:`PresenceManager.start`."""
        if not self._started:
            await self._api.start()
            self._started = True

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._started:
            self._started = False
            await self._api.close()

    async def add_presence(self, channel: str, client_id: str, info: ClientInfo) -> None:
        """See :meth:`PresenceManager.add_presence`."""
        here = Here(int((self._api.now() + self._ttl) * 1000), write_info(info))
        headers = {"Nats-TTL": f"{ceil(self._ttl)}s"}
        subject = self._streams.presence_subject(channel, client_id)
        await self._link.ask(self._api.publish(subject, _encoder.encode(here), headers))

    async def remove_presence(self, channel: str, client_id: str, user: str) -> None:  # noqa: ARG002
        """See :meth:`PresenceManager.remove_presence`."""
        subject = self._streams.presence_subject(channel, client_id)
        await self._link.ask(self._api.publish(subject, b"", {"Nats-TTL": GONE_TTL}))

    async def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """See :meth:`PresenceManager.presence`."""
        return await self._link.ask(self._presence(channel))

    async def _presence(self, channel: str) -> Mapping[str, ClientInfo]:
        subject = self._streams.presence_subject(channel)
        now, place = int(self._api.now() * 1000), 1
        found: dict[str, ClientInfo] = {}
        while True:
            batch = await self._api.following(self._streams.presence, subject, place)
            for stored in batch:
                info = _read(stored.data, now) if stored.data else None
                if info is not None:
                    found[info.client] = info
            if len(batch) < BATCH:
                return found
            place = batch[-1].sequence + 1

    async def presence_stats(self, channel: str) -> PresenceStats:
        """See :meth:`PresenceManager.presence_stats`."""
        users = [info.user for info in (await self.presence(channel)).values()]
        return PresenceStats(len(users), len(set(users)))


def _read(stored: bytes, now: int) -> ClientInfo | None:
    """Who an entry names; None if it is over."""
    try:
        here = _decoder.decode(stored)
        if here.expires <= now:
            return None
    except UNREADABLE as error:
        raise MalformedError(f"no presence entry: {error}") from None
    return read_info(here.info)

"""A shard: whatever stands behind one address, and how commands and messages go through it."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import ConfigError, FlyballError
from flyball.engines.redis.connection import ReplyError, connect, pack
from flyball.engines.redis.link import Link
from flyball.engines.redis.pubsub import PubSubLink
from flyball.engines.redis.sentinel import SentinelLink, SentinelPubSubLink, Sentinels

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flyball.engines.common.status import LinkStatus
    from flyball.engines.redis.options import Endpoint, ShardOptions
    from flyball.engines.redis.scripts import Script

NOT_MASTER: Final = ("READONLY", "MASTERDOWN")
"""Errors of a server that is master no more: another one is."""


class Shard(ABC):
    """One shard. A failure raises ``FlyballError``: ``LinkLostError`` or ``ReplyError``."""

    braces = False
    """Names of one channel are tied together by braces, as a Cluster needs them."""

    @abstractmethod
    async def open(self, *, listens: bool = True) -> None:
        """Connects; without ``listens`` only for commands, and nothing can be subscribed."""

    @abstractmethod
    async def close(self) -> None:
        """Ends all links."""

    @abstractmethod
    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """Runs a script; its keys belong together."""

    @abstractmethod
    async def command(self, key: bytes, *parts: Any) -> Any:
        """Sends a command to where ``key`` is."""

    @abstractmethod
    async def subscribe(self, name: bytes) -> None:
        """Messages of ``name`` come from now on."""

    @abstractmethod
    def unsubscribe(self, name: bytes) -> None:
        """No more of them."""


class SingleShard(Shard):
    """One server, or the master that Sentinels name."""

    def __init__(
        self,
        options: ShardOptions,
        status: LinkStatus,
        on_message: Callable[[bytes, bytes], None],
        *,
        sharded: bool = False,
    ) -> None:
        self._link: Link
        self._pubsub: PubSubLink
        if options.sentinel_master:
            sentinels = Sentinels(options)
            name = str(options)
            self._link = SentinelLink(
                name, sentinels.find_master, options.login, options, status
            ).follow(sentinels)
            self._pubsub = SentinelPubSubLink(
                f"{name} (subscriptions)",
                sentinels.find_master,
                options.login,
                options,
                status,
                on_message,
                sharded=sharded,
            ).follow(sentinels)
        else:
            endpoint = options.seeds[0]

            async def find() -> Endpoint:
                return endpoint

            self._link = Link(str(endpoint), find, options.login, options, status)
            self._pubsub = PubSubLink(
                f"{endpoint} (subscriptions)",
                find,
                options.login,
                options,
                status,
                on_message,
                sharded=sharded,
            )

    async def open(self, *, listens: bool = True) -> None:
        """See :meth:`Shard.open`."""
        await self._link.open()
        if not listens:
            return
        try:
            await self._pubsub.open()
        except BaseException:
            await self._link.close()
            raise

    async def close(self) -> None:
        """See :meth:`Shard.close`."""
        await self._pubsub.close()
        await self._link.close()

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """See :meth:`Shard.run`."""
        try:
            return await self._link.send(script.command(keys, args))
        except ReplyError as error:
            if error.kind == "NOSCRIPT":
                return await self._send(script.full_command(keys, args))
            self._look_at(error)
            raise

    async def command(self, key: bytes, *parts: Any) -> Any:  # noqa: ARG002
        """See :meth:`Shard.command`."""
        return await self._send(pack(parts))

    async def _send(self, command: bytes) -> Any:
        try:
            return await self._link.send(command)
        except ReplyError as error:
            self._look_at(error)
            raise

    def _look_at(self, error: ReplyError) -> None:
        if error.kind in NOT_MASTER or "READONLY" in str(error):
            self._link.drop(str(error))
            self._pubsub.drop(str(error))

    async def subscribe(self, name: bytes) -> None:
        """See :meth:`Shard.subscribe`."""
        await self._pubsub.subscribe(name)

    def unsubscribe(self, name: bytes) -> None:
        """See :meth:`Shard.unsubscribe`."""
        self._pubsub.unsubscribe(name)


async def is_cluster(options: ShardOptions) -> bool:
    """Whether the first seed that answers is a node of a Cluster.

    Raises:
        ConfigError: none answers, or they do not let us in.
    """
    if options.cluster:
        return True
    if options.sentinel_master or options.seeds[0].path:
        return False
    failures = []
    for endpoint in options.seeds:
        try:
            connection = await connect(
                endpoint, options.login, options, lambda _: None, lambda _: None
            )
        except FlyballError as error:
            failures.append(f"{endpoint}: {error}")
            continue
        try:
            async with asyncio.timeout(options.io_timeout):
                info = await connection.send(pack(("INFO", "cluster")))
        except (FlyballError, TimeoutError) as error:
            # A user that may not ask is not meant for a Cluster.
            if isinstance(error, ReplyError) and error.kind == "NOPERM":
                return False
            failures.append(f"{endpoint}: {error}")
            continue
        finally:
            connection.abort("not needed any more")
        return b"cluster_enabled:1" in info
    raise ConfigError(f"cannot connect to Redis at {'; '.join(failures)}")

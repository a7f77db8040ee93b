"""A Redis Cluster: keys belong to slots, slots to masters, and both may move."""

from __future__ import annotations

import asyncio
import contextlib
from binascii import crc_hqx
from typing import TYPE_CHECKING, Any, Final

from flyball.core.errors import FlyballError
from flyball.engines.common.links import forget
from flyball.engines.redis.connection import LinkLostError, ReplyError, connect, pack
from flyball.engines.redis.link import Link
from flyball.engines.redis.options import Endpoint
from flyball.engines.redis.pubsub import PubSubLink
from flyball.engines.redis.shard import Shard

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Iterable, Sequence

    from flyball.engines.common.status import LinkStatus
    from flyball.engines.redis.options import ShardOptions
    from flyball.engines.redis.scripts import Script

SLOTS: Final = 16384
ATTEMPTS: Final = 8
"""Times that a command follows redirections, or waits for a slot on the move."""
RETRY_DELAY: Final = 0.05
"""Seconds; doubled each time."""
REFRESH_INTERVAL: Final = 0.5
"""Seconds between looks at the slots while a link is down."""
ASKING: Final = pack(("ASKING",))


def slot_of(key: bytes) -> int:
    """The slot of a key or sharded channel: of what is in its first braces, if anything is."""
    start = key.find(b"{")
    if start >= 0:
        end = key.find(b"}", start + 1)
        if end > start + 1:
            key = key[start + 1 : end]
    return crc_hqx(key, 0) % SLOTS


class ClusterShard(Shard):
    """A Cluster. Commands have a link to each master, subscriptions one to any node.

    With sharded PUB/SUB subscriptions too have a link to each master.
    """

    braces = True

    def __init__(
        self,
        options: ShardOptions,
        status: LinkStatus,
        on_message: Callable[[bytes, bytes], None],
        *,
        sharded: bool = False,
    ) -> None:
        self._options = options
        self._status = status
        self._on_message = on_message
        self._sharded = sharded
        self._listens = True
        self._slots: list[Endpoint | None] = [None] * SLOTS
        self._links: dict[Endpoint, Link] = {}
        self._pubsubs: dict[Endpoint | None, PubSubLink] = {}
        """None is the one link to any node, where PUB/SUB is not sharded."""
        self._names: set[bytes] = set()
        """What is wanted by sharded PUB/SUB."""
        self._refreshing: asyncio.Task[None] | None = None
        self._watcher: asyncio.Task[None] | None = None
        self._moves: set[asyncio.Task[None]] = set()
        self._retired: set[asyncio.Task[None]] = set()

    # -- life

    async def open(self, *, listens: bool = True) -> None:
        """See :meth:`Shard.open`."""
        self._listens = listens
        self._learn(await self._ask_for_slots())
        try:
            for endpoint in set(self._slots) - {None}:
                assert endpoint is not None
                link = self._links[endpoint] = self._new_link(endpoint)
                await link.open()
                if listens and self._sharded:
                    pubsub = self._pubsubs[endpoint] = self._new_pubsub(endpoint)
                    await pubsub.open()
            if listens and not self._sharded:
                any_node = self._pubsubs[None] = self._new_pubsub(None)
                await any_node.open()
        except BaseException:
            await self.close()
            raise
        loop = asyncio.get_running_loop()
        self._watcher = loop.create_task(self._watch(), name="flyball redis cluster")

    async def close(self) -> None:
        """See :meth:`Shard.close`."""
        tasks = [t for t in (self._watcher, self._refreshing, *self._moves) if t is not None]
        self._watcher = self._refreshing = None
        alive = [t for t in tasks if not t.get_loop().is_closed()]
        for task in alive:
            task.cancel()
        await asyncio.gather(*alive, *self._retired, return_exceptions=True)
        for link in (*self._pubsubs.values(), *self._links.values()):
            await link.close()
        self._links.clear()
        self._pubsubs.clear()

    def _new_link(self, endpoint: Endpoint) -> Link:
        async def find() -> Endpoint:
            return endpoint

        return Link(str(endpoint), find, self._options.login, self._options, self._status)

    def _new_pubsub(self, endpoint: Endpoint | None) -> PubSubLink:
        async def find() -> Endpoint:
            return endpoint if endpoint is not None else self._any_node()

        return PubSubLink(
            f"{endpoint or 'cluster'} (subscriptions)",
            find,
            self._options.login,
            self._options,
            self._status,
            self._on_message,
            sharded=self._sharded,
            slot_of=slot_of if self._sharded else None,
            on_moved=self._moved,
        )

    def _any_node(self) -> Endpoint:
        for endpoint, link in self._links.items():
            if link.up:
                return endpoint
        raise LinkLostError("no node of the cluster is up")

    # -- who has which slots

    def _seeds(self) -> list[Endpoint]:
        up = [endpoint for endpoint, link in self._links.items() if link.up]
        down = [endpoint for endpoint in self._links if endpoint not in up]
        return list(dict.fromkeys((*up, *self._options.seeds, *down)))

    async def _ask_for_slots(self) -> list[Any]:
        failures = []
        for seed in self._seeds():
            try:
                return await self._ask_one(seed)
            except (FlyballError, TimeoutError) as error:
                failures.append(f"{seed}: {error or 'no answer'}")
        raise LinkLostError(f"no node tells the slots: {'; '.join(failures)}")

    async def _ask_one(self, seed: Endpoint) -> list[Any]:
        options = self._options
        connection = await connect(seed, options.login, options, lambda _: None, lambda _: None)
        try:
            async with asyncio.timeout(options.io_timeout):
                ranges: list[Any] = await connection.send(pack(("CLUSTER", "SLOTS")))
        finally:
            connection.abort("not needed any more")
        if not ranges:
            raise LinkLostError("it knows no slots")
        # A node that does not know its own address leaves it out.
        return [
            (first, last, Endpoint(master[0].decode() if master[0] else seed.host, master[1]))
            for first, last, master, *_ in ranges
        ]

    def _learn(self, ranges: list[Any]) -> None:
        slots: list[Endpoint | None] = [None] * SLOTS
        for first, last, endpoint in ranges:
            slots[first : last + 1] = [endpoint] * (last + 1 - first)
        self._slots = slots

    async def _refresh(self) -> None:
        """Learns the slots anew; many that ask at once share one look."""
        if self._refreshing is None:
            loop = asyncio.get_running_loop()
            self._refreshing = loop.create_task(self._look_again(), name="flyball redis slots")
        await asyncio.shield(self._refreshing)

    async def _look_again(self) -> None:
        try:
            self._learn(await self._ask_for_slots())
            masters = {e for e in self._slots if e is not None}
            for endpoint in masters - self._links.keys():
                self._links[endpoint] = self._new_link(endpoint)
                self._links[endpoint].open_soon()
                if self._listens and self._sharded:
                    self._pubsubs[endpoint] = self._new_pubsub(endpoint)
                    self._pubsubs[endpoint].open_soon()
            for endpoint in self._links.keys() - masters:
                self._retire(endpoint)
        finally:
            self._refreshing = None

    def _retire(self, endpoint: Endpoint) -> None:
        """A node that is no master any more."""
        links: list[Link] = [self._links.pop(endpoint)]
        pubsub = self._pubsubs.pop(endpoint, None)
        if pubsub is not None:
            links.append(pubsub)
            for name in list(pubsub.names):
                self._moved(name)
        for link in links:
            self._keep(self._retired, link.close())

    async def _watch(self) -> None:
        """While a link is down another node may have taken its place."""
        while True:
            await asyncio.sleep(REFRESH_INTERVAL)
            if not all(link.up for link in self._links.values()):
                with contextlib.suppress(FlyballError):  # its links tell of it
                    await self._refresh()

    def _keep(self, tasks: set[asyncio.Task[None]], work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work, name="flyball redis cluster")
        tasks.add(task)
        task.add_done_callback(tasks.discard)

    # -- commands

    async def run(self, script: Script, keys: Sequence[bytes], args: Sequence[Any]) -> Any:
        """See :meth:`Shard.run`."""
        slot = slot_of(keys[0])
        try:
            return await self._send(slot, script.command(keys, args))
        except ReplyError as error:
            if error.kind != "NOSCRIPT":
                raise
            return await self._send(slot, script.full_command(keys, args))

    async def command(self, key: bytes, *parts: Any) -> Any:
        """See :meth:`Shard.command`."""
        return await self._send(slot_of(key), pack(parts))

    async def _send(self, slot: int, command: bytes) -> Any:
        """Sends a command to the master of a slot, and follows it where the slot has gone."""
        link = self._link_of(self._slots[slot])
        asking = False
        for attempt in range(ATTEMPTS):
            try:
                if asking:
                    link.send(ASKING).add_done_callback(forget)
                return await link.send(command)
            except ReplyError as error:
                asking = error.kind == "ASK"
                if attempt == ATTEMPTS - 1:
                    raise
                link = await self._follow(error, slot, attempt)
        raise AssertionError  # the last attempt returned or raised

    async def _follow(self, error: ReplyError, slot: int, attempt: int) -> Link:
        """The link to try next; raises ``error`` again if there is none."""
        if error.kind in ("MOVED", "ASK"):
            endpoint = moved_to(error)
            if error.kind == "MOVED":
                self._slots[slot] = endpoint
            if endpoint not in self._links or error.kind == "MOVED":
                await self._refresh()
            return self._link_of(endpoint)
        if error.kind in ("TRYAGAIN", "READONLY"):
            await asyncio.sleep(RETRY_DELAY * 2**attempt)
            await self._refresh()
            return self._link_of(self._slots[slot])
        raise error

    def _link_of(self, endpoint: Endpoint | None) -> Link:
        link = self._links.get(endpoint) if endpoint is not None else None
        if link is None:
            raise LinkLostError("no master has this slot")
        return link

    # -- subscriptions

    async def subscribe(self, name: bytes) -> None:
        """See :meth:`Shard.subscribe`."""
        if not self._sharded:
            await self._pubsubs[None].subscribe(name)
            return
        self._names.add(name)
        for attempt in range(ATTEMPTS):
            pubsub = self._pubsubs.get(self._slots[slot_of(name)])
            try:
                if pubsub is None:
                    raise LinkLostError("no master has this slot")
                await pubsub.subscribe(name)
            except FlyballError:
                if attempt == ATTEMPTS // 2:
                    self._names.discard(name)
                    raise
                await asyncio.sleep(RETRY_DELAY * 2**attempt)
                await self._refresh()
            else:
                return

    def unsubscribe(self, name: bytes) -> None:
        """See :meth:`Shard.unsubscribe`."""
        self._names.discard(name)
        for pubsub in self._holders(name):
            pubsub.unsubscribe(name)

    def _holders(self, name: bytes) -> Iterable[PubSubLink]:
        if not self._sharded:
            return self._pubsubs.values()
        return [p for p in self._pubsubs.values() if name in p.names]

    def _moved(self, name: bytes) -> None:
        """The slot of a subscribed name has gone to another master."""
        self._keep(self._moves, self._move(name))

    async def _move(self, name: bytes) -> None:
        old = list(self._holders(name))
        with contextlib.suppress(FlyballError):
            await self._refresh()
        for pubsub in old:
            pubsub.unsubscribe(name)
        while name in self._names:
            try:
                await self.subscribe(name)
                break
            except FlyballError:
                self._names.add(name)  # it is still wanted
            await asyncio.sleep(REFRESH_INTERVAL)
        # What was published meanwhile was missed.
        self._status.missed()


def moved_to(error: ReplyError) -> Endpoint:
    """Where a redirection leads: ``MOVED 3999 127.0.0.1:6381``."""
    host, _, port = str(error).split(" ")[2].rpartition(":")
    return Endpoint(host, int(port))

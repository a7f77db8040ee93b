"""All that uses names of aiokafka which are not its public ones, in one place.

The library is bounded in pyproject.toml to the versions that have them.
"""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from aiokafka.structs import OffsetAndMetadata

if TYPE_CHECKING:
    from collections.abc import Mapping

    from aiokafka import AIOKafkaConsumer, TopicPartition


class Dials:
    """Bounds how long connections to brokers may take, and can end all of them.

    The library knows one time for all it does; that must be longer than the group needs to agree
    on who reads what.

    Args:
        consumer: whose connections these are.
        seconds: for each.
    """

    def __init__(self, consumer: AIOKafkaConsumer, seconds: float) -> None:
        self._client: Any = consumer._client
        self._seconds = seconds
        self._dial = self._client._get_conn
        self._running: set[asyncio.Timeout] = set()
        self._over = False
        self._client._get_conn = self._bounded

    async def _bounded(self, node_id: object, **options: Any) -> Any:
        """A connection, or None as the library has it: it tries again then."""
        limit = asyncio.timeout(0 if self._over else self._seconds)
        try:
            async with limit:
                self._running.add(limit)
                return await self._dial(node_id, **options)
        except TimeoutError:
            self._client.force_metadata_update()  # as after other failures: it may have moved
            return None
        finally:
            self._running.discard(limit)

    def end(self) -> None:
        """Ends all connections, also those that are being made; there will be no more."""
        self._over = True
        for limit in self._running:
            limit.reschedule(0)
        for connection in list(self._client._conns.values()):
            connection.close()


def names_brokers(consumer: AIOKafkaConsumer) -> bool:
    """Whether the first broker has told of any.

    One that does not take a token says so in a way that the library passes over: it goes on, and
    takes the next answer for a cluster without brokers.
    """
    client: Any = consumer._client
    return bool(client.cluster.brokers())


async def commit(consumer: AIOKafkaConsumer, offsets: Mapping[TopicPartition, int]) -> None:
    """Tells the group offsets, in one attempt, which may be cancelled.

    The library's own tries for ever, also when the partitions are somebody else's meanwhile, and
    goes on in the background when it is cancelled.

    Raises:
        KafkaError: that did not work.
    """
    group: Any = consumer._coordinator
    await group.ensure_coordinator_known()
    given = {place: OffsetAndMetadata(offset, "") for place, offset in offsets.items()}
    await group._do_commit_offsets(None, given)

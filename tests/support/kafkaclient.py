"""What tests do at a Kafka broker, one call after the other."""

import asyncio
import itertools
import os

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic

_numbers = itertools.count()


class Topic:
    """A topic that nobody had before, and a consumer group of it."""

    def __init__(self, address, partitions=2, name="", replicas=1):
        self.address = address
        self.name = name or f"topic-{os.getpid()}-{next(_numbers)}"
        self.group = f"{self.name}-group"
        self.partitions = partitions
        asyncio.run(self._make(replicas))

    async def _make(self, replicas):
        admin = AIOKafkaAdminClient(bootstrap_servers=self.address)
        await admin.start()
        try:
            await admin.create_topics([NewTopic(self.name, self.partitions, replicas)])
        finally:
            await admin.close()

    def put(self, *values, partition=0, headers=(), **options):
        """Writes records with these values into a partition."""
        asyncio.run(self._put(values, partition, headers, options))

    async def _put(self, values, partition, headers, options):
        producer = AIOKafkaProducer(bootstrap_servers=self.address, linger_ms=5, **options)
        await producer.start()
        try:
            headers = [(name, value) for name, value in headers]
            sent = [
                await producer.send(self.name, value, b"key", partition, headers=headers)
                for value in values
            ]
            await asyncio.gather(*sent)
        finally:
            await producer.stop()

    def committed(self):
        """The offsets that the group has committed, by partition."""
        return asyncio.run(self._offsets())[0]

    def left(self):
        """How many records are behind the committed offsets."""
        committed, ends = asyncio.run(self._offsets())
        return sum(ends[number] - committed[number] for number in ends)

    async def _offsets(self):
        client = AIOKafkaConsumer(
            bootstrap_servers=self.address, group_id=self.group, enable_auto_commit=False
        )
        await client.start()
        try:
            places = [TopicPartition(self.name, number) for number in range(self.partitions)]
            ends = await client.end_offsets(places)
            committed = {place: await client.committed(place) or 0 for place in places}
        finally:
            await client.stop()
        return tuple({p.partition: offset for p, offset in d.items()} for d in (committed, ends))

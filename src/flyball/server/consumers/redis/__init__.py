"""Redis streams: entries that applications add, read by a consumer group.

Needs the extra ``redis``.
"""

from flyball.server.consumers.redis.consumer import RedisStreamConsumer
from flyball.server.consumers.redis.options import StreamOptions

__all__ = ["RedisStreamConsumer", "StreamOptions"]

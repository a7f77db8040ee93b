"""Subscriptions of Google Pub/Sub.

Needs the extra ``pubsub``.
"""

from flyball.server.consumers.pubsub.client import PubSubClient
from flyball.server.consumers.pubsub.consumer import PubSubConsumer
from flyball.server.consumers.pubsub.options import PubSubOptions

__all__ = ["PubSubClient", "PubSubConsumer", "PubSubOptions"]

"""NATS JetStream: messages of a stream, given out by a durable consumer."""

from flyball.server.consumers.nats.consumer import JetStreamConsumer
from flyball.server.consumers.nats.options import DurableOptions

__all__ = ["DurableOptions", "JetStreamConsumer"]

"""History, recovery and presence by JetStream: see ``docs/engines.md`` for the layout."""

from flyball.engines.nats.jetstream.broker import JetStreamBroker
from flyball.engines.nats.jetstream.presence import JetStreamPresenceManager

__all__ = ["JetStreamBroker", "JetStreamPresenceManager"]

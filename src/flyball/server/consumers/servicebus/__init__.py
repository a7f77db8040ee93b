"""Queues of Azure Service Bus.

Needs the extra ``servicebus``.
"""

from flyball.server.consumers.servicebus.client import BusClient
from flyball.server.consumers.servicebus.consumer import ServiceBusConsumer
from flyball.server.consumers.servicebus.options import Identity, ServiceBusOptions

__all__ = ["BusClient", "Identity", "ServiceBusConsumer", "ServiceBusOptions"]

"""Messages of queues and tables that are commands of the server API.

A :class:`~flyball.server.consumers.base.Consumer` reads one source; each kind has a folder of its
own. What all of them share: :mod:`commands` does what a message says, :mod:`workers` keeps the
loops that read going. Each message is done at least once, and those of one partition in order.
"""

from flyball.server.consumers.base import Consumer, Message
from flyball.server.consumers.commands import Commands
from flyball.server.consumers.data_mode import PublicationDataMode
from flyball.server.consumers.errors import StoppedError, TryAgainError
from flyball.server.consumers.metrics import ConsumerMetrics
from flyball.server.consumers.workers import Worker, Workers

__all__ = [
    "Commands",
    "Consumer",
    "ConsumerMetrics",
    "Message",
    "PublicationDataMode",
    "StoppedError",
    "TryAgainError",
    "Worker",
    "Workers",
]

"""The outbox: a table that applications write commands into, within their own transactions.

Needs the extra ``postgres``.
"""

from flyball.server.consumers.postgres.consumer import PostgresConsumer
from flyball.server.consumers.postgres.options import OutboxOptions

__all__ = ["OutboxOptions", "PostgresConsumer"]

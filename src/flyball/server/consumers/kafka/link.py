"""One membership in a consumer group: a client of aiokafka, from its first connection to its end."""

from __future__ import annotations

import asyncio
import math
from typing import TYPE_CHECKING, Any, Final

from aiokafka import AIOKafkaConsumer, TopicPartition
from aiokafka.errors import KafkaError

from flyball.server.consumers.errors import SourceError
from flyball.server.consumers.kafka._private import Dials, names_brokers

if TYPE_CHECKING:
    from aiokafka.abc import AbstractTokenProvider

    from flyball.server.consumers.kafka.options import KafkaOptions

CLIENT_ID: Final = "centrifugo"
"""What brokers know us by, as the original."""
SESSION: Final = 10.0
"""Seconds after which a node that is not heard of any more is out of the group."""
HEARTBEAT: Final = 1.0
"""Seconds between signs of life; the answers tell that partitions change hands."""
REBALANCE: Final = 30.0
"""Seconds that a node has to finish what it does when partitions change hands."""
ANSWER: Final = 40.0
"""Seconds for an answer; it takes as long as all nodes of a group need to be ready."""
NEWS: Final = 10.0
"""Seconds between looks for new topics, partitions and brokers."""
RETRY: Final = 0.3
"""Seconds before what failed is tried again."""
GOODBYE: Final = 2.0
"""Seconds to leave the group."""
MECHANISMS: Final = {
    "plain": "PLAIN",
    "scram-sha-256": "SCRAM-SHA-256",
    "scram-sha-512": "SCRAM-SHA-512",
    "aws-msk-iam": "OAUTHBEARER",
}
"""What they are called between us and a broker."""


class Link:
    """A client that is connected to one broker of the cluster at first.

    Args:
        options: which cluster, and how.
        broker: that is asked for the others.
        tokens: gives those of ``aws-msk-iam``.
    """

    def __init__(
        self, options: KafkaOptions, broker: str, tokens: AbstractTokenProvider | None
    ) -> None:
        self._options = options
        self._tokens = tokens
        self.client: AIOKafkaConsumer = _client(options, broker, tokens)
        self._dials = Dials(self.client, options.dial_timeout)

    async def connect(self) -> None:
        """Connects to the broker.

        Raises:
            SourceError: that does not work.
        """
        if self._tokens is not None:
            await _prepare(self._tokens)
        try:
            async with asyncio.timeout(self._options.dial_timeout):
                await self.client.start()
        except TimeoutError:
            limit = self._options.dial_timeout
            raise SourceError(f"no connection within {limit:g} s") from None
        except KafkaError as error:
            raise SourceError(str(error)) from None
        if not names_brokers(self.client):
            refused = "; it does not take our token" if self._tokens is not None else ""
            raise SourceError(f"the broker names none that we could read from{refused}")

    async def close(self) -> None:
        """Leaves the group; a broker that does not say goodbye in time is left alone."""
        timer = asyncio.get_running_loop().call_later(GOODBYE, self._dials.end)
        try:
            await self.client.stop()
        finally:
            timer.cancel()
            self._dials.end()

    def answered(self, partition: TopicPartition) -> int | None:
        """When its broker last answered a fetch; None: not yet, or it is not ours."""
        if partition not in self.client.assignment():
            return None
        moment: int | None = self.client.last_poll_timestamp(partition)
        return moment

    def missing_topics(self) -> list[str]:
        """Topics that the cluster does not have, as far as we know."""
        known = self.client.partitions_for_topic
        return [topic for topic in self._options.topics if not known(topic)]


async def _prepare(tokens: AbstractTokenProvider) -> None:
    """Has a token made: what AWS takes for it is no part of the time for a connection."""
    try:
        await tokens.token()
    except Exception as error:
        raise SourceError(f"no token can be made: {error}") from error


def _client(
    options: KafkaOptions, broker: str, tokens: AbstractTokenProvider | None
) -> AIOKafkaConsumer:
    more: dict[str, Any] = {"security_protocol": _protocol(options), "ssl_context": options.tls}
    if options.sasl is not None:
        more |= {
            "sasl_mechanism": MECHANISMS[options.sasl.mechanism],
            "sasl_plain_username": options.sasl.user,
            "sasl_plain_password": options.sasl.password,
            "sasl_oauth_token_provider": tokens,
        }
    if options.fetch_max_bytes:
        more["fetch_max_bytes"] = options.fetch_max_bytes
    return AIOKafkaConsumer(
        bootstrap_servers=[broker],
        client_id=CLIENT_ID,
        group_id=options.group,
        group_instance_id=options.instance_id or None,
        fetch_max_wait_ms=max(1, round(options.fetch_max_wait * 1000)),
        max_poll_records=options.max_poll_records,
        isolation_level="read_uncommitted" if options.read_uncommitted else "read_committed",
        enable_auto_commit=False,
        # A new group has missed nothing yet.
        auto_offset_reset="earliest",
        # Whoever cannot go on, because the engine is away, stays a member however long that takes.
        max_poll_interval_ms=math.inf,
        session_timeout_ms=round(SESSION * 1000),
        heartbeat_interval_ms=round(HEARTBEAT * 1000),
        rebalance_timeout_ms=round(REBALANCE * 1000),
        request_timeout_ms=round((ANSWER + options.fetch_max_wait) * 1000),
        retry_backoff_ms=round(RETRY * 1000),
        metadata_max_age_ms=round(NEWS * 1000),
        **more,
    )


def _protocol(options: KafkaOptions) -> str:
    kind = "PLAINTEXT" if options.tls is None else "SSL"
    return kind if options.sasl is None else f"SASL_{kind}"

"""Consumers: each entry of ``consumers`` that is enabled, by its type."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flyball.server.build.cloud_consumers import pubsub_consumer, service_bus_consumer, sqs_consumer
from flyball.server.build.errors import Refusals, missing, naming
from flyball.server.build.kafka_consumer import kafka_consumer
from flyball.server.build.nats_consumer import nats_consumer
from flyball.server.build.postgres_consumer import postgres_consumer
from flyball.server.build.redis_consumer import redis_consumer
from flyball.server.components import Component
from flyball.server.consumers import Commands, PublicationDataMode, Workers

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.server.api.service import ApiService
    from flyball.server.config import Config
    from flyball.server.config import schema_consumers as schema
    from flyball.server.consumers import Consumer, ConsumerMetrics

    Builder: TypeAlias = Callable[[str, str, Any, Workers], Consumer]
    """Makes a consumer of its name, the path of its section, the section, and its loops."""

_KINDS_OF_METADATA: Final = ("header", "value", "attribute", "property")


@dataclass(frozen=True, slots=True)
class Consumers:
    """Those that are enabled."""

    components: list[Component]
    loops: list[Workers]
    """Of each of them."""

    def problems(self) -> list[str]:
        """What keeps them from getting on now; empty if all do."""
        return [problem for workers in self.loops for problem in workers.problems]


def consumers(config: Config, api: ApiService, metrics: ConsumerMetrics) -> Consumers:
    """All consumers that are enabled; they come in by a door of the API of their own.

    Raises:
        ConfigError: an option is wrong, or what a consumer needs is not installed.
    """
    service = api.over("consuming")
    found, refused = Consumers([], []), Refusals()
    for index, entry in enumerate(config.consumers):
        if entry.enabled and entry.type in BUILDERS:  # another type is told of by the checks
            commands = Commands(entry.name, service, metrics, _data_mode(entry))
            workers = Workers(commands, service.node.clock)
            make = partial(_consumer, f"consumers[{index}]", entry, workers)
            consumer = refused.of(make, lambda: None)
            if consumer is None:
                continue
            found.components.append(Component(start=consumer.start, stop=consumer.stop))
            found.loops.append(workers)
    refused.tell()
    return found


def _consumer(key: str, entry: schema.Consumer, workers: Workers) -> Consumer:
    builder, extra = BUILDERS[entry.type]
    key = f"{key}.{entry.type}"
    try:
        with naming(key, "."):
            return builder(entry.name, key, getattr(entry, entry.type), workers)
    except ImportError as error:
        raise missing(f"{key}: it", extra, error) from None


def _data_mode(entry: schema.Consumer) -> PublicationDataMode | None:
    """Of a section whose options end in what the source calls its metadata; None: it is off."""
    mode = getattr(getattr(entry, entry.type), "publication_data_mode", None)
    if mode is None or not mode.enabled:
        return None
    kind = next(k for k in _KINDS_OF_METADATA if hasattr(mode, f"channels_{k}"))
    names = ("channels", "idempotency_key", "delta", "version", "version_epoch")
    return PublicationDataMode(
        **{name: getattr(mode, f"{name}_{kind}") for name in names},
        tags_prefix=getattr(mode, f"tags_{kind}_prefix"),
    )


BUILDERS: Final[dict[str, tuple[Builder, str]]] = {
    "postgresql": (postgres_consumer, "postgres"),
    "redis_stream": (redis_consumer, "redis"),
    "nats_jetstream": (nats_consumer, ""),
    "kafka": (kafka_consumer, "kafka"),
    "aws_sqs": (sqs_consumer, "sqs"),
    "google_pub_sub": (pubsub_consumer, "pubsub"),
    "azure_service_bus": (service_bus_consumer, "servicebus"),
}
"""How each type of consumer is made, and the extra that it needs, if any."""

"""Topics of Kafka, read by a group of nodes that share their partitions.

Needs the extra ``kafka``; ``aws-msk-iam`` needs ``kafka-msk`` too.
"""

from flyball.server.consumers.kafka.consumer import KafkaConsumer
from flyball.server.consumers.kafka.options import KafkaOptions, Sasl

__all__ = ["KafkaConsumer", "KafkaOptions", "Sasl"]

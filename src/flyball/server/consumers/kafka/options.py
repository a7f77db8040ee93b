"""Settings of a Kafka consumer."""

from __future__ import annotations

import re
import ssl
from dataclasses import dataclass, field
from typing import Final

from flyball.core.errors import ConfigError

_BROKER: Final = re.compile(r"(?:\[[0-9A-Fa-f:.]+\]|[^\s:,/\[\]]+)(?::([0-9]{1,5}))?")
_TOPIC: Final = re.compile(r"[a-zA-Z0-9._-]{1,249}")
_MSK_BROKER: Final = re.compile(r"\.kafka(?:-serverless)?\.([a-z0-9-]+)\.amazonaws\.com")
"""Whose name tells its region, as AWS gives them out."""
MSK: Final = "aws-msk-iam"


@dataclass(frozen=True, slots=True, kw_only=True)
class Sasl:
    """Who we are to the brokers."""

    mechanism: str
    """``plain``, ``scram-sha-256``, ``scram-sha-512`` or ``aws-msk-iam``."""
    user: str = ""
    """With aws-msk-iam the id of an access key; without it, AWS's usual places are looked at."""
    password: str = field(default="", repr=False)
    """With aws-msk-iam the secret of that key."""
    role: str = ""
    """ARN of a role to assume, with aws-msk-iam only."""

    def __post_init__(self) -> None:
        if self.mechanism != MSK and self.role:
            raise ConfigError(
                f"assume_role_arn: sasl_mechanism {MSK} alone knows roles,"
                f" and it is {self.mechanism!r}; change one of them"
            )
        given = (bool(self.user), bool(self.password))
        if given in ((True, False), (False, True)) or (self.mechanism != MSK and not any(given)):
            missing = "sasl_password" if self.user else "sasl_user"
            raise ConfigError(f"{missing}: sasl_mechanism {self.mechanism} needs it; set it")


@dataclass(frozen=True, slots=True, kw_only=True)
class KafkaOptions:
    """What is read, and how. Durations are seconds."""

    brokers: tuple[str, ...]
    """Some brokers of the cluster, ``host:port``: these tell the others."""
    topics: tuple[str, ...]
    group: str
    """Name of the consumer group."""
    instance_id: str = ""
    """Name of this node in the group, if it shall be a static member: unique in it."""
    max_poll_records: int = 100
    """Most records that are taken at once."""
    fetch_max_bytes: int = 0
    """Most bytes of one answer; 0 means 50 MiB."""
    fetch_max_wait: float = 0.5
    """How long a broker may wait for records before it answers."""
    read_uncommitted: bool = False
    """Records of transactions that are open, or were aborted, are read too."""
    queue_size: int = 1000
    """Records of a partition that wait here; with as many no more of it are taken."""
    dial_timeout: float = 3.0
    """Longest time for a connection to a broker, TLS and SASL with it."""
    tls: ssl.SSLContext | None = None
    sasl: Sasl | None = None

    def __post_init__(self) -> None:
        for broker in self.brokers:
            found = _BROKER.fullmatch(broker)
            if found is None or not 0 < int(found[1] or 9092) < 65536:
                raise ConfigError(f"brokers: {broker!r} is no address; host:port is expected")
        for topic in self.topics:
            if not _TOPIC.fullmatch(topic) or topic in (".", ".."):
                raise ConfigError(
                    f"topics: {topic!r} is no name of a topic;"
                    " up to 249 letters, digits, dots, _ and - are allowed"
                )
        self._check_numbers()
        if self.sasl is not None and self.sasl.mechanism == MSK and self.tls is None:
            raise ConfigError(
                f"tls.enabled: {MSK} is for connections with TLS only; set it to true"
            )

    def _check_numbers(self) -> None:
        for name, value in (
            ("max_poll_records", self.max_poll_records),
            ("fetch_max_wait", self.fetch_max_wait),
            ("partition_queue_max_size", self.queue_size),
            ("dial_timeout", self.dial_timeout),
        ):
            if value <= 0:
                raise ConfigError(f"{name} is {value:g}; it must be above 0")
        if self.fetch_max_bytes < 0:
            raise ConfigError(f"fetch_max_bytes is {self.fetch_max_bytes}; it must be 0 or more")

    @property
    def region(self) -> str:
        """AWS's name of where the brokers are, by their names; empty: these do not tell."""
        found = [_MSK_BROKER.search(broker) for broker in self.brokers]
        return next((match[1] for match in found if match is not None), "")

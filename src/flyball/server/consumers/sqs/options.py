"""Settings of a consumer of SQS."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flyball.core.errors import ConfigError

_URL: Final = re.compile(r"https?://[^/\s]+/\S*[^/\s]")
_ENDPOINT: Final = re.compile(r"https?://[^/\s]+(?:/\S*)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class SqsOptions:
    """Which queues, how they are read, and as whom. Durations are whole seconds, as SQS has them."""

    queues: tuple[str, ...]
    """Their URLs; a name that ends in ``.fifo`` keeps the order of its groups."""
    method_attribute: str = "centrifugo-method"
    """Message attribute with the method."""
    sns_envelope: bool = False
    """Bodies are notifications of SNS; what counts is their ``Message``."""
    max_messages: int = 10
    """Most messages of one call, 1 to 10."""
    wait_time: float = 20
    """How long a call waits for a message, 0 to 20."""
    visibility_timeout: float = 30
    """How long a message is ours, 1 to 43200."""
    concurrency: int = 1
    """Messages of one queue that are done at a time."""
    region: str = ""
    """Empty: what the environment or the profile says."""
    profile: str = ""
    """In the files of AWS's tools; empty: what the environment says."""
    role: str = ""
    """ARN of a role that is assumed; empty: none."""
    endpoint: str = ""
    """URL of a stand-in for AWS; empty: AWS."""

    def __post_init__(self) -> None:
        for queue in self.queues:
            if not _URL.fullmatch(queue):
                raise ConfigError(
                    f"queues: {queue!r} is no URL of a queue; it looks like"
                    " https://sqs.eu-west-1.amazonaws.com/123456789012/name"
                )
        if len(set(self.queues)) < len(self.queues):
            raise ConfigError("queues: one of them stands there twice")
        if self.endpoint and not _ENDPOINT.fullmatch(self.endpoint):
            raise ConfigError(f"localstack_endpoint: {self.endpoint!r} is no http or https URL")
        if self.role and not self.role.startswith("arn:"):
            raise ConfigError(f"assume_role_arn: {self.role!r} is no ARN; it begins with arn:")
        _within("max_number_of_messages", self.max_messages, 1, 10)
        _within("wait_time_time", self.wait_time, 0, 20, " s")
        _within("visibility_timeout", self.visibility_timeout, 1, 43_200, " s")
        _within("max_concurrency", self.concurrency, 1, 1000)


def _within(name: str, value: float, least: int, most: int, unit: str = "") -> None:
    if value != int(value) or not least <= value <= most:
        raise ConfigError(
            f"{name} is {value:g}{unit}; a whole number from {least} to {most}{unit} is allowed"
        )

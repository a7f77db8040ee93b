"""Settings of a consumer of a JetStream stream."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flyball.core.errors import ConfigError
from flyball.engines.nats import ServerOptions

_NAME: Final = re.compile(r"[^\s.*>/\\\x00-\x20\x7f]+")
_WORD: Final = r"[^\s.*>\x00-\x20\x7f]+"
_SUBJECT: Final = re.compile(rf"(?:(?:{_WORD}|\*)\.)*(?:{_WORD}|\*|>)")


@dataclass(frozen=True, slots=True, kw_only=True)
class DurableOptions:
    """Which stream, and how it is read."""

    servers: ServerOptions
    """Where it is, and how to log in there."""
    stream: str
    durable: str
    """Name of the durable consumer that all nodes share."""
    use_existing: bool = False
    """The consumer is another's: it is neither made nor changed."""
    subjects: tuple[str, ...] = ()
    """What is read of the stream; empty: all."""
    deliver_all: bool = False
    """A consumer that is made begins with the stream; else with what comes."""
    max_ack_pending: int = 100
    """Messages that all nodes have in hand at most; -1: any number, 0: as the server likes."""
    method_header: str = "centrifugo-method"
    """Header with the method; without it the body names it."""

    def __post_init__(self) -> None:
        for option, name in (("stream_name", self.stream), ("durable_consumer_name", self.durable)):
            if not _NAME.fullmatch(name):
                raise ConfigError(
                    f"{option}: {name!r} is no name; spaces and the characters . * > / \\"
                    " are not allowed"
                )
        for subject in self.subjects:
            if not _SUBJECT.fullmatch(subject):
                raise ConfigError(
                    f"subjects: {subject!r} is no subject; words between dots are allowed, * for"
                    " any word, and > at the end"
                )
            if self.subjects.count(subject) > 1:
                raise ConfigError(f"subjects: {subject!r} is there more than once; remove one")
        if self.max_ack_pending < -1:
            raise ConfigError(
                f"max_ack_pending is {self.max_ack_pending}; -1 (no limit) or more is allowed"
            )

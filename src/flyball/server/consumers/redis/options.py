"""Settings of a consumer of Redis streams."""

from __future__ import annotations

from dataclasses import dataclass

from flyball.core.errors import ConfigError
from flyball.engines.redis import ShardOptions


@dataclass(frozen=True, slots=True, kw_only=True)
class StreamOptions:
    """Which streams, and how they are read. Durations are seconds."""

    shard: ShardOptions
    """The server, the Cluster, or the Sentinels."""
    streams: tuple[str, ...]
    """Their keys."""
    group: str
    """The consumer group that all nodes share."""
    visibility_timeout: float = 30.0
    """Entries that nobody said anything of for so long are taken over from whoever read them."""
    num_workers: int = 1
    """Entries of a stream that are done at one time; with one alone in their order."""
    payload_value: str = "payload"
    """Name of the value with the body."""
    method_value: str = "method"
    """Name of the value with the method; without it the body names it."""

    def __post_init__(self) -> None:
        for name in self.streams:
            if not name:
                raise ConfigError("streams: a name is empty")
            if self.streams.count(name) > 1:
                raise ConfigError(f"streams: {name!r} is there more than once; remove one")
        if self.visibility_timeout < 0.001:
            raise ConfigError(
                f"visibility_timeout is {self.visibility_timeout:g} s; 1ms or more is allowed"
            )
        if self.num_workers < 1:
            raise ConfigError(f"num_workers is {self.num_workers}; 1 or more is allowed")
        for key in ("payload_value", "method_value"):
            if not getattr(self, key):
                raise ConfigError(f"{key} is empty; it names a value of the entries")
        if self.payload_value == self.method_value:
            raise ConfigError(f"method_value: {self.method_value!r} is payload_value too")

"""Counters of the engine: plain numbers, cheap to change, read by whoever exports them.

Keys are label values in the order of the comment; the exporter knows the names.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import defaultdict
from typing import TypeAlias

UNKNOWN = "unknown"
"""Frame type of a command that has no request we know."""

DEFAULT_BOUNDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
"""Upper bounds in seconds, Prometheus' own."""
FINE_BOUNDS = (0.0001, 0.00025, 0.0005, 0.001, *DEFAULT_BOUNDS)
BROADCAST_BOUNDS = (0.000001, 0.000005, 0.00001, 0.00005, *FINE_BOUNDS)
LAG_BOUNDS = (0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)

COMMANDS = (
    "connect",
    "subscribe",
    "unsubscribe",
    "publish",
    "presence",
    "presence_stats",
    "history",
    "send",
    "rpc",
    "refresh",
    "sub_refresh",
    UNKNOWN,
)
"""Methods whose durations are shown from the start."""
MESSAGE_TYPES = ("publication", "join", "leave", "control")
"""What nodes send each other."""

RECOVERED_BOUNDS = (0, 1, 2, 3, 5, 10, 20, 50, 100, 250, 500, 1000, 2000, 5000, 10000)
"""Publications."""


class Histogram:
    """Observations counted by upper bound."""

    __slots__ = ("bounds", "counts", "total")

    def __init__(self, bounds: tuple[float, ...] = DEFAULT_BOUNDS) -> None:
        self.bounds: tuple[float, ...] = bounds
        self.counts: list[int] = [0] * (len(bounds) + 1)
        """Observations in each bucket (not cumulated); the last one is above all bounds."""
        self.total: float = 0.0
        """Sum of all observations."""

    def observe(self, value: float) -> None:
        """Counts ``value`` (seconds)."""
        self.counts[bisect_left(self.bounds, value)] += 1
        self.total += value

    @property
    def count(self) -> int:
        """Number of observations."""
        return sum(self.counts)


def _fine() -> Histogram:
    return Histogram(FINE_BOUNDS)


def _zeros(keys: tuple[str, ...]) -> defaultdict[str, int]:
    """Series that are shown before anything happens: a rate needs the zero it starts from."""
    return defaultdict(int, dict.fromkeys(keys, 0))


class Traffic:
    """Messages of one kind over one transport."""

    __slots__ = ("bytes", "messages")

    def __init__(self) -> None:
        self.messages: int = 0
        self.bytes: int = 0
        """As messages, without the wire's framing."""

    def count(self, messages: int, size: int) -> None:
        """``messages`` more, each of ``size`` bytes."""
        self.messages += messages
        self.bytes += messages * size


TrafficTable: TypeAlias = "defaultdict[str, defaultdict[str, Traffic]]"
"""Name of the transport, then frame type: names have their hashes, pairs of them would not."""


def _traffic() -> TrafficTable:
    return defaultdict(lambda: defaultdict(Traffic))


def _flat(table: TrafficTable, field: str) -> defaultdict[tuple[str, str], int]:
    found: defaultdict[tuple[str, str], int] = defaultdict(int)
    for transport, kinds in table.items():
        found.update({(transport, kind): getattr(cell, field) for kind, cell in kinds.items()})
    return found


class Metrics:
    """All counters of one node."""

    __slots__ = (
        "actions",
        "background_failures",
        "broadcast_duration",
        "broker_losses",
        "command_duration",
        "connections_accepted",
        "connections_inflight",
        "history_reads",
        "messages_received",
        "messages_sent",
        "payload_faults",
        "ping_pong_duration",
        "pub_sub_lag",
        "publish_suppressed",
        "received",
        "recovered_publications",
        "recovers",
        "reply_errors",
        "sent",
        "server_disconnects",
        "server_unsubscribes",
        "strangers_dropped",
        "subscriptions_accepted",
        "subscriptions_inflight",
        "survey_duration",
        "tags_filter_dropped",
        "transport_closes",
    )

    def __init__(self) -> None:  # noqa: PLR0915 - a list
        self.actions: defaultdict[str, int] = defaultdict(int)
        """action"""
        self.background_failures: defaultdict[str, int] = defaultdict(int)
        """name of the work that nobody waits for"""
        self.messages_sent: defaultdict[str, int] = _zeros(MESSAGE_TYPES)
        """type: publication, join, leave, control"""
        self.messages_received: defaultdict[str, int] = _zeros(MESSAGE_TYPES)
        """type"""
        self.broadcast_duration: defaultdict[str, Histogram] = defaultdict(
            lambda: Histogram(BROADCAST_BOUNDS)
        )
        """type"""
        self.broker_losses: int = 0
        """How often the link to the broker was lost."""
        self.pub_sub_lag: Histogram = Histogram(LAG_BOUNDS)
        self.history_reads: int = 0
        """Reads of streams for subscribers, each perhaps for many of them."""
        self.strangers_dropped: int = 0
        """Connections and requests that held too much before anybody knew who sends it."""
        self.survey_duration: defaultdict[str, Histogram] = defaultdict(Histogram)
        """op"""
        self.command_duration: defaultdict[str, Histogram] = defaultdict(
            _fine, {method: _fine() for method in COMMANDS}
        )
        """method"""
        self.connections_accepted: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """transport, client's name, its version"""
        self.connections_inflight: defaultdict[tuple[str, str, str], int] = defaultdict(int)
        """transport, client's name, its version"""
        self.subscriptions_accepted: defaultdict[str, int] = defaultdict(int)
        """client's name"""
        self.subscriptions_inflight: defaultdict[str, int] = defaultdict(int)
        """client's name"""
        self.reply_errors: defaultdict[tuple[str, int], int] = defaultdict(int)
        """method, code"""
        self.server_unsubscribes: defaultdict[int, int] = defaultdict(int)
        """code"""
        self.server_disconnects: defaultdict[int, int] = defaultdict(int)
        """code"""
        self.recovers: defaultdict[tuple[bool, bool], int] = defaultdict(int)
        """recovered, has publications"""
        self.payload_faults: defaultdict[tuple[str, str], int] = defaultdict(int)
        """pattern, path within the payload"""
        self.recovered_publications: Histogram = Histogram(RECOVERED_BOUNDS)
        self.ping_pong_duration: defaultdict[str, Histogram] = defaultdict(_fine)
        """transport"""
        self.sent: TrafficTable = _traffic()
        """transport, frame type (connect, subscribe, push_publication, ...)"""
        self.received: TrafficTable = _traffic()
        """transport, frame type"""
        self.transport_closes: defaultdict[tuple[str, int], int] = defaultdict(int)
        """transport, code"""
        self.tags_filter_dropped: int = 0
        self.publish_suppressed: defaultdict[str, int] = defaultdict(int)
        """reason"""

    def count_dropped_stranger(self) -> None:
        """Counts a client that was dropped before it was known who it is."""
        self.strangers_dropped += 1

    @property
    def transport_sent(self) -> defaultdict[tuple[str, str], int]:
        """Messages sent, by transport and frame type, as of now."""
        return _flat(self.sent, "messages")

    @property
    def transport_sent_size(self) -> defaultdict[tuple[str, str], int]:
        """Their bytes."""
        return _flat(self.sent, "bytes")

    @property
    def transport_received(self) -> defaultdict[tuple[str, str], int]:
        """Messages received, by transport and frame type, as of now."""
        return _flat(self.received, "messages")

    @property
    def transport_received_size(self) -> defaultdict[tuple[str, str], int]:
        """Their bytes."""
        return _flat(self.received, "bytes")

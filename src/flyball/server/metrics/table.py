"""Which counter becomes which metric: names, labels and help in one place.

The documentation page of the metrics is written from these tables.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Final

PREFIX: Final = "centrifugo_"
"""Of every metric that Centrifugo has too, so that dashboards keep working."""
OWN_PREFIX: Final = "flyball_"
"""Of the metrics that only this server has."""

NAMESPACE: Final = (("channel_namespace", ""),)
"""A label the original has and leaves empty."""
UNEXPOSED: Final = (("accept_protocol", ""),)
"""Likewise: it tells the version of HTTP only to programs that ask for it."""
_CLIENT: Final = ("transport", "client_name", "client_version")


class MetricKind(Enum):
    """How a value is shown."""

    COUNTER = "counter"
    GAUGE = "gauge"
    HISTOGRAM = "histogram"
    TIMING = "summary"
    """A summary, and the same observations as a histogram named ``<name>_histogram``."""


@dataclass(frozen=True, slots=True)
class Spec:
    """One metric."""

    name: str
    """Without the prefix."""
    kind: MetricKind
    """How its value is shown."""
    help: str
    """What it means."""
    source: str
    """Attribute of the object that counts."""
    labels: tuple[str, ...] = ()
    """Names of what the keys of the counter are made of, in order."""
    fixed: tuple[tuple[str, str], ...] = ()
    """Labels with one value."""
    prefix: str = PREFIX
    """Whose metric it is."""

    @property
    def full_name(self) -> str:
        """The name as it is scraped."""
        return self.prefix + self.name


NODE: Final = (
    Spec(
        "node_num_clients",
        MetricKind.GAUGE,
        "Connections that completed connect on this node.",
        "num_clients",
    ),
    Spec(
        "node_num_users", MetricKind.GAUGE, "Different users connected to this node.", "num_users"
    ),
    Spec(
        "node_num_subscriptions",
        MetricKind.GAUGE,
        "Subscriptions of all connections of this node.",
        "num_subscriptions",
    ),
    Spec(
        "node_num_channels",
        MetricKind.GAUGE,
        "Channels with at least one subscriber on this node.",
        "num_channels",
    ),
)
"""Read from the hub."""

CORE: Final = (
    Spec(
        "node_action_count",
        MetricKind.COUNTER,
        "Operations of the node, by kind.",
        "actions",
        ("action",),
        NAMESPACE,
    ),
    Spec(
        "node_messages_sent_count",
        MetricKind.COUNTER,
        "Messages handed to the broker or the control channel.",
        "messages_sent",
        ("type",),
        NAMESPACE,
    ),
    Spec(
        "node_messages_received_count",
        MetricKind.COUNTER,
        "Messages that came from the broker or the control channel.",
        "messages_received",
        ("type",),
        NAMESPACE,
    ),
    Spec(
        "node_broadcast_duration_seconds",
        MetricKind.HISTOGRAM,
        "Time to hand one message to all subscribers of this node.",
        "broadcast_duration",
        ("type",),
        NAMESPACE,
    ),
    Spec(
        "node_pub_sub_lag_seconds",
        MetricKind.HISTOGRAM,
        "Age of publications when they arrive from the broker.",
        "pub_sub_lag",
        (),
        NAMESPACE,
    ),
    Spec(
        "node_survey_duration_seconds",
        MetricKind.TIMING,
        "Time until all nodes answered a survey.",
        "survey_duration",
        ("op",),
    ),
    Spec(
        "node_tags_filter_dropped_publications",
        MetricKind.COUNTER,
        "Deliveries left out because of a subscriber's tags filter.",
        "tags_filter_dropped",
        (),
        NAMESPACE,
    ),
    Spec(
        "client_command_duration_seconds",
        MetricKind.TIMING,
        "Time to handle one client command.",
        "command_duration",
        ("method",),
        NAMESPACE,
    ),
    Spec(
        "client_connections_accepted",
        MetricKind.COUNTER,
        "Connections that were accepted.",
        "connections_accepted",
        _CLIENT,
        UNEXPOSED,
    ),
    Spec(
        "client_connections_inflight",
        MetricKind.GAUGE,
        "Connections that are open now.",
        "connections_inflight",
        _CLIENT,
        UNEXPOSED,
    ),
    Spec(
        "client_subscriptions_accepted",
        MetricKind.COUNTER,
        "Subscriptions that were accepted.",
        "subscriptions_accepted",
        ("client_name",),
        NAMESPACE,
    ),
    Spec(
        "client_subscriptions_inflight",
        MetricKind.GAUGE,
        "Subscriptions that exist now.",
        "subscriptions_inflight",
        ("client_name",),
        NAMESPACE,
    ),
    Spec(
        "client_num_reply_errors",
        MetricKind.COUNTER,
        "Commands answered with an error.",
        "reply_errors",
        ("method", "code"),
        NAMESPACE,
    ),
    Spec(
        "client_num_server_unsubscribes",
        MetricKind.COUNTER,
        "Subscriptions ended by the server.",
        "server_unsubscribes",
        ("code",),
        NAMESPACE,
    ),
    Spec(
        "client_num_server_disconnects",
        MetricKind.COUNTER,
        "Connections ended by the server.",
        "server_disconnects",
        ("code",),
    ),
    Spec(
        "client_recover",
        MetricKind.COUNTER,
        "Attempts to recover missed publications.",
        "recovers",
        ("recovered", "has_recovered_publications"),
        NAMESPACE,
    ),
    Spec(
        "client_recovered_publications",
        MetricKind.HISTOGRAM,
        "Publications that a successful recovery brought.",
        "recovered_publications",
        (),
        NAMESPACE,
    ),
    Spec(
        "client_ping_pong_duration_seconds",
        MetricKind.HISTOGRAM,
        "Time between a ping and its pong.",
        "ping_pong_duration",
        ("transport",),
    ),
    Spec(
        "transport_messages_sent",
        MetricKind.COUNTER,
        "Messages sent to clients.",
        "transport_sent",
        ("transport", "frame_type"),
        NAMESPACE,
    ),
    Spec(
        "transport_messages_sent_size",
        MetricKind.COUNTER,
        "Bytes of messages sent to clients.",
        "transport_sent_size",
        ("transport", "frame_type"),
        NAMESPACE,
    ),
    Spec(
        "transport_messages_received",
        MetricKind.COUNTER,
        "Messages received from clients.",
        "transport_received",
        ("transport", "frame_type"),
        NAMESPACE,
    ),
    Spec(
        "transport_messages_received_size",
        MetricKind.COUNTER,
        "Bytes of messages received from clients.",
        "transport_received_size",
        ("transport", "frame_type"),
        NAMESPACE,
    ),
    Spec(
        "transport_outgoing_close_count",
        MetricKind.COUNTER,
        "Connections closed by the server, by close code.",
        "transport_closes",
        ("transport", "code"),
    ),
    Spec(
        "history_reads_total",
        MetricKind.COUNTER,
        "Reads of streams for subscribers that recover or check where they are; one serves all who"
        " wait for it.",
        "history_reads",
        prefix=OWN_PREFIX,
    ),
    Spec(
        "payload_faults_total",
        MetricKind.COUNTER,
        "Payloads of publications and calls that do not fit their schema, by where the fault is.",
        "payload_faults",
        ("pattern", "path"),
        prefix=OWN_PREFIX,
    ),
    Spec(
        "strangers_dropped_total",
        MetricKind.COUNTER,
        "Connections and requests dropped because clients that are not connected yet held too much"
        " memory together.",
        "strangers_dropped",
        prefix=OWN_PREFIX,
    ),
    Spec(
        "background_failures_total",
        MetricKind.COUNTER,
        "Failures of work that nobody waits for; the log has each, and the work goes on.",
        "background_failures",
        ("work",),
        prefix=OWN_PREFIX,
    ),
    Spec(
        "broker_losses_total",
        MetricKind.COUNTER,
        "How often the link to the broker was lost.",
        "broker_losses",
        prefix=OWN_PREFIX,
    ),
    Spec(
        "broker_publish_suppressed_count",
        MetricKind.COUNTER,
        "Publications that the broker left out, by reason.",
        "publish_suppressed",
        ("reason",),
        NAMESPACE,
    ),
)
"""Read from the node's counters."""

API: Final = (
    Spec(
        "api_command_duration_seconds",
        MetricKind.TIMING,
        "Time to handle one call of the server API.",
        "durations",
        ("protocol", "method"),
    ),
    Spec(
        "api_command_errors_total",
        MetricKind.COUNTER,
        "Calls of the server API that failed.",
        "errors",
        ("protocol", "method", "error"),
    ),
)
"""Read from the counters of the server API."""

SERVER: Final = (
    Spec(
        "node_client_connection_limit",
        MetricKind.COUNTER,
        "Connections refused because a connection limit was reached.",
        "connection_limit",
    ),
    Spec(
        "node_incoming_http_requests_total",
        MetricKind.COUNTER,
        "HTTP requests, when prometheus.instrument_http_handlers is on.",
        "http_requests",
        ("path", "method", "status"),
    ),
    Spec(
        "connections_refused_no_files_total",
        MetricKind.COUNTER,
        "Connections refused because the process may open no more files.",
        "no_files",
        prefix=OWN_PREFIX,
    ),
    Spec(
        "log_records_lost_total",
        MetricKind.COUNTER,
        "Log records that could not be written, as on a full disk.",
        "log_records_lost",
        prefix=OWN_PREFIX,
    ),
    Spec(
        "insecure_options",
        MetricKind.GAUGE,
        "Options that switch a protection off and are on: 1 for each.",
        "insecure_options",
        ("option",),
        prefix=OWN_PREFIX,
    ),
    Spec(
        "certificate_end_timestamp_seconds",
        MetricKind.GAUGE,
        "When the automatic certificate that is served for a name ends, in Unix time.",
        "certificates",
        ("host",),
        prefix=OWN_PREFIX,
    ),
)
"""Read from the counters of the HTTP side."""

_ASKED: Final = ("protocol", "type", "name")
PROXIES: Final = (
    Spec(
        "proxy_duration_seconds",
        MetricKind.TIMING,
        "Time from a question to a backend to its answer.",
        "durations",
        _ASKED,
    ),
    Spec(
        "proxy_errors",
        MetricKind.COUNTER,
        "Questions to a backend that got no answer.",
        "errors",
        _ASKED,
    ),
    Spec(
        "proxy_inflight_requests",
        MetricKind.GAUGE,
        "Questions to a backend that wait for their answer.",
        "inflight",
        _ASKED,
    ),
)
"""Read from the counters of the backends that decide."""

CONSUMERS: Final = (
    Spec(
        "consumers_messages_processed_total",
        MetricKind.COUNTER,
        "Messages that a consumer is done with, those it dropped among them.",
        "processed",
        ("consumer_name",),
    ),
    Spec(
        "consumers_errors_total",
        MetricKind.COUNTER,
        "Messages that a consumer dropped, attempts to do one that failed, and failures of its source.",
        "errors",
        ("consumer_name",),
    ),
)
"""Read from the counters of the consumers."""

POSTGRES: Final = (
    Spec(
        "broker_postgres_cleanup_removed_total",
        MetricKind.COUNTER,
        "Rows and partitions that this node removed because they were over.",
        "removed",
        ("broker_name", "pass"),
    ),
    Spec(
        "broker_postgres_outbox_cursor_lag_seconds",
        MetricKind.GAUGE,
        "Time since when a shard has more new rows than are read at once.",
        "lags",
        ("broker_name", "shard"),
    ),
    Spec(
        "broker_postgres_partitions",
        MetricKind.GAUGE,
        "Partitions of the table with publications.",
        "partitions",
        ("broker_name",),
    ),
)
"""Read from the figures of a PostgreSQL broker."""

# ruff: noqa: RUF001 -- the page is typeset
"""Writes docs/metrics.md from the tables of the metrics.

Usage: ``python scripts/metrics_doc.py`` writes; with ``--check`` it only says whether the page is
up to date (exit code 1 if not).
"""

from __future__ import annotations

import sys
from pathlib import Path

from flyball.server.metrics.table import (
    API,
    CONSUMERS,
    CORE,
    NODE,
    POSTGRES,
    PROXIES,
    SERVER,
    MetricKind,
    Spec,
)

PAGE = Path(__file__).resolve().parent.parent / "docs" / "metrics.md"

HEAD = """# Metrics

With `prometheus.enabled` the server answers Prometheus at `/metrics` (`prometheus.handler_prefix`),
on the internal port if there is one. Names, labels and buckets are Centrifugo's, so dashboards and
alerts keep working. Nothing is computed until somebody asks.

- `channel_namespace` and `accept_protocol` are there and empty. `client_name` and `client_version`
  tell whether a client gives any: `unregistered` if so, else `unnamed` and `unversioned`.
- *summary* rows have quantiles 0.5, 0.99 and 0.999 of about the last ten minutes, and a second
  metric with the same observations as a histogram: `…_histogram`. With
  `prometheus.native_histograms` the summaries are left out.
- Series whose labels are known stand at 0 from the start; others are shown once something was
  counted.

"""

SECTIONS = (
    ("Node and clients", (*NODE, *CORE)),
    ("Server API", API),
    ("Server", SERVER),
    ("Backends", PROXIES),
    ("Consumers", CONSUMERS),
    ("PostgreSQL as broker", POSTGRES),
)

TAIL = """## Otherwise than Centrifugo

After the same work both show the same series with the same counts, but for these.

| Metric | Centrifugo | Flyball |
|---|---|---|
| `client_subscriptions_accepted` | is never counted | every subscription that was accepted |
| `client_command_duration_seconds`, `method="send"` | a message that is refused counts twice | once |
| `node_action_count`, `action="remove_subscription"` | also subscribes that were refused | subscriptions that were there |
| `node_action_count`, `action="broker_unsubscribe"` | a second after the last subscriber left, perhaps twice for one channel | at once, and once |
| `node_messages_…_count`, `type="control"` | a lone node writes to itself | stands at 0 without other nodes |
| `transport_outgoing_close_count` | `websocket`, `uni_websocket` | `sockjs` too |
| `proxy_errors`, `type="subscribe_stream"` | streams that could not begin | those that break later, too |
| `consumers_errors_total` | attempts that failed and are repeated | messages that were dropped, too |
| `broker_redis_…`, `map_broker_…`, `shared_poll_…` | are there | are not |

## Also there

| Metric | Type | Labels | Meaning |
|---|---|---|---|
| `centrifugo_node_build` | gauge | `version` | Version of the server. |
| `centrifugo_node_num_nodes` | gauge | – | Nodes known to this one, itself included. |
| `process_…` | – | – | CPU, memory, open files and start time of the process. |
| `python_info`, `python_gc_…` | – | – | The interpreter and its garbage collector. |

`client_recovered_publications` is shown with `prometheus.recovered_publications_histogram` only,
`node_incoming_http_requests_total` is counted with `prometheus.instrument_http_handlers` only.

The `info` call of the server API carries the same metrics flat, for each node: counters and
summaries over the last `node.info_metrics_aggregate_interval`, named
`centrifugo.<subsystem>.<name>` with `.<label>.<value>` behind.
"""


def row(spec: Spec) -> str:
    """One line of a table."""
    labels = [*spec.labels, *(name for name, _ in spec.fixed)]
    shown = ", ".join(f"`{label}`" for label in labels) or "–"
    kind = "summary, histogram" if spec.kind is MetricKind.TIMING else spec.kind.value
    return f"| `{spec.full_name}` | {kind} | {shown} | {spec.help} |"


def page() -> str:
    """The whole page."""
    parts = [HEAD]
    for title, specs in SECTIONS:
        parts.append(f"## {title}\n\n| Metric | Type | Labels | Meaning |\n|---|---|---|---|\n")
        parts.append("\n".join(map(row, specs)) + "\n\n")
    return "".join(parts) + TAIL


if __name__ == "__main__":
    if "--check" in sys.argv:
        sys.exit(0 if PAGE.read_text(encoding="utf-8") == page() else f"{PAGE} is out of date")
    PAGE.write_text(page(), encoding="utf-8")

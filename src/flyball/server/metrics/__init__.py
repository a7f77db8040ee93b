"""Prometheus metrics of the server, named as Centrifugo names them.

Nothing here runs while messages travel: the core and the API count in plain numbers, and these
are turned into metric families when somebody scrapes.
"""

from flyball.server.metrics.collector import (
    GaugeSource,
    MetricsOptions,
    NodeCollector,
    ServerMetrics,
)
from flyball.server.metrics.exposition import CONTENT_TYPE, exposition, process_registry, render
from flyball.server.metrics.items import MetricItems, flatten

__all__ = [
    "CONTENT_TYPE",
    "GaugeSource",
    "MetricItems",
    "MetricsOptions",
    "NodeCollector",
    "ServerMetrics",
    "exposition",
    "flatten",
    "process_registry",
    "render",
]

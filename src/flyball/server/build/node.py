"""The node, and what counts for it."""

from __future__ import annotations

import platform
from typing import TYPE_CHECKING, Final

from flyball._version import __version__
from flyball.core.options import NodeOptions
from flyball.protocol.codes import DisconnectCode
from flyball.server.build.postgres import postgres_figures
from flyball.server.config import insecure_switches
from flyball.server.metrics import MetricsOptions, NodeCollector, ServerMetrics
from flyball.server.metrics.table import CONSUMERS
from flyball.transports.common.limits import ConnectionLimits

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.core.node import Node
    from flyball.server.api.service import ApiService
    from flyball.server.config import Config
    from flyball.server.consumers import ConsumerMetrics
    from flyball.server.proxies.metrics import ProxyMetrics

VERSION: Final = f"{__version__} OSS"
"""Told to clients in the connect result, in the form that SDKs know."""


def node_options(config: Config, *, version: str = VERSION) -> NodeOptions:
    """Limits and intervals of the node."""
    client = config.client
    transforms = client.connect_code_to_unidirectional_disconnect
    return NodeOptions(
        name=config.node.name or f"{platform.node()}_{config.http_server.port}",
        version=version,
        ping_interval=max(client.ping_interval, 0.0),
        pong_timeout=max(client.pong_timeout, 0.0),
        stale_close_delay=max(client.stale_close_delay, 0.0),
        expired_close_delay=max(client.expired_close_delay, 0.0),
        expired_sub_close_delay=max(client.expired_sub_close_delay, 0.0),
        presence_update_interval=client.presence_update_interval,
        channel_limit=max(client.channel_limit, 0),
        channel_max_length=max(config.channel.max_length, 0),
        queue_max_size=client.queue_max_size,
        channel_position_check_delay=max(client.channel_position_check_delay, 0.0),
        channel_position_max_time_lag=max(client.channel_position_max_time_lag, 0.0),
        user_connection_limit=max(client.user_connection_limit, 0),
        history_max_publication_limit=max(client.history_max_publication_limit, 0),
        recovery_max_publication_limit=max(client.recovery_max_publication_limit, 0),
        history_meta_ttl=config.channel.history_meta_ttl,
        concurrency=client.concurrency,
        connect_include_server_time=client.connect_include_server_time,
        warn_of_refusals=False,  # the server's policy tells of them in its own words
        uni_connect_disconnects={
            t.code: DisconnectCode(t.to.code, t.to.reason) for t in transforms.transforms
        }
        if transforms.enabled
        else {},
    )


def server_metrics(config: Config) -> ServerMetrics:
    """Counters of the HTTP side; the insecure options that are on are among them."""
    metrics = ServerMetrics()
    for key in insecure_switches(config):
        metrics.insecure_options[key] = 1
    return metrics


def node_collector(
    config: Config,
    node: Node,
    api: ApiService,
    metrics: ServerMetrics,
    proxies: ProxyMetrics,
    consumers: ConsumerMetrics,
) -> NodeCollector:
    """Everything that is counted here, in the original's names."""
    options = config.prometheus
    return NodeCollector(
        node.hub,
        node.metrics,
        api=api.metrics,
        server=metrics,
        proxies=proxies,
        others=((consumers, CONSUMERS),),
        postgres=postgres_figures(config, node.broker),
        num_nodes=lambda: node.num_nodes,
        options=MetricsOptions(
            version=node.options.version,
            native_histograms=options.native_histograms,
            recovered_publications_histogram=options.recovered_publications_histogram,
        ),
    )


def connection_limits(
    config: Config, node: Node, clock: Clock, metrics: ServerMetrics
) -> ConnectionLimits:
    """How many connections all endpoints together take."""
    client = config.client
    return ConnectionLimits(
        lambda: node.hub.num_clients,
        limit=client.connection_limit,
        rate_limit=client.connection_rate_limit,
        monotonic=clock.monotonic,
        on_refused=metrics.count_refused,
        names=("client.connection_limit", "client.connection_rate_limit"),
    )

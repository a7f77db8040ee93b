"""The server: one node with the configured policy, API and endpoints on its ports."""

from __future__ import annotations

from typing import TYPE_CHECKING

import structlog

from flyball.aio.clock import LoopClock
from flyball.core.node import Node, NodeMetrics
from flyball.server import build
from flyball.server.api.service import ApiService
from flyball.server.auth.jwks import JwksClient
from flyball.server.client import ClientPolicy
from flyball.server.components import Component, Components
from flyball.server.config import insecure_switches, unbuilt_options
from flyball.server.metrics import MetricItems
from flyball.server.ports import Ports
from flyball.server.proxies.metrics import ProxyMetrics

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.server.acme.autocert import Autocert
    from flyball.server.config import Config
    from flyball.server.metrics import NodeCollector, ServerMetrics
    from flyball.server.ports import PortListener
    from flyball.transports.common.limits import ConnectionLimits

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server")


class Server:
    """Everything one process serves.

    Args:
        config: a validated configuration.
        demo: serve the demo page.
        clock: where time comes from.
        version: told to clients, and in metrics.
        worker_group: what all workers have in common that share the ports with this process.

    Raises:
        ConfigError: a key, pattern or certificate of the configuration is malformed.
    """

    def __init__(
        self,
        config: Config,
        *,
        demo: bool = False,
        clock: Clock | None = None,
        version: str = build.VERSION,
        worker_group: str = "",
    ) -> None:
        self.config: Config = config
        self._clock = clock = clock or LoopClock()
        options = build.node_options(config, version=version)
        self.node: Node = Node(options, engine=build.node_engine(config), clock=clock)
        self._jwks = JwksClient(clock)
        tokens, sub_tokens = build.token_verifiers(config, clock, self._jwks)
        rules = build.channel_rules(config)
        self.proxy_metrics: ProxyMetrics = ProxyMetrics()
        self._proxies = build.client_proxies(config, self.node, self.proxy_metrics)
        self.policy: ClientPolicy = ClientPolicy(
            self.node,
            rules,
            tokens,
            sub_tokens,
            build.policy_options(config),
            proxies=self._proxies.calls,
        )
        self.api: ApiService = ApiService(self.node, rules)
        self.metrics: ServerMetrics = build.server_metrics(config)
        self.collector: NodeCollector = build.node_collector(
            config, self.node, self.api, self.metrics, self.proxy_metrics
        )
        interval = config.node.info_metrics_aggregate_interval
        items = MetricItems(self.collector, interval, clock)
        self.node.metrics_source = lambda: NodeMetrics(items.interval, items.items)
        self.autocert: Autocert | None = build.autocert(
            config, clock, served=self.metrics.certificates
        )
        self.limits: ConnectionLimits = build.connection_limits(
            config, self.node, clock, self.metrics
        )
        self._ports = Ports(build.ports(config, self._served(demo=demo, group=worker_group)))
        self._components = Components(self._parts(items))

    def _served(self, *, demo: bool, group: str) -> build.Served:
        config = self.config
        rows = (
            *build.client_routes(config, self.node, self.limits),
            *build.api_routes(config, self.api),
            *build.operator_routes(config, self.node, self.collector, group=group),
            *(build.demo_page(config) if demo else ()),
        )
        counts = self.metrics.http_requests
        return build.Served(
            self.node,
            self.limits,
            rows,
            counts,
            self.autocert,
            on_no_files=self.metrics.count_no_files,
            share_ports=bool(group),
        )

    def _parts(self, items: MetricItems) -> list[Component]:
        """In the order of their start. Connections end last: the node tells them why before."""
        node, ports = self.node, self._ports
        certificates, renewal = Component(), Component()
        if self.autocert is not None:
            # Certificates are there before the ports, new ones are got with their help.
            certificates = Component(start=self.autocert.load)
            renewal = Component(start=self.autocert.start, stop=self.autocert.stop)
        return [
            Component(stop=self._jwks.close),
            self._proxies.component,
            Component(stop=ports.close),
            Component(start=node.start, stop=node.shutdown),
            certificates,
            Component(start=ports.open, stop=ports.stop_accepting),
            renewal,
            Component(start=items.start, stop=items.stop),
        ]

    # -- life

    async def start(self) -> None:
        """Connects the engine and opens the ports.

        Raises:
            ConfigError: the store cannot be used, or a port cannot be opened.
        """
        self._tell_of_switches()
        await self._components.start()

    async def stop(self) -> None:
        """Refuses new connections, closes every client with 3001, ends what is under way."""
        await self._components.stop()

    def reload(self, config: Config) -> None:
        """Puts those options of ``config`` in force that are marked so in the schema.

        They are the options of channels, token keys and connect rules; the rest stays as it is.

        Raises:
            ConfigError: a key or pattern is malformed; everything stays as it was.
        """
        tokens, sub_tokens = build.token_verifiers(config, self._clock, self._jwks)
        rules = build.channel_rules(config)
        options = build.policy_options(config)
        self.policy.reload(rules=rules, tokens=tokens, sub_tokens=sub_tokens, options=options)
        self.api.rules = rules
        self.config = config

    @property
    def listeners(self) -> list[PortListener]:
        """All ports; that of client connections is the first."""
        return self._ports.listeners

    @property
    def port(self) -> int:
        """Port of client connections, once started."""
        return self.listeners[0].port

    def _tell_of_switches(self) -> None:
        for key in insecure_switches(self.config):
            logger.warning("INSECURE option is on; for development only", key=key)
        unbuilt = unbuilt_options(self.config)
        if unbuilt:
            logger.warning(
                "options that do nothing in this version; they are kept for later", keys=unbuilt
            )

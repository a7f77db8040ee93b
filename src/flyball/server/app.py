"""The server: one node with the configured policy, API and endpoints on its ports."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING

import structlog

from flyball.aio.clock import LoopClock
from flyball.core.errors import ConfigError
from flyball.core.node import Node, NodeMetrics
from flyball.server import build
from flyball.server.api.service import ApiService
from flyball.server.auth.jwks import JwksClient
from flyball.server.client import ClientPolicy
from flyball.server.common.health import Health
from flyball.server.components import Component, Components
from flyball.server.config import (
    Config,
    Problem,
    insecure_switches,
    problems_in,
    unbuilt_options,
    validate,
)
from flyball.server.consumers import ConsumerMetrics
from flyball.server.metrics import MetricItems
from flyball.server.ports import Ports
from flyball.server.proxies.metrics import ProxyMetrics

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.aio.clock import Clock
    from flyball.server.acme.autocert import Autocert
    from flyball.server.common.worker_place import WorkerPlace
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
        worker: the place of this process among those that share its ports; None: it is alone.
        sources: where the values of options came from, see :class:`LoadedConfig`; for operators.

    Raises:
        ConfigProblems: something of the configuration is malformed; names all of it.
    """

    def __init__(
        self,
        config: Config,
        *,
        demo: bool = False,
        clock: Clock | None = None,
        version: str = build.VERSION,
        worker: WorkerPlace | None = None,
        sources: Mapping[str, str] | None = None,
    ) -> None:
        self.config: Config = config
        self.sources: Mapping[str, str] = sources or {}
        self._clock = clock = clock or LoopClock()
        options = build.node_options(config, version=version)
        # What is refused is told in the end, all of it: until then what nobody configured stands
        # in its place.
        refused = build.Refusals()
        engine = refused.of_config(config, build.node_engine)
        node = self.node = Node(options, engine=engine, clock=clock)
        jwks = self.jwks = JwksClient(clock)
        tokens, sub_tokens = refused.of_config(
            config, lambda config: build.token_verifiers(config, clock, jwks)
        )
        rules = refused.of_config(
            config, lambda config: build.channel_rules(config, node.metrics.payload_faults)
        )
        self.proxy_metrics: ProxyMetrics = ProxyMetrics()
        self._proxies = refused.of_config(
            config, lambda config: build.client_proxies(config, node, self.proxy_metrics)
        )
        connects = build.policy_options(config)
        self.policy: ClientPolicy = ClientPolicy(
            self.node, rules, tokens, sub_tokens, connects, proxies=self._proxies.calls
        )
        explained = build.explained_policy(connects, rules, (tokens, sub_tokens))
        self.api: ApiService = ApiService(self.node, rules, policy=explained)
        self.consumer_metrics: ConsumerMetrics = ConsumerMetrics()
        self._consumers = refused.of_config(
            config, lambda config: build.consumers(config, self.api, self.consumer_metrics)
        )
        self.metrics: ServerMetrics = build.server_metrics(config)
        self.collector: NodeCollector = build.node_collector(
            config,
            self.node,
            self.api,
            self.metrics,
            self.proxy_metrics,
            self.consumer_metrics,
        )
        interval = config.node.info_metrics_aggregate_interval
        items = MetricItems(self.collector, interval, clock)
        self.node.metrics_source = lambda: NodeMetrics(items.interval, items.items)
        self.autocert: Autocert | None = refused.of_config(
            config,
            lambda config: build.autocert(config, clock, served=self.metrics.certificates),
        )
        self.limits: ConnectionLimits = build.connection_limits(
            config, self.node, clock, self.metrics
        )
        self._admin = refused.of(lambda: build.admin_page(self), lambda: None)
        self._ports = refused.of(
            lambda: Ports(build.ports(config, self._served(demo=demo, worker=worker))),
            lambda: Ports(()),
        )
        refused.tell()
        self._components = Components(self._parts(items))

    def _served(self, *, demo: bool, worker: WorkerPlace | None) -> build.Served:
        config, origins = self.config, build.origin_policy(self.config)
        clients = build.client_routes(config, self.node, self.limits, origins, worker)
        rows = (
            *clients.public,
            *build.api_routes(config, self.api),
            *build.swagger_page(config, self.node.options.version),
            *build.operator_routes(config, self.health, self.collector, worker),
            *(self._admin.routes() if self._admin is not None else ()),
            *(build.demo_page(config) if demo else ()),
        )
        counts = self.metrics.http_requests
        return build.Served(
            self.node,
            self.api,
            self.limits,
            origins,
            rows,
            counts,
            self.autocert,
            on_no_files=self.metrics.count_no_files,
            worker=worker,
            for_workers=(
                *clients.relayed,
                *build.sibling_routes(self.health, self.collector, worker),
            ),
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
            Component(stop=self.jwks.close),
            self._proxies.component,
            Component() if self._admin is None else Component(stop=self._admin.close),
            Component(stop=ports.close),
            Component(start=node.start, stop=node.shutdown),
            certificates,
            Component(start=ports.open, stop=ports.stop_accepting),
            renewal,
            Component(start=items.start, stop=items.stop),
            *self._consumers.components,
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

    def reload(self, config: Config, sources: Mapping[str, str] | None = None) -> None:
        """Puts those options of ``config`` in force that are marked so in the schema.

        They are the options of channels, token keys and connect rules; the rest stays as it is.

        Raises:
            ConfigError: a key or pattern is malformed; everything stays as it was.
        """
        tokens, sub_tokens = build.token_verifiers(config, self._clock, self.jwks)
        rules = build.channel_rules(config, self.node.metrics.payload_faults)
        options = build.policy_options(config)
        self.policy.reload(rules=rules, tokens=tokens, sub_tokens=sub_tokens, options=options)
        self.api.reload(rules, build.explained_policy(options, rules, (tokens, sub_tokens)))
        self.config = config
        self.sources = sources or {}

    def health(self) -> Health:
        """What does not work now."""
        return Health(self.node.problems(), self._consumers.problems())

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


def problems_of(config: Config) -> list[Problem]:
    """All that keeps a server with ``config`` from starting, as far as this machine can tell.

    The rules are asked, and then the parts, which are made and thrown away: nothing is opened yet.
    Not for use in an event loop.
    """
    found = validate(config)
    told = [problem.key for problem in found]
    try:
        asyncio.run(_make(config))
    except ConfigError as error:
        # What has no key was said by a part that does not know its options: a rule said it better.
        found += [
            problem
            for problem in problems_in(error)
            if not told or (problem.key and not any(_is_of(problem.key, key) for key in told))
        ]
    except Exception:
        # What the rules refuse may make a part stumble over it. Without that it is a fault of ours.
        if not found:
            raise
    return found


async def _make(config: Config) -> None:
    Server(config)


def _is_of(key: str, told: str) -> bool:
    """Whether both are one option, or one is of the section that the other is."""
    longer, shorter = (key, told) if len(key) > len(told) else (told, key)
    return (
        bool(shorter)
        and longer.startswith(shorter)
        and longer[len(shorter) :][:1] in ("", ".", "[")
    )

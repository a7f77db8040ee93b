"""The server: one node with the configured policy, API and endpoints on its ports."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from flyball.aio.clock import LoopClock
from flyball.core.errors import ConfigError
from flyball.core.node import Node, NodeMetrics
from flyball.http.listener import Listener, ListenerOptions
from flyball.server import build
from flyball.server.api.service import ApiService
from flyball.server.auth.jwks import JwksClient
from flyball.server.client import ClientPolicy
from flyball.server.config import insecure_switches, unbuilt_options
from flyball.server.metrics import (
    MetricItems,
    MetricsOptions,
    NodeCollector,
    ServerMetrics,
)
from flyball.transports.common.limits import ConnectionLimits

if TYPE_CHECKING:
    import ssl

    from flyball.aio.clock import Clock, TimerHandle
    from flyball.http.messages import Route
    from flyball.http.routes import Routes
    from flyball.server.config import Config

logger = structlog.get_logger("flyball.server")

EXTERNAL_KEYS: Final = "http_server.address and http_server.port"
INTERNAL_KEYS: Final = "http_server.internal_address and http_server.internal_port"


class Port(Protocol):
    """A listener of any protocol. The order at the end: stop, shut the node down, close."""

    @property
    def options(self) -> PortOptions:
        """Where it listens."""

    @property
    def port(self) -> int:
        """The port in use, once started."""

    async def start(self) -> None:
        """Opens the port; raises ``OSError`` if that cannot be."""

    def stop_accepting(self) -> None:
        """Takes no more connections."""

    async def close(self) -> None:
        """Ends what is left."""


class PortOptions(Protocol):
    """What start-up tells of a port."""

    @property
    def host(self) -> str:
        """Empty for all interfaces."""

    @property
    def port(self) -> int:
        """0 for any free one."""

    @property
    def ssl_context(self) -> object | None:
        """None: no TLS."""


class Server:
    """Everything one process serves.

    Args:
        config: a validated configuration.
        demo: serve the demo page.
        clock: where time comes from.

    Raises:
        ConfigError: a key, pattern or certificate of the configuration is malformed.
    """

    def __init__(self, config: Config, *, demo: bool = False, clock: Clock | None = None) -> None:
        self.config = config
        self._clock: Clock = clock or LoopClock()
        self.node = Node(build.node_options(config), clock=self._clock)
        self._jwks = JwksClient()
        tokens, sub_tokens = build.token_verifiers(config, self._clock, self._jwks)
        rules = build.channel_rules(config)
        self.policy = ClientPolicy(
            self.node, rules, tokens, sub_tokens, build.policy_options(config)
        )
        self.api = ApiService(self.node, rules)
        self.metrics = ServerMetrics()
        for key in insecure_switches(config):
            self.metrics.insecure_options[key] = 1
        self.collector = NodeCollector(
            self.node.hub,
            self.node.metrics,
            api=self.api.metrics,
            server=self.metrics,
            num_nodes=lambda: self.node.num_nodes,
            options=MetricsOptions(
                version=build.VERSION,
                native_histograms=config.prometheus.native_histograms,
                recovered_publications_histogram=config.prometheus.recovered_publications_histogram,
            ),
        )
        self._items = MetricItems(self.collector, config.node.info_metrics_aggregate_interval)
        self.node.metrics_source = lambda: NodeMetrics(self._items.interval, self._items.items)
        self._items_timer: TimerHandle | None = None
        self.autocert = build.autocert(config, self._clock, served=self.metrics.certificates)
        self.listeners = self._listeners(demo=demo)

    # -- what is where

    def _listeners(self, *, demo: bool) -> list[Port]:
        config = self.config
        server = config.http_server
        external, internal, split = server.external, server.internal, server.is_split
        counts = self.metrics.http_requests if config.prometheus.instrument_http_handlers else None
        outside, inside = build.split_routes(self._routes(demo=demo), split=split, counts=counts)
        tls = build.tls_context(config, self.autocert, internal=False)
        first = self._listener(external, tls, outside, clients=True)
        listeners: list[Port] = [first]
        # What each port is for, and the options that say where it is.
        self._ports: dict[Port, tuple[str, str]] = {
            first: ("external" if split else "external and internal", EXTERNAL_KEYS)
        }
        if split:
            tls = build.tls_context(config, self.autocert, internal=True)
            second = self._listener(internal, tls, inside, clients=False)
            self._ports[second] = ("internal", INTERNAL_KEYS)
            listeners.append(second)
        if server.http3.enabled:
            http3 = build.http3_listener(
                config, self.node, self.limits, outside, lambda: first.port
            )
            self._ports[http3] = ("external over HTTP/3", f"{EXTERNAL_KEYS}, over UDP")
            listeners.append(http3)
        if self.autocert is not None and server.tls_autocert.http:
            challenges = build.challenge_listener(config, self.autocert)
            self._ports[challenges] = ("ACME challenges", "http_server.tls_autocert.http_addr")
            listeners.append(challenges)
        if config.uni_grpc.enabled:
            grpc = build.uni_grpc_listener(config, self.node, self.limits)
            self._ports[grpc] = ("uni_grpc", "uni_grpc.address and uni_grpc.port")
            listeners.append(grpc)
        return listeners

    def _listener(
        self, address: tuple[str, str], tls: ssl.SSLContext | None, routes: Routes, *, clients: bool
    ) -> Listener:
        config = self.config
        options = ListenerOptions(
            host=address[0],
            port=int(address[1]),
            ssl_context=tls,
            h2c=clients and config.http_server.h2c_external,
            # As the original: not while HTTP/3 is there for WebTransport, whose clients know.
            announce_http3=clients
            and config.http_server.http3.enabled
            and not config.webtransport.enabled,
            websocket_streams=clients and build.websocket_streams(os.environ),
        )
        return Listener(options, routes)

    def _routes(self, *, demo: bool) -> list[Route]:
        config = self.config
        client = config.client
        self.limits = ConnectionLimits(
            lambda: self.node.hub.num_clients,
            limit=client.connection_limit,
            rate_limit=client.connection_rate_limit,
            monotonic=self._clock.monotonic,
            on_refused=self.metrics.count_refused,
        )
        return [
            *build.client_routes(config, self.node, self.limits),
            *build.init_routes(config, self.limits),
            *build.api_routes(config, self.api),
            *build.operator_routes(config, self.collector),
            *(build.demo_page(config) if demo else []),
        ]

    # -- life

    async def start(self) -> None:
        """Connects the engine and opens the ports.

        Raises:
            ConfigError: the store cannot be used, or a port cannot be opened.
        """
        self._tell_of_switches()
        await self.node.start()
        if self.autocert is not None:
            await self.autocert.load()
        for listener in self.listeners:
            options = listener.options
            purpose, keys = self._ports[listener]
            try:
                await listener.start()
            except OSError as error:
                where = f"{options.host or '*'}:{options.port}"
                raise ConfigError(f"cannot listen on {where} ({keys}): {_reason(error)}") from error
            logger.info(
                "serving",
                endpoints=purpose,
                address=options.host or "*",
                port=listener.port,
                tls=options.ssl_context is not None,
            )
        if self.autocert is not None:
            self.autocert.start()
        self._end_interval()

    async def stop(self) -> None:
        """Refuses new connections, closes every client with 3001, ends what is under way."""
        for listener in self.listeners:
            listener.stop_accepting()
        if self._items_timer is not None:
            self._items_timer.cancel()
        if self.autocert is not None:
            await self.autocert.stop()
        await self.node.shutdown()
        await asyncio.gather(*(listener.close() for listener in self.listeners))
        await self._jwks.close()

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
    def port(self) -> int:
        """Port of client connections, once started."""
        return self.listeners[0].port

    def _end_interval(self) -> None:
        self._items.tick()
        self._items_timer = self._clock.call_later(self._items.interval, self._end_interval)

    def _tell_of_switches(self) -> None:
        for key in insecure_switches(self.config):
            logger.warning("INSECURE option is on; for development only", key=key)
        unbuilt = unbuilt_options(self.config)
        if unbuilt:
            logger.warning(
                "options that do nothing in this version; they are kept for later", keys=unbuilt
            )


def _reason(error: OSError) -> str:
    """Why a port cannot be opened, without asyncio's words around it."""
    text = error.strerror or str(error)
    if error.errno is not None and text.startswith("error while attempting"):
        return os.strerror(error.errno)
    return text

"""The NATS engine as a program asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.engine import Engine
from flyball.engines.nats.broker import NatsBroker
from flyball.engines.nats.controller import NatsController
from flyball.engines.nats.jetstream import JetStreamBroker, JetStreamPresenceManager
from flyball.engines.nats.link import NatsLink
from flyball.engines.nats.options import NatsOptions, ServerOptions, parse_servers
from flyball.engines.nats.subjects import Subjects

if TYPE_CHECKING:
    from flyball.core.broker import Broker, PresenceManager


class NatsEngine(Engine):
    """Publications and control messages by NATS: at most once, or with history by JetStream.

    ``NatsEngine("nats://localhost:4222")``; addresses are those of
    :func:`~flyball.engines.nats.options.parse_servers`, or ready
    :class:`~flyball.engines.nats.options.ServerOptions`. Without JetStream presence is another
    engine's, the memory engine's if none is given.

    Raises:
        ConfigError: an address or an option is wrong.
    """

    __slots__ = ("link",)

    def __init__(
        self,
        servers: str | ServerOptions = "nats://localhost:4222",
        *,
        options: NatsOptions | None = None,
        presence_manager: PresenceManager | None = None,
    ) -> None:
        options = options or NatsOptions()
        if isinstance(servers, str):
            servers = ServerOptions(servers=parse_servers(servers))
        link = NatsLink(servers)
        self.link: NatsLink = link
        broker: Broker = NatsBroker(link, options)
        if options.jetstream is not None:
            broker = JetStreamBroker(link, options, options.jetstream)
            if presence_manager is None:
                presence_manager = JetStreamPresenceManager(link, options, options.jetstream)
        controller = NatsController(link, Subjects(options))
        super().__init__(broker, presence_manager, controller)

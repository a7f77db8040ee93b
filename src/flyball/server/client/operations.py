"""What clients may do in channels: publish, presence, history; and RPC."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any, Final

from flyball.aio.eager import eager
from flyball.core.errors import Error
from flyball.protocol import codes
from flyball.server.channels import (
    HISTORY,
    MAP_PUBLISH,
    MAP_REMOVE,
    PRESENCE,
    PUBLISH,
    Verdict,
    decide,
    decide_rpc,
)
from flyball.server.client.refusals import (
    debugging,
    log_decision,
    log_refusal,
    no_proxy,
    proxy_call,
    refusal,
)

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from flyball.core.connection import Connection
    from flyball.core.events import HistoryQuery, PresenceQuery, Publishing, Rpc
    from flyball.core.types import HistoryFilter, PublishOptions
    from flyball.server.channels import Decision, Namespace
    from flyball.server.client.proxies import PublishAnswer
    from flyball.server.client.state import PolicyState

__all__ = ["OperationHandlers"]

MAP_TYPE: Final = 1
"""``type`` of a publish that writes a key of a map."""


class OperationHandlers:
    """The handlers of publish, presence, history and RPC."""

    def __init__(self, state: PolicyState) -> None:
        self._state = state

    @eager
    def on_publish(self, event: Publishing) -> PublishOptions | Awaitable[PublishAnswer]:
        """How the publication is kept. Hot: nothing is built where nothing is refused.

        Raises:
            Error: 102, 103, 107, 108 (see ``PUBLISH`` of the channels).
        """
        state, connection, name = self._state, event.connection, event.channel
        channel = state.rules.resolve(name)
        if event.type == MAP_TYPE:  # all others are streams, also those that nobody knows
            raise self._map_write(event)
        decision = decide(
            PUBLISH,
            channel,
            user=connection.user,
            subscribed=connection.is_subscribed(name),
            insecure=state.options.insecure,
            data=event.raw,
        )
        namespace = channel.namespace
        if decision.verdict is Verdict.ALLOW and namespace is not None:
            if debugging():
                log_decision(connection, decision, f"publish to {name!r}")
            return namespace.publish_options
        if decision.proxy is not None and namespace is not None:
            return self._publish_by_proxy(event, namespace, decision)
        raise refusal(connection, decision, f"publish to {name!r}")

    def _map_write(self, event: Publishing) -> Exception:
        state, connection = self._state, event.connection
        action = f"{'remove' if event.removed else 'publish'} {event.key!r} in {event.channel!r}"
        decision = decide(
            MAP_REMOVE if event.removed else MAP_PUBLISH,
            state.rules.resolve(event.channel),
            user=connection.user,
            subscribed=connection.is_subscribed(event.channel),
            insecure=state.options.insecure,
        )
        if decision.verdict is Verdict.REFUSE:
            return refusal(connection, decision, action)
        detail = f"{action} is refused: writing to map channels comes later"
        return log_refusal(connection, Error(codes.NOT_AVAILABLE, detail=detail))

    def _publish_by_proxy(
        self, event: Publishing, namespace: Namespace, decision: Decision
    ) -> Awaitable[PublishAnswer]:
        calls, action = self._state.proxies.publish, f"publish to {event.channel!r}"
        return proxy_call(calls, event.connection, decision, action)(event, namespace)

    def on_presence(self, event: PresenceQuery) -> bool:
        """Lets the client know who is there.

        Raises:
            Error: 102, 103, 107, 108 (see ``PRESENCE``).
        """
        state, connection, name = self._state, event.connection, event.channel
        decision = decide(
            PRESENCE,
            state.rules.resolve(name),
            user=connection.user,
            subscribed=connection.is_subscribed(name),
            insecure=state.options.insecure,
        )
        _settle(connection, decision, "presence of", name)
        return True

    def on_history(self, event: HistoryQuery) -> HistoryFilter:
        """Lets the client read history; the position lives as long as the namespace says.

        Raises:
            Error: 102, 103, 107, 108 (see ``HISTORY``).
        """
        state, connection, name = self._state, event.connection, event.channel
        channel = state.rules.resolve(name)
        decision = decide(
            HISTORY,
            channel,
            user=connection.user,
            subscribed=connection.is_subscribed(name),
            insecure=state.options.insecure,
        )
        _settle(connection, decision, "history of", name)
        assert channel.namespace is not None
        return replace(event.query, meta_ttl=channel.namespace.meta_ttl)

    @eager
    def on_rpc(self, event: Rpc) -> Awaitable[Any] | None:
        """Answers the built-in ping, or asks the proxy of the method's namespace.

        Raises:
            Error: 104 unknown method or namespace, 108 nobody answers.
        """
        state, connection = self._state, event.connection
        decision = decide_rpc(state.rpc, event.method)
        if decision.verdict is Verdict.ALLOW:
            return None
        if decision.verdict is Verdict.REFUSE:
            raise refusal(connection, decision, f"RPC {event.method!r}")
        namespace, ask = state.rpc.namespace_options(event.method), state.proxies.rpc
        if ask is None or namespace is None:
            raise no_proxy(connection, decision, f"RPC {event.method!r}")
        return ask(event, namespace)


def _settle(connection: Connection, decision: Decision, what: str, channel: str) -> None:
    if not decision.allowed:
        raise refusal(connection, decision, f"{what} {channel!r}")
    if debugging():
        log_decision(connection, decision, f"{what} {channel!r}")

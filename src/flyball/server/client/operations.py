"""What clients may do in channels: publish, presence, history; and RPC."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

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

    from flyball.core.events import HistoryQuery, PresenceQuery, Publishing, Rpc
    from flyball.core.session import Session
    from flyball.core.types import HistoryFilter, PublishOptions
    from flyball.server.channels import Decision, Namespace
    from flyball.server.client.proxies import PublishAnswer
    from flyball.server.client.state import PolicyState

__all__ = ["OperationHandlers"]


def _is_subscriber(session: Session, channel: str) -> bool:
    sub = session.subscriptions.get(channel)
    return sub is not None and sub.live


class OperationHandlers:
    """The handlers of publish, presence, history and RPC."""

    def __init__(self, state: PolicyState) -> None:
        self._state = state

    def on_publish(self, event: Publishing) -> PublishOptions | Awaitable[PublishAnswer]:
        """How the publication is kept. Hot: nothing is built where nothing is refused.

        Raises:
            Error: 102, 103, 107, 108 (see ``PUBLISH`` of the channels).
        """
        state, session, name = self._state, event.session, event.channel
        channel = state.rules.resolve(name)
        if event.type:
            raise self._map_write(event)
        sub = session.subscriptions.get(name)
        decision = decide(
            PUBLISH,
            channel,
            user=session.user,
            subscribed=sub is not None and sub.live,
            insecure=state.options.insecure,
            data=event.data,
        )
        namespace = channel.namespace
        if decision.verdict is Verdict.ALLOW and namespace is not None:
            if debugging():
                log_decision(session, decision, f"publish to {name!r}")
            return namespace.publish_options
        if decision.proxy is not None and namespace is not None:
            return self._publish_by_proxy(event, namespace, decision)
        raise refusal(session, decision, f"publish to {name!r}")

    def _map_write(self, event: Publishing) -> Exception:
        state, session = self._state, event.session
        action = f"{'remove' if event.removed else 'publish'} {event.key!r} in {event.channel!r}"
        decision = decide(
            MAP_REMOVE if event.removed else MAP_PUBLISH,
            state.rules.resolve(event.channel),
            user=session.user,
            subscribed=_is_subscriber(session, event.channel),
            insecure=state.options.insecure,
        )
        if decision.verdict is Verdict.REFUSE:
            return refusal(session, decision, action)
        detail = f"{action} is refused: writing to map channels comes later"
        return log_refusal(session, Error(codes.NOT_AVAILABLE, detail=detail))

    def _publish_by_proxy(
        self, event: Publishing, namespace: Namespace, decision: Decision
    ) -> Awaitable[PublishAnswer]:
        calls, action = self._state.proxies.publish, f"publish to {event.channel!r}"
        return proxy_call(calls, event.session, decision, action)(event, namespace)

    def on_presence(self, event: PresenceQuery) -> None:
        """Lets the client know who is there.

        Raises:
            Error: 102, 103, 107, 108 (see ``PRESENCE``).
        """
        state, session, name = self._state, event.session, event.channel
        decision = decide(
            PRESENCE,
            state.rules.resolve(name),
            user=session.user,
            subscribed=_is_subscriber(session, name),
            insecure=state.options.insecure,
        )
        _settle(session, decision, "presence of", name)

    def on_history(self, event: HistoryQuery) -> HistoryFilter:
        """Lets the client read history; the position lives as long as the namespace says.

        Raises:
            Error: 102, 103, 107, 108 (see ``HISTORY``).
        """
        state, session, name = self._state, event.session, event.channel
        channel = state.rules.resolve(name)
        decision = decide(
            HISTORY,
            channel,
            user=session.user,
            subscribed=_is_subscriber(session, name),
            insecure=state.options.insecure,
        )
        _settle(session, decision, "history of", name)
        assert channel.namespace is not None
        return replace(event.query, meta_ttl=channel.namespace.meta_ttl)

    def on_rpc(self, event: Rpc) -> Awaitable[Any] | None:
        """Answers the built-in ping, or asks the proxy of the method's namespace.

        Raises:
            Error: 104 unknown method or namespace, 108 nobody answers.
        """
        state, session = self._state, event.session
        decision = decide_rpc(state.rpc, event.method)
        if decision.verdict is Verdict.ALLOW:
            return None
        if decision.verdict is Verdict.REFUSE:
            raise refusal(session, decision, f"RPC {event.method!r}")
        namespace, ask = state.rpc.namespace_options(event.method), state.proxies.rpc
        if ask is None or namespace is None:
            raise no_proxy(session, decision, f"RPC {event.method!r}")
        return ask(event, namespace)


def _settle(session: Session, decision: Decision, what: str, channel: str) -> None:
    if not decision.allowed:
        raise refusal(session, decision, f"{what} {channel!r}")
    if debugging():
        log_decision(session, decision, f"{what} {channel!r}")

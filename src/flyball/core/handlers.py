"""The program's handlers: registered by decorators, found by channel pattern or method."""

from __future__ import annotations

import logging
import re
from fnmatch import translate
from typing import TYPE_CHECKING, Any, TypeVar, overload

from flyball.aio.eager import call_handler
from flyball.core.errors import ConfigError, Disconnect, Error
from flyball.core.types import Credentials, SubscribeOptions
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.events import (
        ChannelOccupied,
        ChannelVacated,
        Connected,
        Connecting,
        Disconnected,
        HistoryQuery,
        Message,
        PresenceQuery,
        Publishing,
        Refreshing,
        RefreshResult,
        Rpc,
        SubRefreshing,
        Subscribed,
        Subscribing,
        Unsubscribed,
    )
    from flyball.core.types import HistoryFilter, PublishOptions, PublishResult

F = TypeVar("F", bound="Callable[..., Any]")
logger = logging.getLogger("flyball.core")

KINDS = (
    "connecting",
    "connected",
    "refresh",
    "subscribe",
    "subscribed",
    "sub_refresh",
    "unsubscribed",
    "publish",
    "presence",
    "history",
    "rpc",
    "message",
    "disconnected",
    "channel_occupied",
    "channel_vacated",
)
"""Every step of a life that a handler may be registered for."""


class HandlerSet:
    """Handlers of one kind: at most one for everything, and some for patterns."""

    __slots__ = ("kind", "patterns", "plain")

    def __init__(self, kind: str) -> None:
        self.kind = kind
        self.plain: Callable[..., Any] | None = None
        self.patterns: list[tuple[str, re.Pattern[str], Callable[..., Any]]] = []

    def add(self, pattern: str | None, handler: Callable[..., Any]) -> None:
        """Registers ``handler`` for names that match ``pattern`` (``*`` and ``?``), or for all.

        Raises:
            ConfigError: there is one for this pattern already.
        """
        if pattern is None:
            if self.plain is not None:
                message = f"on_{self.kind} has a handler already; give this one a pattern"
                raise ConfigError(message)
            self.plain = handler
            return
        if any(known == pattern for known, _, _ in self.patterns):
            message = f"on_{self.kind}({pattern!r}) has a handler already"
            raise ConfigError(message)
        self.patterns.append((pattern, re.compile(translate(pattern)), handler))

    def find(self, name: str) -> Callable[..., Any] | None:
        """The handler for ``name``: the first pattern that matches, else the plain one."""
        for _, expression, handler in self.patterns:
            if expression.match(name):
                return handler
        return self.plain


class PatternDecorator:
    """Serves ``@node.on_x``, ``@node.on_x("pattern")`` and ``node.on_x(function)``.

    Raises:
        ConfigError: there is a handler for this pattern (or for everything) already.
    """

    __slots__ = ("_handlers",)

    def __init__(self, handlers: HandlerSet) -> None:
        self._handlers = handlers

    @overload
    def __call__(self, target: F) -> F: ...

    @overload
    def __call__(self, target: str | None = None) -> Callable[[F], F]: ...

    def __call__(self, target: Any = None) -> Any:
        """Registers the function given, or the one that follows."""
        if callable(target):
            self._handlers.add(None, target)
            return target

        def decorate(handler: F) -> F:
            self._handlers.add(target, handler)
            return handler

        return decorate


class Handlers:
    """All handlers of a node, and what happens where there is none."""

    __slots__ = tuple(f"_{kind}" for kind in KINDS)

    def __init__(self) -> None:
        for kind in KINDS:
            setattr(self, f"_{kind}", HandlerSet(kind))

    def decorator(self, kind: str) -> PatternDecorator:
        """What registers handlers of ``kind``."""
        handlers: HandlerSet = getattr(self, f"_{kind}")
        return PatternDecorator(handlers)

    def has(self, kind: str) -> bool:
        """Whether anything is registered for ``kind``."""
        handlers: HandlerSet = getattr(self, f"_{kind}")
        return handlers.plain is not None or bool(handlers.patterns)

    async def connecting(self, event: Connecting) -> Credentials:
        """Who it is. Without a handler nobody may connect."""
        handler: Callable[..., Any] | None = self._connecting.plain  # type: ignore[attr-defined]
        if handler is None:
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="no on_connecting handler")
        result = await call_handler(handler, event)
        if not isinstance(result, Credentials):
            message = f"the on_connecting handler must return Credentials, not {result!r}"
            raise TypeError(message)
        return result

    async def refresh(self, event: Refreshing) -> RefreshResult:
        """Whether the connection lives on."""
        handler: Callable[..., Any] | None = self._refresh.plain  # type: ignore[attr-defined]
        if handler is None:
            raise Disconnect(codes.DISCONNECT_NOT_AVAILABLE, detail="no on_refresh handler")
        result: RefreshResult = await call_handler(handler, event)
        return result

    async def subscribe(self, event: Subscribing) -> SubscribeOptions:
        """How to subscribe. A handler that returns None takes plain options."""
        result: SubscribeOptions | None = await self._ask("subscribe", event.channel, event)
        return result if result is not None else SubscribeOptions()

    async def sub_refresh(self, event: SubRefreshing) -> RefreshResult:
        """Whether the subscription lives on."""
        result: RefreshResult = await self._ask("sub_refresh", event.channel, event)
        return result

    async def publish(self, event: Publishing) -> PublishOptions | PublishResult | None:
        """How to publish, or where it was published."""
        handler = self._publish.find(event.channel)  # type: ignore[attr-defined]
        if handler is None:
            raise Error(codes.NOT_AVAILABLE, detail="no on_publish handler")
        result: PublishOptions | PublishResult | None = await call_handler(handler, event)
        return result

    async def presence(self, event: PresenceQuery) -> None:
        """Raises if the client may not know."""
        await self._ask("presence", event.channel, event)

    async def history(self, event: HistoryQuery) -> HistoryFilter | None:
        """Raises if the client may not read; may narrow the query."""
        result: HistoryFilter | None = await self._ask("history", event.channel, event)
        return result

    async def rpc(self, event: Rpc) -> Any:
        """The answer's data."""
        return await self._ask("rpc", event.method, event)

    async def message(self, event: Message) -> None:
        """Takes a message; a client that sends one to a deaf program is closed with 3508."""
        handler: Callable[..., Any] | None = self._message.plain  # type: ignore[attr-defined]
        if handler is None:
            raise Disconnect(codes.DISCONNECT_NOT_AVAILABLE, detail="no on_message handler")
        await call_handler(handler, event)

    async def _ask(self, kind: str, name: str, event: Any) -> Any:
        handlers: HandlerSet = getattr(self, f"_{kind}")
        handler = handlers.find(name)
        if handler is None:
            raise Error(codes.NOT_AVAILABLE, detail=f"no on_{kind} handler for {name!r}")
        return await call_handler(handler, event)

    # -- notifications: nothing depends on their outcome

    async def connected(self, event: Connected) -> None:
        """The connect reply was sent."""
        await self._tell("connected", "", event)

    async def subscribed(self, event: Subscribed) -> None:
        """The subscribe reply was sent."""
        await self._tell("subscribed", event.channel, event)

    async def unsubscribed(self, event: Unsubscribed) -> None:
        """A subscription ended."""
        await self._tell("unsubscribed", event.channel, event)

    async def disconnected(self, event: Disconnected) -> None:
        """A connection ended."""
        await self._tell("disconnected", "", event)

    async def channel_occupied(self, event: ChannelOccupied) -> None:
        """A channel got its first subscriber on this node."""
        await self._tell("channel_occupied", event.channel, event)

    async def channel_vacated(self, event: ChannelVacated) -> None:
        """A channel lost its last subscriber on this node."""
        await self._tell("channel_vacated", event.channel, event)

    async def _tell(self, kind: str, name: str, event: Any) -> None:
        handlers: HandlerSet = getattr(self, f"_{kind}")
        handler = handlers.find(name)
        if handler is None:
            return
        try:
            await call_handler(handler, event)
        except (Error, Disconnect):
            raise
        except Exception:
            logger.exception("the on_%s handler failed", kind)


class HandlerDecorators:
    """The ``on_…`` decorators of a node, and the handlers that they register.

    ``@node.on_x`` registers for everything; those that say so take a pattern as well, as in
    ``@node.on_subscribe("chat:*")``.
    """

    def __init__(self) -> None:
        self.handlers = Handlers()
        on = self.handlers.decorator
        self.on_connecting = on("connecting")
        """Registers a handler of ``Connecting``, which returns ``Credentials``."""
        self.on_connected = on("connected")
        """Registers a handler of ``Connected``."""
        self.on_refresh = on("refresh")
        """Registers a handler of ``Refreshing``, which returns a ``RefreshResult``."""
        self.on_subscribe = on("subscribe")
        """Registers a handler of ``Subscribing``, which returns ``SubscribeOptions`` (pattern: channel)."""
        self.on_subscribed = on("subscribed")
        """Registers a handler of ``Subscribed`` (pattern: channel)."""
        self.on_sub_refresh = on("sub_refresh")
        """Registers a handler of ``SubRefreshing``, which returns a ``RefreshResult`` (pattern: channel)."""
        self.on_unsubscribed = on("unsubscribed")
        """Registers a handler of ``Unsubscribed`` (pattern: channel)."""
        self.on_publish = on("publish")
        """Registers a handler of ``Publishing``, which returns ``PublishOptions`` (pattern: channel)."""
        self.on_presence = on("presence")
        """Registers a handler of ``PresenceQuery``, which raises to refuse (pattern: channel)."""
        self.on_history = on("history")
        """Registers a handler of ``HistoryQuery``, which raises to refuse (pattern: channel)."""
        self.on_rpc = on("rpc")
        """Registers a handler of ``Rpc``, which returns the answer (pattern: method)."""
        self.on_message = on("message")
        """Registers a handler of ``Message``."""
        self.on_disconnected = on("disconnected")
        """Registers a handler of ``Disconnected``."""
        self.on_channel_occupied = on("channel_occupied")
        """Registers a handler of ``ChannelOccupied`` (pattern: channel)."""
        self.on_channel_vacated = on("channel_vacated")
        """Registers a handler of ``ChannelVacated`` (pattern: channel)."""

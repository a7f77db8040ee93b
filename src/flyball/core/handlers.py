"""The program's handlers, found by channel pattern or method; see :mod:`flyball.core.decorators`."""

from __future__ import annotations

import logging
import re
from collections import defaultdict
from fnmatch import translate
from typing import TYPE_CHECKING, Any, Final, TypeAlias

from flyball.aio.eager import call_handler
from flyball.core.errors import ConfigError, Disconnect, Error, PermissionDenied
from flyball.core.events import RefreshResult
from flyball.core.schemas import Faults, PayloadSchema, SchemaSource
from flyball.core.types import (
    Credentials,
    HistoryFilter,
    PublishOptions,
    PublishResult,
    SubscribeOptions,
)
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.aio.lines import RepeatedLines
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
        Rpc,
        SubRefreshing,
        Subscribed,
        Subscribing,
        Unsubscribed,
    )

Handler: TypeAlias = "Callable[..., Any]"
logger: Final = logging.getLogger("flyball.core")


class HandlerSlot:
    """The place of the one handler of its kind: ``@node.on_x`` or ``node.on_x(function)``."""

    __slots__ = ("kind", "plain")

    def __init__(self, kind: str) -> None:
        self.kind: str = kind
        """As in ``on_kind``."""
        self.plain: Handler | None = None
        """The handler of everything that no pattern takes."""

    @property
    def registered(self) -> bool:
        """Whether there is any handler."""
        return self.plain is not None

    def find(self, _name: str = "") -> Handler | None:
        """The handler, if there is one."""
        return self.plain

    def __call__(self, target: Any = None) -> Any:
        """Registers the function given, or the one that follows.

        Raises:
            ConfigError: there is a handler already, or ``target`` is no function.
        """
        if target is None:
            return self._register
        if not callable(target):
            message = f"on_{self.kind} takes a function, not {target!r}"
            raise ConfigError(message)
        return self._register(target)

    def _register(self, handler: Handler) -> Handler:
        if self.plain is not None:
            message = f"on_{self.kind} has a handler already{self._advice}"
            raise ConfigError(message)
        self.plain = handler
        return handler

    @property
    def _advice(self) -> str:
        return ""


class PatternHandlers(HandlerSlot):
    """Handlers of one kind, for names that match a pattern (``*`` and ``?``) or for all.

    Serves ``@node.on_x``, ``@node.on_x("pattern")`` and ``node.on_x(function)``.
    """

    __slots__ = ("_faults", "patterns", "schemas")

    def __init__(self, kind: str, faults: Faults | None = None) -> None:
        super().__init__(kind)
        self._faults: Faults = defaultdict(int) if faults is None else faults
        self.schemas: dict[str, SchemaSource] = {}
        """Pattern (``*`` for all) to what payloads must be, where that is told."""
        self.patterns: list[tuple[str, re.Pattern[str], Handler]] = []
        """Pattern, its compiled form, and its handler, in the order of registration."""

    @property
    def registered(self) -> bool:
        """Whether there is any handler."""
        return self.plain is not None or bool(self.patterns)

    def find(self, name: str = "") -> Handler | None:
        """The handler for ``name``: the first pattern that matches, else the plain one."""
        for _, expression, handler in self.patterns:
            if expression.match(name):
                return handler
        return self.plain

    def names(self) -> list[str]:
        """Patterns that have a handler, in the order in which they are asked; ``*`` for all."""
        return [pattern for pattern, _, _ in self.patterns] + (["*"] if self.plain else [])

    def __call__(self, target: Any = None, schema: SchemaSource = None) -> Any:
        """Registers the function given, or the one that follows, for a pattern or for all.

        Args:
            target: the function, or the pattern.
            schema: what payloads must be; others are refused before the handler is asked.

        Raises:
            ConfigError: there is a handler for this pattern (or for everything) already, or
                ``schema`` is none.
        """
        if schema is not None:
            return self._checked(target, schema)
        if not isinstance(target, str):
            return super().__call__(target)
        pattern = target

        def decorate(handler: Handler) -> Handler:
            if any(known == pattern for known, _, _ in self.patterns):
                message = f"on_{self.kind}({pattern!r}) has a handler already"
                raise ConfigError(message)
            self.patterns.append((pattern, re.compile(translate(pattern)), handler))
            return handler

        return decorate

    def _checked(self, target: Any, kind: SchemaSource) -> Any:
        pattern = target if isinstance(target, str) else None
        schema = PayloadSchema(kind, pattern or "*", self._faults)

        def decorate(handler: Handler) -> Handler:
            around = schema.around(handler)
            if pattern is None:
                self._register(around)
            else:
                self(pattern)(around)
            self.schemas[schema.where] = kind
            return handler

        return decorate(target) if callable(target) else decorate

    @property
    def _advice(self) -> str:
        return "; give this one a pattern"


class Handlers:
    """All handlers of a node, and what happens where there is none."""

    __slots__ = (
        "failures",
        "on_channel_occupied",
        "on_channel_vacated",
        "on_connected",
        "on_connecting",
        "on_disconnected",
        "on_history",
        "on_message",
        "on_presence",
        "on_publish",
        "on_refresh",
        "on_rpc",
        "on_sub_refresh",
        "on_subscribe",
        "on_subscribed",
        "on_unsubscribed",
        "payload_faults",
    )

    failures: RepeatedLines
    """Told of handlers that fail; that of the run."""

    def __init__(self) -> None:
        self.payload_faults: Faults = defaultdict(int)
        """Payloads that did not fit a handler's schema."""
        self.on_connecting: HandlerSlot = HandlerSlot("connecting")
        self.on_connected: HandlerSlot = HandlerSlot("connected")
        self.on_refresh: HandlerSlot = HandlerSlot("refresh")
        self.on_subscribe: PatternHandlers = PatternHandlers("subscribe")
        self.on_subscribed: PatternHandlers = PatternHandlers("subscribed")
        self.on_sub_refresh: PatternHandlers = PatternHandlers("sub_refresh")
        self.on_unsubscribed: PatternHandlers = PatternHandlers("unsubscribed")
        self.on_publish: PatternHandlers = PatternHandlers("publish", self.payload_faults)
        self.on_presence: PatternHandlers = PatternHandlers("presence")
        self.on_history: PatternHandlers = PatternHandlers("history")
        self.on_rpc: PatternHandlers = PatternHandlers("rpc", self.payload_faults)
        self.on_message: HandlerSlot = HandlerSlot("message")
        self.on_disconnected: HandlerSlot = HandlerSlot("disconnected")
        self.on_channel_occupied: PatternHandlers = PatternHandlers("channel_occupied")
        self.on_channel_vacated: PatternHandlers = PatternHandlers("channel_vacated")

    # -- questions: their outcome decides, and nothing is granted by silence

    async def connecting(self, event: Connecting) -> Credentials:
        """Who it is. Without a handler nobody may connect."""
        handler = self.on_connecting.plain
        if handler is None:
            raise Disconnect(codes.DISCONNECT_BAD_REQUEST, detail="no on_connecting handler")
        result = await call_handler(handler, event)
        if not isinstance(result, Credentials):
            raise _wrong("connecting", handler, result, "Credentials")
        return result

    async def refresh(self, event: Refreshing) -> RefreshResult:
        """Whether the connection lives on."""
        handler = self.on_refresh.plain
        if handler is None:
            raise Disconnect(codes.DISCONNECT_NOT_AVAILABLE, detail="no on_refresh handler")
        result = await call_handler(handler, event)
        if not isinstance(result, RefreshResult):
            raise _wrong("refresh", handler, result, "a RefreshResult")
        return result

    async def subscribe(self, event: Subscribing) -> SubscribeOptions:
        """How to subscribe."""
        handler = _find(self.on_subscribe, event.channel)
        result = await call_handler(handler, event)
        if not isinstance(result, SubscribeOptions):
            raise _wrong("subscribe", handler, result, "SubscribeOptions")
        return result

    async def sub_refresh(self, event: SubRefreshing) -> RefreshResult:
        """Whether the subscription lives on."""
        handler = _find(self.on_sub_refresh, event.channel)
        result = await call_handler(handler, event)
        if not isinstance(result, RefreshResult):
            raise _wrong("sub_refresh", handler, result, "a RefreshResult")
        return result

    async def publish(self, event: Publishing) -> PublishOptions | PublishResult:
        """How to publish, or where it was published."""
        handler = self.on_publish.find(event.channel)
        if handler is None:
            raise Error(codes.NOT_AVAILABLE, detail="no on_publish handler")
        result: PublishOptions | PublishResult = await call_handler(handler, event)
        if not isinstance(result, (PublishOptions, PublishResult)):
            raise _wrong("publish", handler, result, "PublishOptions or a PublishResult")
        return result

    async def presence(self, event: PresenceQuery) -> None:
        """Raises if the client may not know."""
        handler = _find(self.on_presence, event.channel)
        result = await call_handler(handler, event)
        if result is not True:
            raise _refused("presence", handler, result, "True or False")

    async def history(self, event: HistoryQuery) -> HistoryFilter:
        """Raises if the client may not read; may narrow the query."""
        handler = _find(self.on_history, event.channel)
        result = await call_handler(handler, event)
        if result is True:
            return event.query
        if not isinstance(result, HistoryFilter):
            raise _refused("history", handler, result, "True, False or a HistoryFilter")
        return result

    async def rpc(self, event: Rpc) -> Any:
        """The answer's data."""
        return await call_handler(_find(self.on_rpc, event.method), event)

    async def message(self, event: Message) -> None:
        """Takes a message; a client that sends one to a deaf program is closed with 3508."""
        handler = self.on_message.plain
        if handler is None:
            raise Disconnect(codes.DISCONNECT_NOT_AVAILABLE, detail="no on_message handler")
        await call_handler(handler, event)

    # -- notifications: nothing depends on their outcome, whatever they raise

    async def connected(self, event: Connected) -> None:
        """The connect reply was sent."""
        await self._tell(self.on_connected, "", event)

    async def subscribed(self, event: Subscribed) -> None:
        """The subscribe reply was sent."""
        await self._tell(self.on_subscribed, event.channel, event)

    async def unsubscribed(self, event: Unsubscribed) -> None:
        """A subscription ended."""
        await self._tell(self.on_unsubscribed, event.channel, event)

    async def disconnected(self, event: Disconnected) -> None:
        """A connection ended."""
        await self._tell(self.on_disconnected, "", event)

    async def channel_occupied(self, event: ChannelOccupied) -> None:
        """A channel got its first subscriber on this node."""
        await self._tell(self.on_channel_occupied, event.channel, event)

    async def channel_vacated(self, event: ChannelVacated) -> None:
        """A channel lost its last subscriber on this node."""
        await self._tell(self.on_channel_vacated, event.channel, event)

    async def _tell(self, slot: HandlerSlot, name: str, event: Any) -> None:
        handler = slot.find(name)
        if handler is None:
            return
        try:
            await call_handler(handler, event)
        except (Error, Disconnect) as error:
            message = (
                "the on_%s handler raised %s: it is told of what happened, and cannot refuse it"
            )
            kind = f"the on_{slot.kind} handler raised {type(error).__name__}"
            self.failures.log(logger, logging.WARNING, kind, message, slot.kind, error)
        except Exception as error:  # noqa: BLE001 - the root of a handler's work: logged
            what = f"the on_{slot.kind} handler {name_of(handler)}"
            self.failures.log_failure(logger, what, error, "the on_%s handler failed", slot.kind)


def _find(handlers: HandlerSlot, name: str) -> Handler:
    handler = handlers.find(name)
    if handler is None:
        raise Error(codes.NOT_AVAILABLE, detail=f"no on_{handlers.kind} handler for {name!r}")
    return handler


def name_of(handler: Handler) -> str:
    """What a handler is called in messages: module, and name within it."""
    name = getattr(handler, "__qualname__", None)
    return f"{handler.__module__}.{name}" if name else repr(handler)


class WrongResult(TypeError):
    """A handler returned what means nothing; ``place`` names it to the log."""

    def __init__(self, message: str, place: str) -> None:
        super().__init__(message)
        self.place = place


def _wrong(kind: str, handler: Handler, result: Any, wanted: str) -> TypeError:
    """A result that grants nothing: most often a handler that fell off its end."""
    message = (
        f"the on_{kind} handler {name_of(handler)} must return {wanted}, not {result!r}: "
        "nothing is granted by silence (raise flyball.PermissionDenied to refuse)"
    )
    return WrongResult(message, name_of(handler))


def _refused(kind: str, handler: Handler, result: Any, wanted: str) -> Exception:
    if result is False:
        return PermissionDenied(f"the on_{kind} handler {name_of(handler)} returned False")
    return _wrong(kind, handler, result, wanted)

"""The ``on_…`` decorators of a node: typed, so that a checker knows what a handler takes and gives.

A handler is a plain or an async function. ``@node.on_x`` registers it for everything; decorators
that take a pattern (``*`` and ``?``, as in ``@node.on_subscribe("chat:*")``) register it for what
matches: the first pattern that matches is asked, then the handler without one.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeAlias, TypeVar, overload

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
from flyball.core.handlers import Handlers
from flyball.core.schemas import SchemaSource
from flyball.core.types import (
    Credentials,
    HistoryFilter,
    PublishOptions,
    PublishResult,
    SubscribeOptions,
)

ConnectingHandler: TypeAlias = Callable[[Connecting], Credentials | Awaitable[Credentials]]
ConnectedHandler: TypeAlias = Callable[[Connected], object]
RefreshHandler: TypeAlias = Callable[[Refreshing], RefreshResult | Awaitable[RefreshResult]]
SubscribeHandler: TypeAlias = Callable[
    [Subscribing], SubscribeOptions | Awaitable[SubscribeOptions]
]
SubscribedHandler: TypeAlias = Callable[[Subscribed], object]
SubRefreshHandler: TypeAlias = Callable[[SubRefreshing], RefreshResult | Awaitable[RefreshResult]]
UnsubscribedHandler: TypeAlias = Callable[[Unsubscribed], object]
PublishHandler: TypeAlias = Callable[
    [Publishing], PublishOptions | PublishResult | Awaitable[PublishOptions | PublishResult]
]
PresenceHandler: TypeAlias = Callable[[PresenceQuery], bool | Awaitable[bool]]
HistoryHandler: TypeAlias = Callable[
    [HistoryQuery], bool | HistoryFilter | Awaitable[bool | HistoryFilter]
]
RpcHandler: TypeAlias = Callable[[Rpc], Any]
MessageHandler: TypeAlias = Callable[[Message], object]
DisconnectedHandler: TypeAlias = Callable[[Disconnected], object]
ChannelOccupiedHandler: TypeAlias = Callable[[ChannelOccupied], object]
ChannelVacatedHandler: TypeAlias = Callable[[ChannelVacated], object]

_Connecting = TypeVar("_Connecting", bound=ConnectingHandler)
_Connected = TypeVar("_Connected", bound=ConnectedHandler)
_Refresh = TypeVar("_Refresh", bound=RefreshHandler)
_Subscribe = TypeVar("_Subscribe", bound=SubscribeHandler)
_Subscribed = TypeVar("_Subscribed", bound=SubscribedHandler)
_SubRefresh = TypeVar("_SubRefresh", bound=SubRefreshHandler)
_Unsubscribed = TypeVar("_Unsubscribed", bound=UnsubscribedHandler)
_Publish = TypeVar("_Publish", bound=PublishHandler)
_Presence = TypeVar("_Presence", bound=PresenceHandler)
_History = TypeVar("_History", bound=HistoryHandler)
_Rpc = TypeVar("_Rpc", bound=RpcHandler)
_Message = TypeVar("_Message", bound=MessageHandler)
_Disconnected = TypeVar("_Disconnected", bound=DisconnectedHandler)
_ChannelOccupied = TypeVar("_ChannelOccupied", bound=ChannelOccupiedHandler)
_ChannelVacated = TypeVar("_ChannelVacated", bound=ChannelVacatedHandler)


class HandlerDecorators:
    """The ``on_…`` decorators of a node. There is one handler for each kind and pattern."""

    def __init__(self) -> None:
        self._handlers = Handlers()

    @overload
    def on_connecting(self, handler: _Connecting, /) -> _Connecting: ...
    @overload
    def on_connecting(self, /) -> Callable[[_Connecting], _Connecting]: ...
    def on_connecting(self, handler: ConnectingHandler | None = None, /) -> Any:
        """Decides who a client is, when it asks to connect.

        Answer: :class:`Credentials`, or raise :class:`Error` or :class:`Disconnect`. Without a
        handler the node does not start::

            @node.on_connecting
            async def who(event: flyball.Connecting) -> flyball.Credentials:
                return flyball.Credentials(user=await user_of(event.token))

        Raises:
            ConfigError: there is a handler already.
        """
        return self._handlers.on_connecting(handler)

    @overload
    def on_connected(self, handler: _Connected, /) -> _Connected: ...
    @overload
    def on_connected(self, /) -> Callable[[_Connected], _Connected]: ...
    def on_connected(self, handler: ConnectedHandler | None = None, /) -> Any:
        """Is told that a client is connected (its connect reply was sent).

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler already.
        """
        return self._handlers.on_connected(handler)

    @overload
    def on_refresh(self, handler: _Refresh, /) -> _Refresh: ...
    @overload
    def on_refresh(self, /) -> Callable[[_Refresh], _Refresh]: ...
    def on_refresh(self, handler: RefreshHandler | None = None, /) -> Any:
        """Decides whether a connection that has an expiry lives on.

        Answer: :class:`RefreshResult`, or raise. Without a handler a refresh by the client ends
        the connection with 3508, and one that expires ends with 3005.

        Raises:
            ConfigError: there is a handler already.
        """
        return self._handlers.on_refresh(handler)

    @overload
    def on_subscribe(self, handler: _Subscribe, /) -> _Subscribe: ...
    @overload
    def on_subscribe(self, pattern: str | None = None, /) -> Callable[[_Subscribe], _Subscribe]: ...
    def on_subscribe(self, handler: SubscribeHandler | str | None = None, /) -> Any:
        """Decides whether a client may subscribe to a channel, and how.

        Answer: :class:`SubscribeOptions`, or raise (:class:`PermissionDenied` and others).
        Without a handler: error 108. With a pattern it is asked for channels that match::

            @node.on_subscribe("chat:*")
            def may_join(event: flyball.Subscribing) -> flyball.SubscribeOptions:
                return flyball.SubscribeOptions(recoverable=True)

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_subscribe(handler)

    @overload
    def on_subscribed(self, handler: _Subscribed, /) -> _Subscribed: ...
    @overload
    def on_subscribed(
        self, pattern: str | None = None, /
    ) -> Callable[[_Subscribed], _Subscribed]: ...
    def on_subscribed(self, handler: SubscribedHandler | str | None = None, /) -> Any:
        """Is told that a client is subscribed (its subscribe reply was sent).

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_subscribed(handler)

    @overload
    def on_sub_refresh(self, handler: _SubRefresh, /) -> _SubRefresh: ...
    @overload
    def on_sub_refresh(
        self, pattern: str | None = None, /
    ) -> Callable[[_SubRefresh], _SubRefresh]: ...
    def on_sub_refresh(self, handler: SubRefreshHandler | str | None = None, /) -> Any:
        """Decides whether a subscription that has an expiry lives on.

        Answer: :class:`RefreshResult`, or raise. Without a handler: error 108, and the
        subscription ends when it expires.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_sub_refresh(handler)

    @overload
    def on_unsubscribed(self, handler: _Unsubscribed, /) -> _Unsubscribed: ...
    @overload
    def on_unsubscribed(
        self, pattern: str | None = None, /
    ) -> Callable[[_Unsubscribed], _Unsubscribed]: ...
    def on_unsubscribed(self, handler: UnsubscribedHandler | str | None = None, /) -> Any:
        """Is told that a subscription has ended.

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_unsubscribed(handler)

    @overload
    def on_publish(self, handler: _Publish, /) -> _Publish: ...
    @overload
    def on_publish(
        self, pattern: str | None = None, /, *, schema: SchemaSource = None
    ) -> Callable[[_Publish], _Publish]: ...
    def on_publish(
        self, handler: PublishHandler | str | None = None, /, *, schema: SchemaSource = None
    ) -> Any:
        """Decides whether a client may publish into a channel, and how it is kept.

        Answer: :class:`PublishOptions`, or the :class:`PublishResult` if the handler has
        published by itself, or raise. Without a handler: error 108.

        With ``schema`` (a msgspec Struct, dataclass, Pydantic model, or JSON Schema as a
        dictionary) a payload that does not fit is refused with 107 before the handler is asked,
        and the log is told where it does not::

            @node.on_publish("chat:*", schema=Message)
            def may_write(event: flyball.Publishing) -> flyball.PublishOptions:
                return flyball.PublishOptions(tags={"by": event.json(Message).author})

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_publish(handler, schema)

    @overload
    def on_presence(self, handler: _Presence, /) -> _Presence: ...
    @overload
    def on_presence(self, pattern: str | None = None, /) -> Callable[[_Presence], _Presence]: ...
    def on_presence(self, handler: PresenceHandler | str | None = None, /) -> Any:
        """Decides whether a client may see who, or how many, are in a channel.

        Answer: True; False (error 103), or raise. Without a handler: error 108.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_presence(handler)

    @overload
    def on_history(self, handler: _History, /) -> _History: ...
    @overload
    def on_history(self, pattern: str | None = None, /) -> Callable[[_History], _History]: ...
    def on_history(self, handler: HistoryHandler | str | None = None, /) -> Any:
        """Decides whether a client may read a channel's history.

        Answer: True, or a narrower :class:`HistoryFilter`; False (error 103), or raise. Without
        a handler: error 108.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_history(handler)

    @overload
    def on_rpc(self, handler: _Rpc, /) -> _Rpc: ...
    @overload
    def on_rpc(
        self, pattern: str | None = None, /, *, schema: SchemaSource = None
    ) -> Callable[[_Rpc], _Rpc]: ...
    def on_rpc(
        self, handler: RpcHandler | str | None = None, /, *, schema: SchemaSource = None
    ) -> Any:
        """Answers a method that a client calls.

        Answer: any JSON value, ``bytes`` or ``Raw`` as they are, or None for none; or raise.
        Without a handler: error 108. Arguments that do not fit ``schema`` are refused with 107
        before the handler is asked::

            @node.on_rpc("add", schema=list[int])
            def add(event: flyball.Rpc) -> int:
                return sum(event.json(list[int]))

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_rpc(handler, schema)

    @overload
    def on_message(self, handler: _Message, /) -> _Message: ...
    @overload
    def on_message(self, /) -> Callable[[_Message], _Message]: ...
    def on_message(self, handler: MessageHandler | None = None, /) -> Any:
        """Takes a message of a client that expects no reply (``send``).

        It may raise :class:`Disconnect`. Without a handler the connection ends with 3508.

        Raises:
            ConfigError: there is a handler already.
        """
        return self._handlers.on_message(handler)

    @overload
    def on_disconnected(self, handler: _Disconnected, /) -> _Disconnected: ...
    @overload
    def on_disconnected(self, /) -> Callable[[_Disconnected], _Disconnected]: ...
    def on_disconnected(self, handler: DisconnectedHandler | None = None, /) -> Any:
        """Is told that a connection has ended.

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler already.
        """
        return self._handlers.on_disconnected(handler)

    @overload
    def on_channel_occupied(self, handler: _ChannelOccupied, /) -> _ChannelOccupied: ...
    @overload
    def on_channel_occupied(
        self, pattern: str | None = None, /
    ) -> Callable[[_ChannelOccupied], _ChannelOccupied]: ...
    def on_channel_occupied(self, handler: ChannelOccupiedHandler | str | None = None, /) -> Any:
        """Is told that a channel has got its first subscriber on this node.

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_channel_occupied(handler)

    @overload
    def on_channel_vacated(self, handler: _ChannelVacated, /) -> _ChannelVacated: ...
    @overload
    def on_channel_vacated(
        self, pattern: str | None = None, /
    ) -> Callable[[_ChannelVacated], _ChannelVacated]: ...
    def on_channel_vacated(self, handler: ChannelVacatedHandler | str | None = None, /) -> Any:
        """Is told that a channel has lost its last subscriber on this node.

        Nothing depends on it: what it raises is logged.

        Raises:
            ConfigError: there is a handler for this pattern, or for all, already.
        """
        return self._handlers.on_channel_vacated(handler)

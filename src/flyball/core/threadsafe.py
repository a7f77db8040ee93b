"""A node's operations for other threads: plain calls that wait for the node's event loop."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from concurrent.futures import CancelledError
from typing import TYPE_CHECKING, Any, Final, TypeVar, Unpack

from flyball.core.census import ConnectionsQuery
from flyball.core.errors import WrongLoopError
from flyball.core.keywords import ConnectionsKeywords, PublishKeywords, SubscribeKeywords, spell_out
from flyball.core.received import HistoryResult
from flyball.core.types import (
    ClientInfo,
    HistoryFilter,
    Payload,
    PresenceStats,
    PublishOptions,
    PublishResult,
    Raw,
    StreamPosition,
    SubscribeOptions,
)
from flyball.protocol import codes
from flyball.protocol.codes import UnsubscribeCode

if TYPE_CHECKING:
    from flyball.core.census import ChannelState, ConnectionsPage, UsersPage
    from flyball.core.channel_census import ChannelOrder, ChannelsPage
    from flyball.core.node import Node

__all__ = ["ThreadsafeNode", "outside"]

T = TypeVar("T")

PATIENCE: Final = 30.0
"""Seconds that a call waits for the node's event loop."""


def outside(name: str) -> WrongLoopError:
    """What is raised for a method that is called outside of the node's event loop."""
    message = (
        f"node.{name} was called outside of the event loop that the node runs in: "
        f"from a thread or a plain function use node.threadsafe (node.threadsafe.publish(...)), "
        "from another process flyball.Publisher"
    )
    return WrongLoopError(message)


class ThreadsafeNode:
    """The operations of a running node, for threads: ``node.threadsafe.publish("news", data)``.

    They are those of :class:`~flyball.Node` under the same names, without ``await``: a call waits
    until the node's event loop has carried it out, and returns or raises what came of it. They work
    in plain ``def`` endpoints of FastAPI, in sync views of Django, in threads of one's own.

    Every method raises :class:`WrongLoopError` if the node does not run, or runs in the very
    thread that calls (``await node.publish(...)`` there), and ``TimeoutError`` if the event loop
    does not answer within :attr:`timeout` seconds.
    """

    __slots__ = ("_node", "timeout")

    def __init__(self, node: Node) -> None:
        self._node = node
        self.timeout: float = PATIENCE
        """Seconds that a call waits."""

    def _call(self, name: str, work: Callable[[], Coroutine[Any, Any, T]]) -> T:
        loop = self._node.loop
        if loop is None or not self._node.running:
            raise WrongLoopError(f"node.threadsafe.{name}: the node does not run (node.start())")
        if loop is asyncio._get_running_loop():  # noqa: SLF001 - exported by asyncio
            message = f"this thread runs the node: use `await node.{name}(...)`"
            raise WrongLoopError(f"node.threadsafe.{name} would wait for itself, because {message}")
        future = asyncio.run_coroutine_threadsafe(work(), loop)
        try:
            return future.result(self.timeout)
        except CancelledError:
            raise WrongLoopError(f"node.threadsafe.{name}: the node was stopped") from None
        except TimeoutError:
            if future.done():
                raise  # the work's own
            future.cancel()
            message = f"the node's event loop did not answer within {self.timeout:g} s"
            raise TimeoutError(f"node.threadsafe.{name}: {message}") from None

    # -- channels

    @spell_out(PublishOptions)
    def publish(
        self,
        channel: str,
        data: Payload,
        options: PublishOptions | None = None,
        **fields: Unpack[PublishKeywords],
    ) -> PublishResult:
        """See :meth:`Node.publish`."""
        return self._call("publish", lambda: self._node.publish(channel, data, options, **fields))

    def history(self, channel: str, query: HistoryFilter | None = None) -> HistoryResult:
        """See :meth:`Node.history`."""
        return self._call("history", lambda: self._node.history(channel, query))

    def remove_history(self, channel: str) -> None:
        """See :meth:`Node.remove_history`."""
        self._call("remove_history", lambda: self._node.remove_history(channel))

    def presence(self, channel: str) -> Mapping[str, ClientInfo]:
        """See :meth:`Node.presence`."""
        return self._call("presence", lambda: self._node.presence(channel))

    def presence_stats(self, channel: str) -> PresenceStats:
        """See :meth:`Node.presence_stats`."""
        return self._call("presence_stats", lambda: self._node.presence_stats(channel))

    def channels(self, pattern: str = "") -> dict[str, int]:
        """See :meth:`Node.channels`."""
        return self._call("channels", lambda: self._node.channels(pattern))

    def channels_page(
        self,
        pattern: str = "",
        *,
        order: ChannelOrder = "name",
        limit: int = 100,
        cursor: str = "",
    ) -> ChannelsPage:
        """See :meth:`Node.channels_page`."""
        asks = self._node.channels_page
        return self._call(
            "channels_page", lambda: asks(pattern, order=order, limit=limit, cursor=cursor)
        )

    @spell_out(ConnectionsQuery)
    def connections(
        self, query: ConnectionsQuery | None = None, **fields: Unpack[ConnectionsKeywords]
    ) -> ConnectionsPage:
        """See :meth:`Node.connections`."""
        return self._call("connections", lambda: self._node.connections(query, **fields))

    def users(self, pattern: str = "", *, limit: int = 100, cursor: str = "") -> UsersPage:
        """See :meth:`Node.users`."""
        asks = self._node.users
        return self._call("users", lambda: asks(pattern, limit=limit, cursor=cursor))

    def channel_state(self, channel: str) -> ChannelState:
        """See :meth:`Node.channel_state`."""
        return self._call("channel_state", lambda: self._node.channel_state(channel))

    # -- users

    @spell_out(SubscribeOptions)
    def subscribe_user(
        self,
        user: str,
        channel: str,
        options: SubscribeOptions | None = None,
        *,
        client: str = "",
        session: str = "",
        recover_since: StreamPosition | None = None,
        **fields: Unpack[SubscribeKeywords],
    ) -> None:
        """See :meth:`Node.subscribe_user`."""
        self._call(
            "subscribe_user",
            lambda: self._node.subscribe_user(
                user,
                channel,
                options,
                client=client,
                session=session,
                recover_since=recover_since,
                **fields,
            ),
        )

    def unsubscribe_user(
        self,
        user: str,
        channel: str,
        *,
        client: str = "",
        session: str = "",
        code: UnsubscribeCode = codes.UNSUBSCRIBE_SERVER,
    ) -> None:
        """See :meth:`Node.unsubscribe_user`."""
        self._call(
            "unsubscribe_user",
            lambda: self._node.unsubscribe_user(
                user, channel, client=client, session=session, code=code
            ),
        )

    def disconnect_user(
        self,
        user: str,
        *,
        code: int = codes.DISCONNECT_FORCE_NO_RECONNECT.code,
        reason: str = codes.DISCONNECT_FORCE_NO_RECONNECT.reason,
        client: str = "",
        session: str = "",
        whitelist: Sequence[str] = (),
    ) -> None:
        """See :meth:`Node.disconnect_user`."""
        self._call(
            "disconnect_user",
            lambda: self._node.disconnect_user(
                user, code=code, reason=reason, client=client, session=session, whitelist=whitelist
            ),
        )

    def refresh_user(
        self,
        user: str,
        *,
        client: str = "",
        session: str = "",
        expired: bool = False,
        expire_at: float = 0.0,
        info: Raw | None = None,
    ) -> None:
        """See :meth:`Node.refresh_user`."""
        self._call(
            "refresh_user",
            lambda: self._node.refresh_user(
                user,
                client=client,
                session=session,
                expired=expired,
                expire_at=expire_at,
                info=info,
            ),
        )

"""Subscriptions of one connection: asked for in batches, and again after each reconnect."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, Final

from flyball.engines.redis.connection import Connection, LinkLostError, ReplyError, pack
from flyball.engines.redis.link import PING, Link

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

    from flyball.engines.common.status import LinkStatus
    from flyball.engines.redis.options import Endpoint, Login, ShardOptions

BATCH: Final = 1000
"""Names in one command."""
_MESSAGES: Final = (b"message", b"smessage")
_SUBSCRIBED: Final = (b"subscribe", b"ssubscribe")
_UNSUBSCRIBED: Final = (b"unsubscribe", b"sunsubscribe")


class PubSubLink(Link):
    """A link that subscribes.

    Args:
        on_message: gets name and payload of each message.
        sharded: by sharded PUB/SUB (Redis 7), whose names belong to slots as keys do.
        slot_of: the slot of a name; names of different slots do not share a command.
        on_moved: told of a name whose slot has gone to another server.
    """

    def __init__(
        self,
        name: str,
        find: Callable[[], Awaitable[Endpoint]],
        login: Login,
        options: ShardOptions,
        status: LinkStatus,
        on_message: Callable[[bytes, bytes], None],
        *,
        sharded: bool = False,
        slot_of: Callable[[bytes], int] | None = None,
        on_moved: Callable[[bytes], None] | None = None,
    ) -> None:
        super().__init__(name, find, login, options, status)
        self._on_message = on_message
        self._slot_of = slot_of
        self._on_moved = on_moved
        self._commands = ("SSUBSCRIBE", "SUNSUBSCRIBE") if sharded else ("SUBSCRIBE", "UNSUBSCRIBE")
        self._wanted: dict[bytes, asyncio.Future[None] | None] = {}
        """Name to whoever waits for the server to confirm it."""
        self._asked: set[bytes] = set()
        """Names that the server was asked for on this connection."""
        self._confirmed: set[bytes] = set()
        self._changed: dict[bytes, None] = {}
        self._pinged_at = 0.0
        self._restoring = False

    # -- what others ask for

    async def subscribe(self, name: bytes) -> None:
        """Returns once the server has confirmed it.

        Raises:
            LinkLostError: the link is down, or lost before that.
            ReplyError: the server refuses.
        """
        if name in self._confirmed:
            self._wanted.setdefault(name, None)
            return
        if self._connection is None:
            raise LinkLostError(self._status.reason(self) or "not connected")
        waiting = self._wanted.get(name)
        if waiting is None:
            waiting = asyncio.get_running_loop().create_future()
            self._wanted[name] = waiting
            self._change(name)
        await asyncio.shield(waiting)

    def unsubscribe(self, name: bytes) -> None:
        """Asks for no more of it; harmless if it was not subscribed."""
        waiting = self._wanted.pop(name, None)
        if waiting is not None and not waiting.done():
            waiting.set_exception(LinkLostError("unsubscribed meanwhile"))
            waiting.exception()
        self._change(name)

    @property
    def names(self) -> Iterable[bytes]:
        """What it is subscribed to, or wants to be."""
        return self._wanted.keys()

    def _change(self, name: bytes) -> None:
        if not self._changed:
            asyncio.get_running_loop().call_soon(self._ask)
        self._changed[name] = None

    def _ask(self) -> None:
        changed, self._changed = self._changed, {}
        if self._connection is None:
            return
        more = [n for n in changed if n in self._wanted and n not in self._asked]
        less = [n for n in changed if n not in self._wanted and n in self._asked]
        self._asked.update(more)
        self._asked.difference_update(less)
        self._confirmed.difference_update(less)
        self._post(self._connection, self._commands[1], less)
        self._post(self._connection, self._commands[0], more)

    def _post(self, connection: Connection, command: str, names: list[bytes]) -> None:
        for batch in self._batches(names):
            connection.post(pack((command, *batch)))
        if names:
            self._expect_answer(connection)

    def _batches(self, names: list[bytes]) -> Iterable[list[bytes]]:
        if self._slot_of is None:
            return [names[i : i + BATCH] for i in range(0, len(names), BATCH)]
        slots: dict[int, list[bytes]] = {}
        for name in names:
            slots.setdefault(self._slot_of(name), []).append(name)
        return slots.values()

    # -- what comes

    def _take(self, message: Any) -> None:
        self._pinged_at = 0.0
        if not isinstance(message, list):
            if isinstance(message, ReplyError):
                self._refused(message)
            return
        kind = message[0]
        if kind in _MESSAGES:
            if message[1] in self._wanted:
                self._on_message(message[1], message[2])
        elif kind in _SUBSCRIBED:
            self._confirm(message[1])
        elif kind in _UNSUBSCRIBED and message[1] in self._wanted and message[1] in self._asked:
            self._taken_away(message[1])

    def _confirm(self, name: bytes) -> None:
        if name not in self._wanted:
            return
        self._confirmed.add(name)
        waiting = self._wanted[name]
        if waiting is not None:
            self._wanted[name] = None
            if not waiting.done():
                waiting.set_result(None)
        if self._restoring and len(self._confirmed) >= len(self._wanted):
            self._restoring = False
            self._resubscribed()

    def _resubscribed(self) -> None:
        if self._status.on_resubscribed is not None:
            self._status.on_resubscribed()
        self._status.restored(self)

    def _taken_away(self, name: bytes) -> None:
        self._asked.discard(name)
        self._confirmed.discard(name)
        if self._on_moved is not None:
            self._on_moved(name)

    def _refused(self, error: ReplyError) -> None:
        """A command was refused as a whole (no permission): whoever waits is told."""
        if error.kind == "MOVED" and self._on_moved is not None:
            for name in [n for n in self._asked if n not in self._confirmed]:
                self._taken_away(name)
            return
        for name, waiting in list(self._wanted.items()):
            if waiting is not None and name in self._asked and not waiting.done():
                self._asked.discard(name)
                del self._wanted[name]
                waiting.set_exception(error)
                waiting.exception()
        if self._restoring:
            self.drop(str(error))

    # -- the link

    async def _prepare(self, connection: Connection, endpoint: Endpoint) -> None:  # noqa: ARG002
        connection.subscriber = True

    def _restored(self) -> None:
        assert self._connection is not None
        self._asked = set(self._wanted)
        self._confirmed.clear()
        if self._status.on_resubscribing is not None:
            self._status.on_resubscribing()
        if not self._wanted:
            self._resubscribed()
            return
        self._restoring = True
        self._post(self._connection, self._commands[0], list(self._wanted))

    def _lost(self, reason: str) -> None:
        ours = self._connection is not None
        super()._lost(reason)
        if not ours:
            return
        self._restoring = False
        self._asked.clear()
        self._confirmed.clear()
        self._pinged_at = 0.0
        for name, waiting in list(self._wanted.items()):
            if waiting is not None:
                del self._wanted[name]
                if not waiting.done():
                    waiting.set_exception(LinkLostError(f"{self.name}: {reason}"))
                    waiting.exception()

    async def close(self) -> None:
        """See :meth:`Link.close`."""
        await super().close()
        self._wanted.clear()

    def _expect_answer(self, connection: Connection) -> None:
        if not self._pinged_at:
            self._pinged_at = connection.waits_since = asyncio.get_running_loop().time()

    def _waits(self, connection: Connection) -> bool:  # noqa: ARG002
        return self._pinged_at > 0

    def _ping(self, connection: Connection) -> None:
        connection.post(PING)
        self._expect_answer(connection)

"""What a program does with the live connections of a user, on all nodes."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Unpack

from flyball.core.control import (
    DisconnectUser,
    RefreshUser,
    SubscribeUser,
    UnsubscribeUser,
    options_to_dict,
)
from flyball.core.errors import ConfigError, Disconnect
from flyball.core.keywords import SubscribeKeywords, spell_out
from flyball.core.types import Raw, StreamPosition, SubscribeOptions
from flyball.protocol import codes
from flyball.protocol.codes import UnsubscribeCode

if TYPE_CHECKING:
    from flyball.core.control import UserOp


UNSUBSCRIBE_CODES = range(2000, 3000)
"""What a server may end subscriptions with; below 2500 the client does not subscribe again."""


class UserOperations(ABC):
    """The part of a node that acts on users. Operations reach every node of the cluster."""

    id: str

    @abstractmethod
    async def _everywhere(self, op: UserOp) -> None:
        """Carries ``op`` out on all nodes."""

    @spell_out(SubscribeOptions)
    async def subscribe_user(
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
        """Subscribes the live connections of ``user``, on all nodes.

        Fields of :class:`SubscribeOptions` may be given one by one, and win over ``options``.
        ``client`` and ``session`` narrow to one connection. ``recover_since`` is told to the
        client as its position.

        Raises:
            ConfigError: there is a ``feed``: it cannot go to other nodes.
        """
        options = replace(options or SubscribeOptions(), **fields)
        if options.feed is not None:
            message = "subscribe_user takes no feed: give it in on_subscribe or in Credentials.subs"
            raise ConfigError(message)
        op = SubscribeUser(
            uid=self.id,
            user=user,
            client=client,
            session=session,
            channel=channel,
            options=options_to_dict(options),
            info=bytes(options.info),
            data=bytes(options.data),
            since=recover_since,
        )
        await self._everywhere(op)

    async def unsubscribe_user(
        self,
        user: str,
        channel: str,
        *,
        client: str = "",
        session: str = "",
        code: UnsubscribeCode = codes.UNSUBSCRIBE_SERVER,
    ) -> None:
        """Ends subscriptions of ``user``, on all nodes; an empty channel means all of them.

        Raises:
            ConfigError: clients are told of codes from 2000 to 2999 only.
        """
        if not UNSUBSCRIBE_CODES.start <= code.code < UNSUBSCRIBE_CODES.stop:
            message = f"{code.code} is no unsubscribe code of a server: 2000 to 2999 are"
            raise ConfigError(message)
        op = UnsubscribeUser(
            uid=self.id,
            user=user,
            client=client,
            session=session,
            channel=channel,
            code=code.code,
            reason=code.reason,
        )
        await self._everywhere(op)

    async def disconnect_user(
        self,
        user: str,
        *,
        code: int = codes.DISCONNECT_FORCE_NO_RECONNECT.code,
        reason: str = codes.DISCONNECT_FORCE_NO_RECONNECT.reason,
        client: str = "",
        session: str = "",
        whitelist: Sequence[str] = (),
    ) -> None:
        """Ends the connections of ``user``, on all nodes, sparing the client ids in ``whitelist``.

        Raises:
            ConfigError: no close frame can carry ``code``.
        """
        disconnect = Disconnect(code, reason)
        op = DisconnectUser(
            uid=self.id,
            user=user,
            client=client,
            session=session,
            code=disconnect.code,
            reason=disconnect.reason,
            whitelist=list(whitelist),
        )
        await self._everywhere(op)

    async def refresh_user(
        self,
        user: str,
        *,
        client: str = "",
        session: str = "",
        expired: bool = False,
        expire_at: float = 0.0,
        info: Raw | None = None,
    ) -> None:
        """Changes the expiry (Unix seconds, 0 never) of the connections of ``user``, on all nodes."""
        op = RefreshUser(
            uid=self.id,
            user=user,
            client=client,
            session=session,
            expired=expired,
            expire_at=expire_at,
            info=bytes(info) if info else b"",
        )
        await self._everywhere(op)

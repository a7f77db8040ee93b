"""The way to Service Bus: who we are there, and what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any, Final

from azure.core.exceptions import AzureError
from azure.identity.aio import ClientSecretCredential
from azure.servicebus import NEXT_AVAILABLE_SESSION, parse_connection_string
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.exceptions import OperationTimeoutError

from flyball.core.errors import ConfigError
from flyball.server.consumers.errors import SourceError
from flyball.server.consumers.servicebus._private import Sockets

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flyball.server.consumers.servicebus.options import Identity, ServiceBusOptions

SESSION_WAIT: Final = 30.0
"""Seconds that the bus is asked to look for a session that has messages."""
GOODBYE: Final = 2.0
"""Seconds to end a link as it should be."""
_ERRORS: Final = (AzureError, OSError, TimeoutError, ValueError)


class NothingThereError(SourceError):
    """No session has a message for us."""


class BusClient:
    """Azure's client, for the loops of one consumer.

    Args:
        options: where, and as whom.

    Raises:
        ConfigError: the connection string or the identity cannot be used.
    """

    def __init__(self, options: ServiceBusOptions) -> None:
        self._options = options
        self._credential: ClientSecretCredential | None = None
        if options.identity is not None:
            self._credential = _credential(options.identity)
        else:
            _check(options)
        self._client: ServiceBusClient | None = None
        self._sockets: dict[ServiceBusReceiver, Sockets] = {}

    @contextlib.asynccontextmanager
    async def _closing(self, receiver: ServiceBusReceiver) -> Any:
        try:
            yield
        except BaseException:
            await self.hang_up(receiver)
            raise

    async def receiver(self, queue: str) -> ServiceBusReceiver:
        """A link to a queue, or to a session of it that has messages.

        Raises:
            NothingThereError: there is no such session.
            SourceError: the queue is out of reach.
        """
        if self._client is None:
            self._client = self._made()
        session: dict[str, Any] = {}
        if self._options.sessions:
            session = {
                "session_id": NEXT_AVAILABLE_SESSION,
                "max_wait_time": SESSION_WAIT,
                # Else what comes between two calls is sent back, and those behind it come first.
                "prefetch_count": self._options.max_messages,
            }
        with told():
            receiver = self._client.get_queue_receiver(queue, **session)
            self._sockets[receiver] = Sockets(receiver)
            async with self._closing(receiver):
                try:
                    return await receiver.__aenter__()
                except OperationTimeoutError:
                    if self._options.sessions:
                        raise NothingThereError("no session has a message") from None
                    raise

    async def hang_up(self, receiver: ServiceBusReceiver) -> None:
        """Ends a link; the session is somebody else's then."""
        with contextlib.suppress(*_ERRORS):  # the bus sees it without being told
            async with asyncio.timeout(GOODBYE):
                await receiver.close()
        await self._sockets.pop(receiver).close()

    async def close(self) -> None:
        """Ends all that is open."""
        client, self._client = self._client, None
        for opened in (client, self._credential):
            if opened is not None:
                await opened.close()

    def _made(self) -> ServiceBusClient:
        once: dict[str, Any] = {"retry_total": 0}  # the loops try again, and tell so
        options = self._options
        if options.identity is None or self._credential is None:
            return ServiceBusClient.from_connection_string(options.connection_string, **once)
        return ServiceBusClient(options.identity.namespace, self._credential, **once)


def _credential(identity: Identity) -> ClientSecretCredential:
    try:
        return ClientSecretCredential(identity.tenant, identity.client, identity.secret)
    except ValueError as error:
        raise ConfigError(f"tenant_id: {error}") from None


def _check(options: ServiceBusOptions) -> None:
    """Says what is wrong with a connection string; it is not shown, because there is a key in it."""
    try:
        found = parse_connection_string(options.connection_string)
    except ValueError as error:
        raise ConfigError(f"connection_string: {error}") from None
    if found.entity_path and options.queues != (found.entity_path,):
        raise ConfigError(
            f"connection_string: it is for the queue {found.entity_path!r} alone,"
            f" queues are {', '.join(options.queues)}"
        )


@contextlib.contextmanager
def told() -> Iterator[None]:
    """What the client raises becomes an error of ours.

    Raises:
        SourceError: it failed.
    """
    try:
        yield
    except _ERRORS as error:
        text = str(error).partition("\n")[0][:300] or type(error).__name__
        raise SourceError(text) from None

"""Streams of a backend, each into one subscription of one client."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Protocol, Self

from flyball.aio.eager import OWN_TASK
from flyball.core.received import Publication
from flyball.server.proxies import messages as m
from flyball.server.proxies.errors import BackendError

if TYPE_CHECKING:
    from collections.abc import Callable

    from msgspec import Raw

__all__ = ["BackendStream", "StreamCall"]


class StreamCall(Protocol):
    """A call that goes on after its first answer."""

    async def read(self) -> m.StreamSubscribeResponse | None:
        """The next message; None if the backend has ended the stream. BackendError if it broke."""

    async def write(self, message: m.StreamSubscribeRequest) -> None:
        """Sends a message; BackendError if it cannot."""

    def cancel(self) -> None:
        """Ends the call, if it has not ended."""


class BackendStream:
    """What a backend sends to one subscriber: its feed.

    Args:
        call: the stream, whose first message was read.
        bidirectional: whether the backend takes what the client publishes.
        timeout: seconds that the backend may take for one of those.
        on_failure: told why the stream broke.
        on_closed: called once, at the end.
    """

    def __init__(
        self,
        call: StreamCall,
        *,
        bidirectional: bool,
        timeout: float,
        on_failure: Callable[[str], None],
        on_closed: Callable[[], None],
    ) -> None:
        self.bidirectional = bidirectional
        self._call = call
        self._timeout = timeout
        self._on_failure = on_failure
        self._on_closed = on_closed
        self._closed = False
        self._one_at_a_time = asyncio.Lock()

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Publication:
        """The next publication for the client.

        Raises:
            BackendError: the stream broke; counted and logged.
        """
        while True:
            try:
                message = await self._call.read()
            except BackendError as error:
                self._on_failure(str(error))
                raise
            if message is None:
                raise StopAsyncIteration
            if message.publication is not None:
                return Publication(message.publication.data, tags=message.publication.tags)

    async def send(self, data: Raw) -> None:
        """Passes on what the client publishes.

        Raises:
            BackendError: the backend does not take it in time, or the stream broke. It is over.
        """
        message = m.StreamSubscribeRequest(publication=m.Publication(data))
        await OWN_TASK  # timeouts need one
        try:
            async with asyncio.timeout(self._timeout), self._one_at_a_time:
                await self._call.write(message)
        except TimeoutError:
            self._call.cancel()
            detail = f"the stream takes no publication within {self._timeout:g} s"
            raise BackendError(detail) from None

    async def aclose(self) -> None:
        """The subscription is over."""
        if not self._closed:
            self._closed = True
            self._call.cancel()
            self._on_closed()

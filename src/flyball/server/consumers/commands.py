"""Does what messages say: each is one command of the server API."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
import structlog
from msgspec import Raw

from flyball.core.errors import EngineRefusal
from flyball.protocol.codec import UNREADABLE, DecodeError
from flyball.protocol.messages import NO_DATA
from flyball.protocol.schema import Schema
from flyball.server.api import messages as m
from flyball.server.api.errors import INTERNAL, ApiError
from flyball.server.api.methods import METHODS
from flyball.server.api.schema import API
from flyball.server.consumers.errors import DroppedError, TryAgainError

if TYPE_CHECKING:
    from msgspec import Struct

    from flyball.server.api.methods import Method
    from flyball.server.api.service import ApiService
    from flyball.server.consumers.base import Message
    from flyball.server.consumers.data_mode import PublicationDataMode
    from flyball.server.consumers.metrics import ConsumerMetrics

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.consumers")

CONSUMED: Final = (
    *("publish", "broadcast", "subscribe", "unsubscribe", "disconnect"),
    *("history_remove", "refresh"),
)
"""Methods that a message may want: those whose result nobody needs."""

MOST_LEFT: Final = 1000
"""Broadcasts done in part that are remembered; of others all channels get the message again."""


class Envelope(m.Request):
    """The body of a message whose method does not stand beside it."""

    method: str = ""
    payload: Raw = NO_DATA


_ENVELOPES: Final = Schema((Envelope,), canonical=True)


class Commands:
    """Does the messages of one consumer.

    Args:
        name: of the consumer.
        service: the server API.
        metrics: counted up here.
        data_mode: bodies are publications; None: they are commands.
    """

    def __init__(
        self,
        name: str,
        service: ApiService,
        metrics: ConsumerMetrics,
        data_mode: PublicationDataMode | None = None,
    ) -> None:
        self.name: str = name
        self.metrics: ConsumerMetrics = metrics
        self.node_id: str = service.node.id
        """Of this node: sources tell nodes apart by it."""
        self._service = service
        self._data_mode = data_mode
        self._envelope = _ENVELOPES.json_decoder(Envelope)
        self._decoders = {
            method.name: API.json_decoder(method.request)
            for method in map(METHODS.__getitem__, CONSUMED)
            if method.request is not None
        }
        self._left: dict[tuple[str, int], list[str]] = {}
        """Channels that broadcasts are still missing in, by message."""
        metrics.announce(name)

    async def do(self, message: Message) -> None:
        """Does it once. One that can never be done is logged and dropped.

        Raises:
            TryAgainError: that failed, and may work later; the message must stay where it is.
        """
        try:
            command = self._read(message)
            if command is not None:
                await self._carry_out(message, *command)
        except DroppedError as error:
            self.drop(message, str(error))
        except TryAgainError:
            self.metrics.errors[self.name] += 1
            raise
        else:
            self.metrics.processed[self.name] += 1

    def drop(self, message: Message, reason: str) -> None:
        """Tells that a message will never be done: the source need not keep it."""
        # The body is not shown: it is somebody's data.
        self.metrics.errors[self.name] += 1
        self.metrics.processed[self.name] += 1
        logger.error(
            "message dropped",
            consumer=self.name,
            method=message.method[:64],
            place=message.place,
            size=len(message.data),
            reason=reason,
        )

    # -- reading

    def _read(self, message: Message) -> tuple[Method, Struct] | None:
        """What it wants; None: nothing that is done here."""
        try:
            if self._data_mode is not None:
                return self._data_mode.command(message)
            return self._command(message)
        except DecodeError as error:
            raise DroppedError(f"malformed: {error}") from None

    def _command(self, message: Message) -> tuple[Method, Struct] | None:
        name, payload = message.method, message.data
        if not name:
            envelope = self._envelope.decode(message.data)
            name, payload = envelope.method, _unwrapped(envelope.payload)
        decoder = self._decoders.get(name)
        if decoder is None:
            logger.info(
                "message skipped: its method is none for consumers",
                consumer=self.name,
                method=name[:64],
                place=message.place,
                allowed=CONSUMED,
            )
            return None
        return METHODS[name], decoder.decode(payload)

    # -- doing

    async def _carry_out(self, message: Message, method: Method, request: Struct) -> None:
        if isinstance(request, m.BroadcastRequest):
            await self._broadcast(message, request)
        else:
            await self._call(method, request)

    async def _call(self, method: Method, request: Struct) -> Struct:
        try:
            return await self._service.call(method, request)
        except ApiError as error:
            raise _outcome(error) from None

    async def _broadcast(self, message: Message, request: m.BroadcastRequest) -> None:
        """It is done when it is in all its channels; the next attempt is for the rest of them."""
        key = _key(message, request)
        channels = self._left.get(key, request.channels)
        request = msgspec.structs.replace(request, channels=channels)
        result = await self._call(METHODS["broadcast"], request)
        self._left.pop(key, None)
        assert isinstance(result, m.BroadcastResult)
        errors = [r.error.code if r.error else 0 for r in result.responses]
        failed = [c for c, code in zip(channels, errors, strict=True) if code == INTERNAL.code]
        # Of the other channels that refused it the API has told the log.
        self.metrics.errors[self.name] += sum(map(bool, errors)) - len(failed)
        await self._publish_alone(key, request, failed)

    async def _publish_alone(
        self, key: tuple[str, int], request: m.BroadcastRequest, channels: list[str]
    ) -> None:
        """A channel that failed says, asked alone, whether it will ever work."""
        fields: dict[str, Any] = msgspec.structs.asdict(request)
        del fields["channels"]
        for index, channel in enumerate(channels):
            try:
                await self._call(METHODS["publish"], m.PublishRequest(channel=channel, **fields))
            except DroppedError:
                self.metrics.errors[self.name] += 1
            except TryAgainError:
                self._remember(key, channels[index:])
                raise

    def _remember(self, key: tuple[str, int], left: list[str]) -> None:
        if key[0]:
            self._left[key] = left
        if len(self._left) > MOST_LEFT:
            del self._left[next(iter(self._left))]


def _key(message: Message, request: m.BroadcastRequest) -> tuple[str, int]:
    """What tells a message from others: a queue that is made anew gives its places again."""
    return message.place, hash((message.data, tuple(request.channels)))


def _outcome(error: ApiError) -> DroppedError | TryAgainError:
    """Error 100 is trouble of ours, unless the engine says that it can never be done."""
    if error.entry is INTERNAL and not isinstance(error.__cause__, EngineRefusal):
        return TryAgainError(str(error))
    return DroppedError(f"refused: {error}")


def _unwrapped(payload: Raw) -> bytes:
    """The request in an envelope: JSON, or a JSON string that holds it."""
    text = bytes(payload)
    if not text.lstrip().startswith(b'"'):
        return text
    try:
        return msgspec.json.decode(text, type=str).encode()
    except UNREADABLE as error:
        raise DecodeError(f"payload: {error}") from None

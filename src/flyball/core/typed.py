"""Channels whose publications are of one type, for clients and for the program itself."""

from __future__ import annotations

from fnmatch import translate
from re import compile as compile_pattern
from types import TracebackType
from typing import TYPE_CHECKING, Generic, Self, TypeVar, Unpack

from flyball.core.errors import ConfigError
from flyball.core.keywords import PublishKeywords, spell_out
from flyball.core.received import Publication
from flyball.core.types import PublishOptions, PublishResult, StreamPosition

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.decorators import PublishHandler, SubscribeHandler
    from flyball.core.listen import ChannelReader
    from flyball.core.node import Node

__all__ = ["TypedChannel", "TypedReader"]

T = TypeVar("T")


class TypedChannel(Generic[T]):
    """Channels of a pattern whose publications are of one type; made by :meth:`Node.channel`.

    ::

        chat = node.channel("chat:*", Message)

        @chat.on_publish
        def may_write(event: flyball.Publishing) -> flyball.PublishOptions:
            message = event.json(Message)     # it fits: others were refused with 107
            return flyball.PublishOptions()

        await chat.publish("chat:1", Message(text="hello"))
        async for message in chat.subscribe("chat:1"):
            print(message.text)
    """

    def __init__(self, node: Node, pattern: str, kind: type[T]) -> None:
        self._node = node
        self.pattern: str = pattern
        """Which channels; ``*`` and ``?`` as in the decorators."""
        self.kind: type[T] = kind
        """What their publications are."""
        self._matches = compile_pattern(translate(pattern)).match

    @property
    def on_publish(self) -> Callable[[PublishHandler], PublishHandler]:
        """Registers who decides about publications of clients that fit; see ``node.on_publish``."""
        return self._node.on_publish(self.pattern, schema=self.kind)

    @property
    def on_subscribe(self) -> Callable[[SubscribeHandler], SubscribeHandler]:
        """Registers who decides about subscriptions; see ``node.on_subscribe``."""
        return self._node.on_subscribe(self.pattern)

    @spell_out(PublishOptions)
    async def publish(
        self,
        channel: str,
        value: T,
        options: PublishOptions | None = None,
        **fields: Unpack[PublishKeywords],
    ) -> PublishResult:
        """Publishes a value; see :meth:`Node.publish`.

        Raises:
            ConfigError: ``channel`` is none of these.
            TypeError: ``value`` is not of the type, as far as its class tells.
        """
        self._check(channel)
        if isinstance(self.kind, type) and not isinstance(value, self.kind):
            message = f"publications of {self.pattern!r} are {self.kind.__name__}, not {value!r}"
            raise TypeError(message)
        return await self._node.publish(channel, value, options, **fields)

    def subscribe(
        self, channel: str, *, since: StreamPosition | None = None, max_waiting: int = 10000
    ) -> TypedReader[T]:
        """Makes this program a subscriber that gets values; see :meth:`Node.subscribe`.

        Raises:
            ConfigError: ``channel`` is none of these.
        """
        self._check(channel)
        reader = self._node.subscribe(channel, since=since, max_waiting=max_waiting)
        return TypedReader(reader, self.kind)

    def _check(self, channel: str) -> None:
        if self._matches(channel) is None:
            raise ConfigError(f"{channel!r} is no channel of {self.pattern!r}")


class TypedReader(Generic[T]):
    """Values of one channel, as an async iterator and async context manager.

    What is said of :class:`~flyball.ChannelReader` holds. A publication that does not fit raises
    ``Error`` 107, and the iteration may go on.
    """

    def __init__(self, reader: ChannelReader, kind: type[T]) -> None:
        self._reader = reader
        self._kind = kind
        self.publication: Publication | None = None
        """The publication that the last value was in."""

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> T:
        self.publication = publication = await anext(self._reader)
        return publication.json(self._kind)

    async def close(self) -> None:
        """Ends the subscription; a waiting iteration stops."""
        await self._reader.close()

    aclose = close
    """For ``contextlib.aclosing``, and where the reader is a feed."""

    async def __aenter__(self) -> Self:
        await self._reader.open()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

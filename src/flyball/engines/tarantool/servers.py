"""All servers of an engine: one shard, or channels spread over several."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from flyball.core.errors import ConfigError, EngineError, EngineRefusal, FlyballError
from flyball.engines.common.servers import SharedServers
from flyball.engines.tarantool.connection import FAULTS, TOO_LARGE, ReplyError, fault
from flyball.engines.tarantool.layout import CONTROL
from flyball.engines.tarantool.link import Link
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flyball.engines.tarantool.layout import Message
    from flyball.engines.tarantool.options import ShardOptions


class TarantoolServers(SharedServers["ShardOptions", Link]):
    """The shards of an engine, each by its link.

    Args:
        shards: where they are; the order counts.
    """

    def __init__(self, shards: Sequence[ShardOptions]) -> None:
        super().__init__("tarantool", shards)
        self.on_message: Callable[[Message], None] | None = None
        """Gets messages of channels."""
        self.on_control: Callable[[Message], None] | None = None
        """Gets messages between nodes."""

    async def _open(self, options: ShardOptions) -> Link:
        link = Link(options, self.status, self._take)
        try:
            await link.open()
        except FlyballError as error:
            raise ConfigError(f"cannot use Tarantool at {options}: {error}") from None
        return link

    def _take(self, message: Message) -> None:
        to = self.on_control if message[1] == CONTROL else self.on_message
        if to is not None:
            to(message)

    async def call(self, link: Link, what: str, *args: Any) -> Any:
        """Calls a function of the module; returns the list of its results.

        Raises:
            EngineError: it failed; the log was told.
            EngineRefusal: it is too large for the server.
        """
        # As few coroutines as can be: this is on the way of each publication.
        try:
            connection = link.connection
            answer = connection.send(what, args)
        except FlyballError as error:
            raise self.failure(error) from None
        try:
            return (await answer).body
        except FAULTS as error:
            raise self.failure(link.fault(fault(error, connection))) from None
        finally:
            connection.settled(answer)

    def failure(self, error: FlyballError) -> EngineError | EngineRefusal:
        """What the node is told of a failure."""
        if isinstance(error, ReplyError) and error.code == TOO_LARGE:
            return EngineRefusal(codes.LIMIT_EXCEEDED, detail=f"tarantool: {error}")
        return self.faults.error(str(error))

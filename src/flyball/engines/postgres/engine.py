"""The PostgreSQL engine as a program asks for it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.engine import Engine
from flyball.engines.postgres.broker import PostgresBroker
from flyball.engines.postgres.controller import PostgresController
from flyball.engines.postgres.database import Database
from flyball.engines.postgres.options import ControllerOptions, StreamOptions, parse_dsn

if TYPE_CHECKING:
    from flyball.core.broker import PresenceManager
    from flyball.engines.postgres.options import Server


class PostgresEngine(Engine):
    """Publications and control messages by PostgreSQL; applications publish in transactions.

    ``PostgresEngine("postgres://user:password@localhost/app")``; addresses are those of
    :func:`~flyball.engines.postgres.options.parse_dsn`, or a ready
    :class:`~flyball.engines.postgres.options.Server`. Presence is another engine's, the memory
    engine's if none is given.

    Raises:
        ConfigError: an address or an option is wrong.
    """

    __slots__ = ("database",)

    def __init__(
        self,
        server: str | Server,
        *,
        options: StreamOptions | None = None,
        controller: ControllerOptions | None = None,
        presence_manager: PresenceManager | None = None,
    ) -> None:
        options = options or StreamOptions()
        if controller is None:
            controller = ControllerOptions(
                table_prefix=options.table_prefix,
                use_notify=options.use_notify,
                skip_schema_init=options.skip_schema_init,
            )
        if isinstance(server, str):
            server = parse_dsn(server)
        self.database: Database = Database(server)
        broker = PostgresBroker(self.database, options)
        super().__init__(broker, presence_manager, PostgresController(self.database, controller))

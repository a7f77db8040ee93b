"""Settings of a PostgreSQL outbox."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from flyball.core.errors import ConfigError
from flyball.engines.postgres import Server

_IDENTIFIER: Final = r'(?:[^\W\d][\w$]*|"(?:[^"\x00]|"")+")'
_NAME: Final = re.compile(_IDENTIFIER)
_TABLE: Final = re.compile(rf"{_IDENTIFIER}(?:\.{_IDENTIFIER})?")


@dataclass(frozen=True, slots=True, kw_only=True)
class OutboxOptions:
    """Where the table is, and how it is read. Durations are seconds."""

    server: Server
    """The database; its ``notify_dsn`` is the way there for LISTEN."""
    table: str
    """Its name, with a schema if need be, as it stands in SQL."""
    num_partitions: int = 1
    """Partitions 0, 1 ...: each is read in order, by one node at a time."""
    select_limit: int = 100
    """Most rows of a partition that are done in one transaction."""
    poll_interval: float = 0.3
    """Time between looks for new rows."""
    notification_channel: str = ""
    """NOTIFY there, with the number of a partition, wakes it at once; empty: nobody listens."""
    use_try_lock: bool = False
    """A partition that another node reads is passed over; else we wait until it is free."""

    def __post_init__(self) -> None:
        if not _TABLE.fullmatch(self.table):
            raise ConfigError(
                f"outbox_table_name: {self.table!r} is no name of a table;"
                ' name, schema.name and "quoted" forms are allowed'
            )
        if self.notification_channel and not _NAME.fullmatch(self.notification_channel):
            raise ConfigError(
                f"partition_notification_channel: {self.notification_channel!r} is no name of a"
                ' channel; letters, digits, _ and "quoted" names are allowed'
            )
        for name, value in (
            ("num_partitions", self.num_partitions),
            ("partition_select_limit", self.select_limit),
            ("partition_poll_interval", self.poll_interval),
        ):
            if value <= 0:
                raise ConfigError(f"{name} is {value:g}; it must be above 0")

    @property
    def channel(self) -> str:
        """The notification channel as the database knows it: names without quotes are folded."""
        name = self.notification_channel
        return name[1:-1].replace('""', '"') if name.startswith('"') else name.lower()

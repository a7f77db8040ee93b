"""PostgreSQL as broker: a table is history and outbox, and applications write into it as well."""

from __future__ import annotations

import asyncio
import logging
import time
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final

from flyball.core.broker import Broker, NoEvents, at_work, take_lag
from flyball.core.errors import EngineRefusal, FlyballError
from flyball.core.types import (
    LONGEST_TTL,
    HistoryResult,
    Publication,
    PublishOptions,
    PublishResult,
    StreamPosition,
)
from flyball.engines.common.continuity import Continuity, tell_of_loss
from flyball.engines.postgres import rows
from flyball.engines.postgres.database import Database
from flyball.engines.postgres.outbox import Outbox
from flyball.engines.postgres.rows import Payloads
from flyball.engines.postgres.schema import BINARY, STREAM, apply, check, locate
from flyball.engines.postgres.upkeep import Upkeep
from flyball.engines.postgres.writer import Writer, statement
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from flyball.core.broker import BrokerEvents
    from flyball.core.types import ClientInfo, HistoryFilter, Raw
    from flyball.engines.common.continuity import Seen
    from flyball.engines.postgres.database import Connection
    from flyball.engines.postgres.options import Layout, StreamOptions
    from flyball.engines.postgres.schema import Tables

logger: Final = logging.getLogger("flyball.engine")

MOST_OFFSET: Final = 2**63 - 1
MOST_SIZE: Final = 2**31 - 1
NO_TTL_GIVEN: Final = PublishOptions().idempotency_ttl
NOWHERE: Final = StreamPosition(0, "")


class PostgresBroker(Broker):
    """Keeps publications in a table, and follows it.

    Args:
        database: where, shared with the other parts of the engine.
        options: how.
    """

    def __init__(self, database: Database, options: StreamOptions) -> None:
        self._database = database
        self._options = options
        self._payloads = Payloads(binary=options.binary_data)
        self._kind = BINARY if options.binary_data else STREAM
        self.outbox: Outbox = Outbox(
            database, options, self._kind, self._payloads.columns(), self._take
        )
        self.outbox.on_lost = self._lost
        self.outbox.on_restored = self._restored
        self.upkeep: Upkeep = Upkeep(database, options, options.stream_retention)
        self._writer = Writer(database, options.num_shards, self.outbox.wake)
        patience = database.server.io_timeout
        self._continuity: Continuity[Any] = Continuity(self._unchanged, self._deliver, patience)
        self._events: BrokerEvents | None = None
        self._channels: set[str] = set()
        self._told_of_retention = False

    # -- life

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self.outbox.problem or self._writer.problem

    async def start(self, events: BrokerEvents) -> None:
        """See :meth:`Broker.start`."""
        await self.close()
        await self._begin(events, follows=True)

    async def open_to_publish(self) -> None:
        """See :meth:`Broker.open_to_publish`: no table is followed or cleared up."""
        if self._events is not None:
            raise at_work()
        await self._begin(NoEvents(), follows=False)

    async def _begin(self, events: BrokerEvents, *, follows: bool) -> None:
        self._events = events
        await self._database.acquire()
        try:
            twin = STREAM if self._kind == BINARY else BINARY
            own = await prepared(self._database, self._options, self._kind, twin)
            payloads = self._payloads
            await self._writer.start(statement(own.start, payloads.type, payloads.column))
            if follows:
                await self.outbox.start(own)
        except BaseException:
            await self.close()
            raise
        if follows:
            self.upkeep.start(own)

    async def close(self) -> None:
        """See :meth:`Broker.close`."""
        if self._events is None:
            return
        self._events = None
        self._channels.clear()
        await self.upkeep.close()
        await self.outbox.close()
        await self._continuity.close()
        await self._writer.close()
        await self._database.release()

    def _lost(self, reason: str) -> None:
        # What comes when it is back waits until the streams were looked at.
        self._continuity.hold()
        if self._events is not None:
            self._events.on_broker_lost(reason)

    def _restored(self) -> None:
        self._continuity.look(self._tell_restored)

    def _tell_restored(self) -> None:
        if self._events is not None:
            self._events.on_broker_restored()

    def _check(self) -> None:
        """Raises EngineError at once while the database is away."""
        if self.outbox.problem or self._events is None:
            why = self.outbox.problem or "the engine is not started, or closed"
            raise self._database.faults.error(why)

    async def _ask(self, work: Callable[[Connection], Awaitable[Any]]) -> Any:
        """Does ``work``, in a task: asyncpg wants one.

        Raises:
            EngineError, EngineRefusal: it failed.
        """
        self._check()
        try:
            return await asyncio.ensure_future(self._database.run(work))
        except FlyballError as error:
            raise self._database.failed(error, codes.BAD_REQUEST.code) from None

    # -- subscriptions

    async def subscribe(self, channel: str) -> None:
        """See :meth:`Broker.subscribe`."""
        self._check()
        self._channels.add(channel)

    async def unsubscribe(self, channel: str) -> None:
        """See :meth:`Broker.unsubscribe`."""
        self._channels.discard(channel)
        self._continuity.forget(channel)

    def _take(self, found: list[Any]) -> None:
        for row in found:
            channel = row["channel"]
            if channel in self._channels and not self._continuity.holds(channel, row):
                self._deliver(channel, row)

    def _deliver(self, channel: str, row: Any) -> None:
        events = self._events
        if events is None:
            return
        kind = row["kind"]
        if kind == rows.PUBLICATION:
            self._publication(events, channel, row)
            return
        info = self._payloads.info(row)
        if info is None or kind not in (rows.JOIN, rows.LEAVE):
            logger.warning("row %d of channel %r is not understood", row["id"], channel)
        elif kind == rows.JOIN:
            events.on_join(channel, info)
        else:
            events.on_leave(channel, info)

    def _publication(self, events: BrokerEvents, channel: str, row: Any) -> None:
        offset, epoch = row["channel_offset"], row["epoch"]
        position = StreamPosition(offset, epoch) if offset else NOWHERE
        if offset and not self._continuity.saw(channel, offset, epoch, _identity(row)):
            # The stream went back: its place says so.
            self._continuity.hold()
            self._restored()
            return
        publication = self._payloads.publication(row, offset, epoch)
        publication.time = rows.milliseconds(row["created_at"])
        previous = None
        if row["delta"] and row["prev_data"] is not None:
            before = offset - 1
            data = self._payloads.read(row["prev_data"])
            previous = Publication(data=data, offset=before, epoch=epoch if before == 1 else "")
        events.on_publication(
            channel,
            publication,
            position,
            delta=row["delta"],
            previous=previous,
            lag=take_lag(publication, time.time()),
        )

    # -- publishing

    async def publish(self, channel: str, data: Raw, options: PublishOptions) -> PublishResult:
        """See :meth:`Broker.publish`."""
        self._check()
        if options.version > MOST_OFFSET:
            detail = f"version is {options.version}; up to {MOST_OFFSET} are kept"
            raise EngineRefusal(codes.BAD_REQUEST, detail=detail)
        kept = options.keeps_history
        if kept and options.history_ttl > self._options.stream_retention:
            self._tell_of_retention(options.history_ttl)
        values = (
            rows.PUBLICATION,
            self._payloads.write(data, "the payload"),
            rows.write_tags(options.tags),
            _seconds(options.history_ttl) if kept else 0.0,
            min(options.history_size, MOST_SIZE) if kept else 0,
            _seconds(options.history_meta_ttl or self._options.history_meta_ttl),
            options.version,
            options.version_epoch,
            options.idempotency_key,
            _seconds(self._key_ttl(options)),
            kept and options.delta,
            *self._who(options.info),
        )
        done = await self._writer.add(channel, values, len(data))
        return PublishResult(done.offset, done.epoch, done.suppressed)

    async def publish_join_leave(self, channel: str, info: ClientInfo, *, joined: bool) -> None:
        """See :meth:`Broker.publish_join_leave`."""
        self._check()
        kind = rows.JOIN if joined else rows.LEAVE
        nothing = (None, None, 0.0, 0, 0.0, 0, "", "", 0.0, False)
        values = (kind, *nothing, *self._who(info))
        await self._writer.add(channel, values, len(info.conn_info) + len(info.chan_info))

    def _who(self, info: ClientInfo | None) -> tuple[Any, ...]:
        if info is None:
            return None, None, None, None
        write = self._payloads.write_some
        conn_info = write(info.conn_info, "the connection's info")
        return info.client, info.user, conn_info, write(info.chan_info, "the subscription's info")

    def _key_ttl(self, options: PublishOptions) -> float:
        """The default of the field stands for that of the tables."""
        given = options.idempotency_ttl
        return self._options.idempotent_result_ttl if given == NO_TTL_GIVEN else given

    def _tell_of_retention(self, ttl: float) -> None:
        if not self._told_of_retention:
            self._told_of_retention = True
            logger.warning(
                "a history_ttl of %g s is more than broker.postgres.stream_retention, %g s:"
                " publications end with the latter",
                ttl,
                self._options.stream_retention,
            )

    # -- history

    async def history(self, channel: str, query: HistoryFilter) -> HistoryResult:
        """See :meth:`Broker.history`."""
        payloads = self._payloads
        selected = ", ".join(map(payloads.selected, ("out_data", "out_conn_info", "out_chan_info")))
        sql = (
            "SELECT out_offset, out_epoch, out_tags::text AS out_tags, out_client_id, out_user_id,"
            f" out_version, {selected} FROM {self.outbox.tables.start}read($1, $2, $3, $4, $5)"
        )
        arguments = (
            channel,
            min(query.limit, MOST_SIZE),
            None if query.since is None else min(query.since.offset, MOST_OFFSET),
            query.reverse,
            timedelta(seconds=_seconds(query.meta_ttl or self._options.history_meta_ttl)),
        )
        position, *found = await self._ask(lambda connection: connection.fetch(sql, *arguments))
        epoch = position["out_epoch"]
        publications = [
            payloads.publication(row, row["out_offset"], epoch, "out_") for row in found
        ]
        return HistoryResult(publications, StreamPosition(position["out_offset"], epoch))

    async def remove_history(self, channel: str) -> None:
        """See :meth:`Broker.remove_history`."""
        sql = f"SELECT {self.outbox.tables.start}remove_history($1, $2)"
        shards = self._options.num_shards
        await self._ask(lambda connection: connection.execute(sql, channel, shards))

    async def renew_epoch(self, channel: str, seen: StreamPosition) -> None:
        """See :meth:`Broker.renew_epoch`."""
        self._check()
        try:
            await asyncio.ensure_future(self._renew(channel, seen.epoch, seen.offset))
        except FlyballError as error:
            raise self._database.failed(error, codes.BAD_REQUEST.code) from None

    async def _renew(self, channel: str, epoch: str, offset: int) -> None:
        sql = (
            f"UPDATE {self.outbox.tables.start}meta SET history_from = top_offset,"
            " epoch = left(replace(gen_random_uuid()::text, '-', ''), 12)"
            " WHERE channel = $1 AND epoch = $2 AND top_offset < $3"
        )
        done = await self._database.run(
            lambda connection: connection.execute(sql, channel, epoch, offset)
        )
        if done != "UPDATE 0":
            tell_of_loss("PostgreSQL", channel, offset)

    async def _unchanged(self, channel: str, seen: Seen) -> bool:
        """Whether a stream still has the publication; if not it gets a fresh epoch."""
        tables = self.outbox.tables
        sql = (
            "SELECT m.top_offset, s.id, s.created_at"
            f" FROM {tables.start}meta m LEFT JOIN {tables.table} s ON s.channel = m.channel"
            " AND s.epoch = m.epoch AND s.channel_offset = $3 AND s.kind = 0"
            " WHERE m.channel = $1 AND m.epoch = $2 AND m.expires_at > clock_timestamp()"
        )
        row = await self._database.run(
            lambda connection: connection.fetchrow(sql, channel, seen.epoch, seen.offset)
        )
        if row is None:
            return True  # whoever follows the stream finds that out by itself
        if row["top_offset"] >= seen.offset and (row["id"] is None or _identity(row) == seen.hash):
            return True
        await self._renew(channel, seen.epoch, max(seen.offset, row["top_offset"] + 1))
        return False


async def prepared(database: Database, layout: Layout, kind: str, *others: str) -> Tables:
    """Makes or upgrades sets of tables, if the options say so, and checks the first one.

    Raises:
        ConfigError: they cannot be used.
    """

    async def work(connection: Connection) -> Tables:
        if not layout.skip_schema_init:
            days = layout.partition_lookahead_days
            for name in (kind, *others):
                tables = await locate(connection, name, layout.table_prefix)
                await apply(connection, tables, shards=layout.num_shards, ahead=days)
        tables = await locate(connection, kind, layout.table_prefix)
        await check(connection, tables, layout.num_shards)
        return tables

    return await database.first_contact(work)


def _identity(row: Any) -> int:
    """Tells a row from another one that took its place."""
    return hash((row["id"], row["created_at"]))


def _seconds(ttl: float) -> float:
    return min(ttl, LONGEST_TTL)

"""What is done for sessions from time to time, and at their end."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

from flyball.aio.tasks import do_all
from flyball.core.errors import Disconnect, Error
from flyball.core.events import Disconnected, SubRefreshing
from flyball.core.refresh import apply_sub_refresh, refresh_by_server
from flyball.protocol import codes

if TYPE_CHECKING:
    from flyball.core.membership import Membership
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session
    from flyball.core.subscription import Subscription
    from flyball.core.types import StreamPosition

logger: Final = logging.getLogger("flyball.core")

RETRY_DELAY = 10.0
"""Seconds, at most, until a position that could not be checked is looked at again."""
TOP_AGE = 1.0
"""Seconds for which a stream's top, once read, serves all subscribers of the channel."""
SECOND_LOOK = 1.0
"""Seconds until a position that seems behind is looked at again before it counts as lost."""


class SessionMaintenance:
    """Looks after sessions at presence intervals, and when they expire or end."""

    __slots__ = ("_membership", "_runtime", "_under_way")

    def __init__(self, runtime: Runtime, membership: Membership) -> None:
        self._runtime = runtime
        self._membership = membership
        self._under_way: set[Session] = set()

    async def run_maintenance(self, session: Session) -> None:
        """Prolongs presence, ends expired subscriptions, checks positions."""
        if session in self._under_way:
            return  # the store is slow: one at a time
        self._under_way.add(session)
        try:
            for sub in list(session.subscriptions.values()):
                if session.closed:
                    return
                if sub.live and not await self._expired(sub):
                    await self._prolong(sub)
                    await self._check_position(sub)
        except Disconnect as disconnect:
            session.disconnect(disconnect)
        finally:
            self._under_way.discard(session)

    async def _expired(self, sub: Subscription) -> bool:
        runtime = self._runtime
        if not sub.expire_deadline or runtime.clock.monotonic() < sub.expire_deadline:
            return False
        if not sub.options.client_side_refresh and runtime.handlers.on_sub_refresh.registered:
            try:
                asked = SubRefreshing(sub.session.connection, sub.channel)
                result = await runtime.handlers.sub_refresh(asked)
            except Disconnect:
                raise
            except Error as error:
                logger.warning("refresh of a subscription to %r failed: %s", sub.channel, error)
            except Exception as error:  # noqa: BLE001 - a handler that fails prolongs nothing
                message = "refresh of a subscription to %r failed"
                runtime.failures.log_failure(logger, "sub_refresh", error, message, sub.channel)
            else:
                if not result.over(runtime.clock.time()):
                    apply_sub_refresh(runtime, sub, result)
                    return False
        if sub.server_side:
            raise Disconnect(codes.DISCONNECT_SUB_EXPIRED)
        await self._membership.end(sub.session, sub.channel, codes.UNSUBSCRIBE_EXPIRED)
        return True

    async def _prolong(self, sub: Subscription) -> None:
        if not sub.present:
            return
        try:
            await self._membership.add_presence(sub)
        except (Error, OSError) as error:
            log_trouble(error, "cannot prolong presence in %r: %s", sub.channel, error)
        if not sub.live:  # left meanwhile: do not leave an entry behind
            await self._membership.remove_presence(sub)

    async def _check_position(self, sub: Subscription) -> None:
        runtime = self._runtime
        delay = runtime.options.channel_position_check_delay
        now = runtime.clock.monotonic()
        if not sub.live or not sub.positioned or not delay:
            return
        if now - sub.checked_at < delay and sub.suspect_offset < 0:
            return
        try:
            top = await self._top(sub, now)
        except (Error, OSError) as error:
            log_trouble(error, "cannot check the position in %r: %s", sub.channel, error)
            sub.session.look_again(runtime.spread(RETRY_DELAY))
            return
        if not sub.live:
            return
        if top.epoch != sub.epoch or (sub.suspect_offset == sub.offset < top.offset):
            await self._membership.lose_state(sub)
        elif top.offset > sub.offset:
            # Perhaps still on its way: lost only if the next look finds the same.
            sub.suspect_offset = sub.offset
            sub.session.look_again(SECOND_LOOK)
        else:
            sub.suspect_offset = -1
            sub.checked_at = now

    async def _top(self, sub: Subscription, now: float) -> StreamPosition:
        channel = self._membership.hub.channels[sub.channel]
        if channel.top is not None and now - channel.top_at < TOP_AGE:
            return channel.top
        top = await self._membership.read_top(sub)
        if channel.read_from <= now:
            channel.top, channel.top_at = top, now
        return top

    async def expire(self, session: Session) -> None:
        """The connection's time is over, unless the program prolongs it."""
        try:
            await refresh_by_server(self._runtime, session)
        except Disconnect as disconnect:
            session.disconnect(disconnect)
        except Error as error:
            logger.warning("refresh of client %s failed: %s", session.client_id, error)
            session.disconnect(Disconnect(codes.DISCONNECT_EXPIRED))
        except Exception as error:  # noqa: BLE001 - a handler that fails prolongs nothing
            message = "refresh of client %s failed"
            failures = self._runtime.failures
            failures.log_failure(logger, "refresh", error, message, session.client_id)
            session.disconnect(Disconnect(codes.DISCONNECT_EXPIRED))

    async def end_all_subscriptions(self, session: Session, disconnect: Disconnect) -> None:
        """Ends the subscriptions of a closed session and tells the program."""
        # The others' subscribes are still running and clean up by themselves.
        live = [sub for sub in session.subscriptions.values() if sub.live]
        # Out of all channels first: what follows may have to wait for the store.
        ends = [self._membership.end_live(sub, codes.UNSUBSCRIBE_DISCONNECT) for sub in live]
        for sub, steps in zip(live, ends, strict=True):
            try:
                await do_all(steps)
            except (Error, OSError) as error:
                log_trouble(error, "leaving %r failed: %s", sub.channel, error)
        ended = Disconnected(session.connection, disconnect.code, disconnect.reason)
        await self._runtime.handlers.disconnected(ended)


def log_trouble(error: Exception, text: str, *args: object) -> None:
    """Warns of a failure, unless whoever raised it has told the log."""
    if not getattr(error, "logged", False):
        logger.warning(text, *args)

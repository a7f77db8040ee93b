"""All sessions of a run, from the first byte to the end: who is there, and what they may ask."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.errors import Disconnect
from flyball.core.session import Session
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.hub import Hub
    from flyball.core.maintenance import SessionMaintenance
    from flyball.core.runtime import Runtime
    from flyball.core.session import CommandTable
    from flyball.core.transport import Transport


class SessionRegistry:
    """Opens sessions and follows them; see :class:`~flyball.core.session.SessionOwner`."""

    __slots__ = ("_hub", "_maintenance", "_runtime", "commands", "pending_sessions")

    def __init__(self, runtime: Runtime, hub: Hub, maintenance: SessionMaintenance) -> None:
        self._runtime = runtime
        self._hub = hub
        self._maintenance = maintenance
        self.commands: CommandTable = ()
        """Field of a command to its handler."""
        self.pending_sessions: dict[Session, None] = {}
        """Sessions that are not connected yet, or were refused."""

    def open(
        self, transport: Transport, headers: Mapping[str, str] | None, remote_addr: str
    ) -> Session:
        """A new session on ``transport``."""
        session = Session(self._runtime, self, transport, headers, remote_addr)
        transport.session = session
        transport.max_queue_size = self._runtime.options.queue_max_size
        self.pending_sessions[session] = None
        return session

    def same_user(self, session: Session) -> int:
        """How many connected sessions the session's user has on this node."""
        return len(self._hub.users.get(session.user, ()))

    def started(self, session: Session) -> None:
        """The session's credentials are known: it becomes visible."""
        self.pending_sessions.pop(session, None)
        self._hub.add_session(session)
        metrics, key = self._runtime.metrics, session.metrics_key
        metrics.connections_accepted[key] += 1
        metrics.connections_inflight[key] += 1
        metrics.actions["add_client"] += 1

    def refused(self, session: Session) -> None:
        """The session is no client any more: closed, or its connect refused after all."""
        if session.client_id in self._hub.sessions:
            metrics = self._runtime.metrics
            metrics.connections_inflight[session.metrics_key] -= 1
            metrics.actions["remove_client"] += 1
            self._hub.remove_session(session)

    def forget_all(self) -> None:
        """Counts no session and no subscription any more: they are out of reach."""
        inflight = self._runtime.metrics.subscriptions_inflight
        for session in [*self._hub.sessions.values(), *self.pending_sessions]:
            inflight[session.client_label] -= sum(
                sub.is_in_hub for sub in session.subscriptions.values()
            )
            self._runtime.timers.cancel(session)
            self.refused(session)
        self.pending_sessions.clear()

    def ended(self, session: Session, disconnect: Disconnect, *, connected: bool) -> None:
        """The session is closed: forgets it and ends its subscriptions."""
        runtime = self._runtime
        if disconnect.code != codes.DISCONNECT_CONNECTION_CLOSED.code:
            runtime.metrics.server_disconnects[disconnect.code] += 1
            if session.transport.has_close_codes:
                runtime.metrics.transport_closes[session.transport.name, disconnect.code] += 1
        self.pending_sessions.pop(session, None)
        self.refused(session)
        if connected and (session.subscriptions or runtime.handlers.on_disconnected.registered):
            ending = self._maintenance.end_all_subscriptions(session, disconnect)
            runtime.tasks.spawn(ending, "end of a session")

    def expired(self, session: Session) -> None:
        """The connection's time is over, unless the program prolongs it."""
        self._runtime.tasks.spawn(self._maintenance.expire(session), "expiry of a session")

    def maintain(self, session: Session) -> None:
        """The session's presence interval has passed."""
        work = self._maintenance.run_maintenance(session)
        self._runtime.tasks.spawn(work, "maintenance of a session", recurring=True)

    def check_positions(self) -> None:
        """The link between nodes was down: all positions are checked at once."""
        for session in self._hub.sessions.values():
            session.check_positions_soon()

    def disconnect_all(self, disconnect: Disconnect) -> None:
        """Ends every session."""
        for session in [*self._hub.sessions.values(), *self.pending_sessions]:
            session.disconnect(disconnect)

"""NATS as controller: messages between nodes."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.broker import Controller

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents
    from flyball.engines.nats.link import NatsLink, Subscription
    from flyball.engines.nats.subjects import Subjects


class NatsController(Controller):
    """Carries control messages by NATS.

    Args:
        link: to the servers, shared with the other parts of the engine.
        subjects: where to.
    """

    def __init__(self, link: NatsLink, subjects: Subjects) -> None:
        self._link = link
        self._subjects = subjects
        self._events: ControlEvents | None = None
        self._subscriptions: list[Subscription] = []

    @property
    def problem(self) -> str:
        """See :attr:`EnginePart.problem`."""
        return self._link.problem

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        await self.close()
        await self._link.acquire()
        self._events = events
        try:
            for subject in (self._subjects.control, self._subjects.node(node_id)):
                work = self._link.subscribe(subject, self._take)
                self._subscriptions.append(await self._link.ask(work))
        except BaseException:
            await self.close()
            raise

    def _take(self, _sub: Subscription, _subject: bytes, _headers: bytes, data: bytes) -> None:
        if self._events is not None:
            self._events.on_control(data)

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        to = self._subjects.node(node_id) if node_id else self._subjects.control
        await self._link.ask(self._link.publish(to, message))

    async def close(self) -> None:
        """See :meth:`EnginePart.close`."""
        if self._events is not None:
            self._events = None
            for subscription in self._subscriptions:
                self._link.unsubscribe(subscription)
            self._subscriptions.clear()
            await self._link.release()

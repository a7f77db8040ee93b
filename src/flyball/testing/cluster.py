"""Several nodes in one test that hear each other without a socket."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.core.broker import Controller

if TYPE_CHECKING:
    from flyball.core.broker import ControlEvents

__all__ = ["ControlBus"]


class ControlBus:
    """What connects the nodes of a test: give each a controller of its own.

    Example::

        bus = ControlBus()
        one, two = (Node(controller=bus.controller()) for _ in range(2))
        await one.start()
        await two.start()
        bus.cut(two.id)       # says and hears nothing any more
    """

    def __init__(self) -> None:
        self._ends: dict[str, ControlEvents] = {}
        self._cut: set[str] = set()

    def controller(self) -> Controller:
        """The end of the bus for one node."""
        return _End(self)

    def cut(self, node_id: str) -> None:
        """Messages to and from this node are lost from now on."""
        self._cut.add(node_id)

    def mend(self, node_id: str) -> None:
        """Ends :meth:`cut`."""
        self._cut.discard(node_id)

    def join(self, node_id: str, events: ControlEvents) -> None:
        """Adds a node."""
        self._ends[node_id] = events

    def leave(self, node_id: str) -> None:
        """Takes a node away."""
        self._ends.pop(node_id, None)

    def send(self, sender: str, message: bytes, node_id: str) -> None:
        """Delivers at once, unless sender or receiver is cut off."""
        for uid, events in list(self._ends.items()):
            if node_id in ("", uid) and not self._cut & {sender, uid}:
                events.on_control(message)


class _End(Controller):
    def __init__(self, bus: ControlBus) -> None:
        self._bus = bus
        self._node_id = ""

    async def start(self, events: ControlEvents, node_id: str) -> None:
        """See :meth:`Controller.start`."""
        self._node_id = node_id
        self._bus.join(node_id, events)

    async def publish_control(self, message: bytes, node_id: str = "") -> None:
        """See :meth:`Controller.publish_control`."""
        self._bus.send(self._node_id, message, node_id)

    async def close(self) -> None:
        """See :meth:`Controller.close`."""
        self._bus.leave(self._node_id)

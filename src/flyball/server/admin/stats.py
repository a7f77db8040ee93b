"""What the charts show: counters of every node, asked for once however many pages are open."""

from __future__ import annotations

import os
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.core.errors import Error
from flyball.server.api.shared import SharedAnswers

if TYPE_CHECKING:
    from collections.abc import Callable

    from flyball.core.node import Node
    from flyball.server.api.metrics import ApiMetrics
    from flyball.server.common.health import Health

__all__ = ["NodeStats", "Stats", "StatsPage"]

SURVEY: Final = "flyball_stats"
"""Name of the survey."""
PATIENCE: Final = 3.0
"""Seconds that other nodes have to answer."""
_STATM: Final = Path("/proc/self/statm")
"""Pages of this process (proc(5)): Linux alone has it."""


class NodeStats(msgspec.Struct, kw_only=True):
    """One node now. What is called ``_total`` grows from its start."""

    uid: str
    name: str
    version: str
    uptime: int
    """Seconds."""
    num_clients: int
    num_users: int
    num_channels: int
    num_subs: int
    received_total: int
    """Publications that the broker brought."""
    sent_total: int
    """Messages to clients, of any kind."""
    received_commands_total: int
    """Messages from clients, of any kind."""
    errors_total: int
    """Errors told to clients and API callers, and work that failed unseen."""
    broadcasts_total: int
    broadcast_seconds_total: float
    """Time that handing publications to subscribers took."""
    cpu_seconds_total: float
    """Of the process."""
    memory: int
    """Bytes of the process, 0 where the system does not tell."""
    problems: list[str]
    """What does not work now: its engine, consumers."""


class StatsPage(msgspec.Struct, kw_only=True):
    """All nodes at one time."""

    time: float
    """Unix seconds."""
    nodes: list[NodeStats]
    missing: str = ""
    """Why not all nodes are there."""


class Stats:
    """Answers for this node, and asks the others.

    Args:
        node: this one.
        api: what the server API counts.
        health: tells what does not work here.
    """

    def __init__(self, node: Node, api: ApiMetrics, health: Callable[[], Health]) -> None:
        self._node = node
        self._api = api
        self._health = health
        self._shared = SharedAnswers(node.clock)
        self._decoder = msgspec.json.Decoder(NodeStats)
        node.on_survey(SURVEY, lambda _asked: msgspec.json.encode(self.here()))

    def here(self) -> NodeStats:
        """This node."""
        node, metrics = self._node, self._node.metrics
        hub, spent = node.hub, metrics.broadcast_duration["publication"]
        return NodeStats(
            uid=node.id,
            name=node.options.name,
            version=node.options.version,
            uptime=int(node.uptime()),
            num_clients=hub.num_clients,
            num_users=hub.num_users,
            num_channels=hub.num_channels,
            num_subs=hub.num_subscriptions,
            received_total=metrics.messages_received["publication"],
            sent_total=sum(metrics.transport_sent.values()),
            received_commands_total=sum(metrics.transport_received.values()),
            errors_total=sum(metrics.reply_errors.values())
            + sum(metrics.background_failures.values())
            + sum(self._api.errors.values()),
            broadcasts_total=spent.count,
            broadcast_seconds_total=spent.total,
            cpu_seconds_total=time.process_time(),
            memory=memory(),
            problems=self._health().everything,
        )

    async def page(self) -> StatsPage:
        """All nodes; not older than a second."""
        return await self._shared.get(SURVEY, self._ask)

    async def _ask(self) -> StatsPage:
        page = StatsPage(time=self._node.clock.time(), nodes=[self.here()])
        try:
            answers = await self._node.survey(SURVEY, b"", timeout=PATIENCE)
        except (TimeoutError, Error) as error:
            page.missing = str(error)
            return page
        found = [self._decoder.decode(each.data) for each in answers.values() if not each.code]
        if len(found) < len(answers):
            page.missing = f"{len(answers) - len(found)} nodes are of another kind"
        page.nodes = sorted(found, key=lambda stats: (stats.name, stats.uid))
        return page


def memory() -> int:
    """Bytes of this process in memory.

    Read here, since collectors of metrics count open files too: that is slow where each of ten
    thousand connections is one.
    """
    try:
        pages = _STATM.read_text().split()[1]
    except (OSError, IndexError):
        return 0
    return int(pages) * os.sysconf("SC_PAGE_SIZE")

"""Measures what one of everything costs, and computes what a million of them need.

What the server pays for connections and deliveries comes from ``rtload`` with a server over Redis;
what Redis pays for operations, from its own counters; what nodes tell each other, from up to 50
nodes in one process. ``--update-docs`` puts the tables into docs/scaling.md.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import datetime as dt
import json
import math
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final, NamedTuple

import redis.asyncio
import uvloop
from measuring import DATA, KEPT, MISSED
from redis_rows import redis_server
from run import (
    API_KEY,
    BIN,
    ROOT,
    Server,
    build,
    flyball_command,
    free_port,
    machine,
    raise_file_limit,
    run_load,
    write_config,
)

import flyball
from flyball.core.broker import NoEvents
from flyball.core.cluster import INFO_INTERVAL
from flyball.core.types import ClientInfo, HistoryFilter, PublishOptions, StreamPosition, payload
from flyball.engines.redis import RedisEngine

PAGE: Final = ROOT / "docs" / "scaling.md"
MILLION: Final = 1_000_000
BUSY: Final = 0.6
"""How much of a core is used, so that peaks find room."""
PRESENCE_INTERVAL: Final = 27.0
"""Seconds between prolongations of a presence entry (``client.presence_update_interval``)."""
PING_INTERVAL: Final = 25.0
"""Seconds between pings of a client (``client.ping_interval``)."""
KEPT_IN_EACH: Final = 10
"""Publications in the history of a channel."""
CONNECTIONS_A_WORKER: Final = 50_000
"""More than that in one process, and its end is felt by too many."""
CLUSTERS: Final = (1, 2, 5, 10, 20, 50)
"""Numbers of nodes."""


class Cost(NamedTuple):
    """What one operation costs."""

    commands: float
    """That Redis gets, scripts and what they call."""
    redis: float
    """Microseconds of Redis' CPU."""
    node: float
    """Microseconds of CPU here."""
    sent: float
    """Bytes to Redis."""
    received: float
    """Bytes from Redis."""


class Talk(NamedTuple):
    """What nodes that do nothing tell each other."""

    nodes: int
    messages: float
    """Control messages in a second that all nodes get."""
    node: float
    """Percent of a core that each node spends on it."""
    redis: float
    """Percent of a core that Redis spends on it."""
    survey: float
    """Milliseconds until all have answered, CPU of all nodes on one core."""


@dataclass
class Figures:
    """All that is measured."""

    costs: dict[str, Cost] = field(default_factory=dict)
    bytes: dict[str, float] = field(default_factory=dict)
    """Of what is kept."""
    server: dict[str, float] = field(default_factory=dict)
    """Microseconds of the server's CPU."""
    talk: list[Talk] = field(default_factory=list)


# -- Redis


class Redis:
    """The server's own counters."""

    def __init__(self, path: str) -> None:
        self.client: Any = redis.asyncio.Redis(unix_socket_path=path, protocol=3)

    async def counters(self) -> tuple[float, float, float, float]:
        """Commands, microseconds of CPU, bytes that came, bytes that went."""
        info = await self.client.info("everything")
        stats = {k: v for k, v in info.items() if k.startswith("cmdstat_")}
        calls = sum(value["calls"] for value in stats.values())
        cpu = (info["used_cpu_sys"] + info["used_cpu_user"]) * 1e6
        return calls, cpu, info["total_net_input_bytes"], info["total_net_output_bytes"]

    async def memory(self) -> float:
        """Bytes in use."""
        return float((await self.client.info("memory"))["used_memory"])


async def cost_of(server: Redis, number: int, work: Callable[[int], Awaitable[Any]]) -> Cost:
    """Does it ``number`` times, 100 at a time."""
    before, cpu = await server.counters(), time.process_time()
    for start in range(0, number, 100):
        await asyncio.gather(*(work(n) for n in range(start, start + 100)))
    node = (time.process_time() - cpu) * 1e6 / number
    calls, busy, sent, received = (
        (now - then) / number for then, now in zip(before, await server.counters(), strict=True)
    )
    return Cost(calls, busy, node, sent, received)


@contextlib.asynccontextmanager
async def engine_on(path: str) -> AsyncIterator[tuple[Any, Any]]:
    """Broker and presence manager of an engine."""
    engine = RedisEngine(f"unix://{path}")
    assert engine.broker is not None
    assert engine.presence_manager is not None
    await engine.broker.start(NoEvents())
    await engine.presence_manager.start()
    yield engine.broker, engine.presence_manager
    await engine.presence_manager.close()
    await engine.broker.close()


async def measure_redis(found: Figures, number: int) -> None:
    """Operations of an engine, and what Redis keeps of them."""
    async with redis_server() as path:
        server = Redis(path)
        async with engine_on(path) as (broker, presence), engine_on(path) as (other, _):
            await _publishing(found, server, broker, other, number)
            await _presence(found, server, presence, number)
            await _subscribing(found, server, broker, number)
        await server.client.aclose()


async def _publishing(found: Figures, server: Redis, broker: Any, other: Any, number: int) -> None:
    data, plain = payload(DATA), PublishOptions()
    costs = found.costs
    costs["publish"] = await cost_of(server, number, lambda n: broker.publish(f"a{n}", data, plain))
    await other.subscribe("heard")
    costs["publish, heard by a node"] = await cost_of(
        server, number, lambda _: broker.publish("heard", data, plain)
    )
    before = await server.memory()
    costs["publish with history"] = await cost_of(
        server, number, lambda n: broker.publish(f"k{n}", data, KEPT)
    )
    found.bytes["channel with one publication"] = (await server.memory() - before) / number
    before = await server.memory()
    for _ in range(KEPT.history_size):
        top = await broker.publish("deep", data, KEPT)
    found.bytes["each further publication"] = (await server.memory() - before) / KEPT.history_size
    since = HistoryFilter(since=StreamPosition(top.offset - MISSED, top.epoch))
    costs[f"recover {MISSED} publications"] = await cost_of(
        server, number // 10, lambda _: broker.history("deep", since)
    )
    position = HistoryFilter(limit=0)
    costs["position of a stream"] = await cost_of(
        server, number, lambda n: broker.history(f"k{n}", position)
    )


async def _presence(found: Figures, server: Redis, presence: Any, number: int) -> None:
    infos = [ClientInfo(f"user{n}", f"{n:036d}") for n in range(number)]
    channels = [f"p{n // 100}" for n in range(number)]

    async def add(n: int) -> None:
        await presence.add_presence(channels[n], infos[n].client, infos[n])

    before = await server.memory()
    found.costs["presence: add"] = await cost_of(server, number, add)
    found.bytes["presence entry"] = (await server.memory() - before) / number
    found.costs["presence: prolong"] = await cost_of(server, number, add)
    found.costs["presence: read 100"] = await cost_of(
        server, number // 10, lambda n: presence.presence(channels[n])
    )
    found.costs["presence: remove"] = await cost_of(
        server,
        number,
        lambda n: presence.remove_presence(channels[n], infos[n].client, infos[n].user),
    )


async def _subscribing(found: Figures, server: Redis, broker: Any, number: int) -> None:
    before = await server.memory()
    found.costs["first subscriber of a channel"] = await cost_of(
        server, number, lambda n: broker.subscribe(f"s{n}")
    )
    found.bytes["channel that a node listens to"] = (await server.memory() - before) / number


# -- nodes


async def measure_talk(found: Figures, seconds: float) -> None:
    """Nodes in one process that do nothing but know each other."""
    for number in CLUSTERS:
        async with redis_server() as path:
            server = Redis(path)
            nodes = [
                flyball.Node(clients=False, engine=RedisEngine(f"unix://{path}"))
                for _ in range(number)
            ]
            async with contextlib.AsyncExitStack() as stack:
                for node in nodes:
                    await stack.enter_async_context(node)
                while any(node.num_nodes != number for node in nodes):  # noqa: ASYNC110 - no sign
                    await asyncio.sleep(0.1)
                found.talk.append(await _talk_of(nodes, server, seconds))
            await server.client.aclose()


async def _talk_of(nodes: list[flyball.Node], server: Redis, seconds: float) -> Talk:
    def heard() -> int:
        return sum(node.metrics.messages_received["control"] for node in nodes)

    before, cpu, counters = heard(), time.process_time(), await server.counters()
    await asyncio.sleep(seconds)
    messages, cpu = heard() - before, time.process_time() - cpu
    busy = (await server.counters())[1] - counters[1]
    start = time.process_time()
    for _ in range(10):
        await nodes[0].channels()
    survey = (time.process_time() - start) * 100
    return Talk(
        len(nodes),
        messages / seconds,
        cpu / seconds / len(nodes) * 100,
        busy / seconds / 1e4,
        survey,
    )


# -- the server


def cpu_of(pid: int) -> float:
    """Seconds of CPU that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    import os

    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def serving(redis_path: str) -> Iterator[Server]:
    """A server over Redis."""
    with tempfile.TemporaryDirectory(prefix="flyball-bench-") as name:
        folder, port = Path(name), free_port()
        file = write_config(folder, port)
        config = json.loads(file.read_text())
        config["engine"] = {"type": "redis", "redis": {"address": f"unix://{redis_path}"}}
        config["client"]["ping_interval"] = "5s"
        config["client"]["pong_timeout"] = "3s"
        file.write_text(json.dumps(config))
        server = Server([*flyball_command(), "-c", str(file)], port, folder, health=True)
        try:
            yield server
        finally:
            server.stop()


async def measure_server(found: Figures, clients: int, seconds: int) -> None:
    """Connections and deliveries."""
    loads = {
        "connect": ("--mode", "connect", "--window", "50"),
        "delivery, one to 1000": ("--mode", "fanout", "--conns", "1000", "--rate", "100"),
        "delivery, one to one": (
            *("--mode", "direct", "--conns", "1000", "--rate", "2000", "--publishers", "4"),
            *("--channel", "hist:"),
        ),
    }
    async with redis_server() as path:
        for title, load in loads.items():
            with serving(path) as server:
                answer = await asyncio.to_thread(run_load, server, load, seconds)
            found.server[title] = answer["cpu_us_per_op"]
            if title == "delivery, one to one":
                found.bytes["delivery to a client, on the wire"] = answer["bytes_in_per_op"]
        with serving(path) as server:
            await asyncio.to_thread(_idle, found, server, clients)


def _idle(found: Figures, server: Server, clients: int) -> None:
    watched = 20
    command = [str(BIN / "rtload"), "--port", str(server.port), "--pid", str(server.process.pid)]
    command += ["--apikey", API_KEY, "--mode", "idle", "--conns", str(clients), "--verbose"]
    load = subprocess.Popen(
        [*command, "--seconds", str(watched + 2)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert load.stderr is not None
    if not load.stderr.readline().startswith(f"ready {clients} failed 0"):
        sys.exit(f"bench: clients cannot connect: {server.tail()}")
    before, pings = cpu_of(server.process.pid), clients * watched / 5
    time.sleep(watched)
    found.server["ping and pong"] = (cpu_of(server.process.pid) - before) * 1e6 / pings
    answer = json.loads(load.communicate()[0])
    found.bytes["connection with one channel, in the node"] = answer["pss_kb_per_conn"] * 1024


# -- what a million needs


class Need(NamedTuple):
    """One line of what is needed."""

    what: str
    personal: str
    """With a channel for each connection."""
    rooms: str
    """With channels of a thousand."""


class Scenario:
    """A million connections, and a million deliveries in a second.

    Args:
        found: what was measured.
        channels: over which the connections are spread evenly.
    """

    def __init__(self, found: Figures, channels: int) -> None:
        cost = found.costs
        self.channels = channels
        size = MILLION // channels
        self.published = MILLION / size
        delivery = "delivery, one to one" if size == 1 else "delivery, one to 1000"
        seconds = found.server
        presence = MILLION / PRESENCE_INTERVAL
        prolong = cost["presence: prolong"]
        self.pings = MILLION / PING_INTERVAL * seconds["ping and pong"] / 1e6
        self.deliveries = MILLION * seconds[delivery] / 1e6
        self.upkeep = presence * prolong.node / 1e6
        self.node_cores = (self.pings + self.deliveries + self.upkeep) / BUSY
        by_memory = MILLION / CONNECTIONS_A_WORKER
        self.workers = math.ceil(max(self.node_cores, by_memory))
        self.control = self.workers**2 / INFO_INTERVAL
        alone, most = found.talk[0], found.talk[-1]
        extra = most.node * most.nodes - alone.node + most.redis - alone.redis
        self.control_cores = self.control * max(extra, 0.0) / 100 / most.messages
        kept = cost["publish with history"]
        spread = cost["publish, heard by a node"].redis - cost["publish"].redis
        # The one channel of a client is heard by one node, a room by all of them.
        heard = 1 if size == 1 else min(self.workers, size)
        self.redis_publish = self.published * kept.redis / 1e6
        self.redis_spread = self.published * heard * max(spread, 0.0) / 1e6
        self.redis_presence = presence * prolong.redis / 1e6
        self.redis_cores = (self.redis_publish + self.redis_spread + self.redis_presence) / BUSY
        self.heard = self.published * heard
        kinds = found.bytes
        self.network = MILLION * kinds["delivery to a client, on the wire"] * 8
        self.node_memory = MILLION * kinds["connection with one channel, in the node"]
        self.redis_memory = (
            channels * kinds["channel with one publication"]
            + channels * (KEPT_IN_EACH - 1) * kinds["each further publication"]
            + MILLION * kinds["presence entry"]
            + channels * heard * kinds["channel that a node listens to"]
        )


def needs(found: Figures) -> list[Need]:
    """The table of what is needed."""
    personal, rooms = Scenario(found, MILLION), Scenario(found, MILLION // 1000)

    def both(what: str, show: Callable[[Scenario], str]) -> Need:
        return Need(what, show(personal), show(rooms))

    return [
        both("channels", lambda s: f"{s.channels:,}"),
        both(
            f"publications in a second; the history keeps {KEPT_IN_EACH}",
            lambda s: f"{s.published:,.0f}",
        ),
        both("cores of nodes: pings", lambda s: f"{s.pings:.1f}"),
        both("cores of nodes: presence", lambda s: f"{s.upkeep:.1f}"),
        both("cores of nodes: publishing and delivering", lambda s: f"{s.deliveries:.1f}"),
        both(
            f"**workers**, {BUSY:.0%} busy, at most {CONNECTIONS_A_WORKER:,} connections each",
            lambda s: f"**{s.workers}**",
        ),
        both("network to clients", lambda s: f"{s.network / 1e9:.1f} Gbit/s"),
        both("memory of all nodes", lambda s: f"{s.node_memory / 1e9:.1f} GB"),
        both("messages from Redis to nodes in a second", lambda s: f"{s.heard:,.0f}"),
        both("cores of Redis: publishing", lambda s: f"{s.redis_publish:.2f}"),
        both("cores of Redis: spreading", lambda s: f"{s.redis_spread:.2f}"),
        both("cores of Redis: presence", lambda s: f"{s.redis_presence:.2f}"),
        both(
            f"**Redis servers** (shards), {BUSY:.0%} busy",
            lambda s: f"**{math.ceil(s.redis_cores)}**",
        ),
        both("memory of all Redis servers", lambda s: f"{s.redis_memory / 1e9:.1f} GB"),
        both("control messages that arrive in a second", lambda s: f"{s.control:,.0f}"),
        both("cores for them, nodes and Redis together", lambda s: f"{s.control_cores:.2f}"),
    ]


# -- the page


def measured(found: Figures) -> str:
    """What one of everything costs."""
    lines = ["| by the server, over Redis | CPU |", "|---|---|"]
    lines += [f"| {title} | {value:.1f} µs |" for title, value in found.server.items()]
    lines += ["", "| kept | bytes |", "|---|---|"]
    lines += [f"| {title} | {value:,.0f} |" for title, value in found.bytes.items()]
    head = "| operation of the engine | commands | CPU of Redis | CPU of the node | bytes to Redis | from it |"
    lines += ["", head, "|---|---|---|---|---|---|"]
    lines += [
        f"| {title} | {cost.commands:.1f} | {cost.redis:.1f} µs | {cost.node:.1f} µs"
        f" | {cost.sent:,.0f} | {cost.received:,.0f} |"
        for title, cost in found.costs.items()
    ]
    head = "| nodes | control messages that arrive | CPU of each node | CPU of Redis | CPU of a survey, all nodes |"
    lines += ["", head, "|---|---|---|---|---|"]
    lines += [
        f"| {t.nodes} | {t.messages:,.1f}/s | {t.node:.3f} % | {t.redis:.2f} % | {t.survey:.1f} ms |"
        for t in found.talk
    ]
    return "\n".join(lines)


def computed(found: Figures) -> str:
    """What a million needs."""
    head = "| 1,000,000 connections, 1,000,000 deliveries/s | a channel each | channels of 1000 |"
    rows = [f"| {need.what} | {need.personal} | {need.rooms} |" for need in needs(found)]
    return "\n".join([head, "|---|---|---|", *rows])


def blocks(found: Figures) -> dict[str, str]:
    """Name of a place in the page to what stands there."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    return {
        "measured": f"{today}, {machine()}, Redis on a unix socket:\n\n{measured(found)}",
        "needed": computed(found),
    }


def update_page(found: Figures) -> None:
    """Puts the tables between the marks of the page."""
    text = PAGE.read_text(encoding="utf-8")
    for name, block in blocks(found).items():
        start, end = f"<!-- scale:{name} -->", f"<!-- scale:{name}:end -->"
        before, _, rest = text.partition(start)
        _, mark, after = rest.partition(end)
        if not mark:
            sys.exit(f"bench: {PAGE.name} has no {start} … {end}")
        text = f"{before}{start}\n{block}\n{end}{after}"
    PAGE.write_text(text, encoding="utf-8")


async def measure(options: argparse.Namespace) -> Figures:
    """Everything."""
    found = Figures()
    quick = options.quick
    clients = min(2000 if quick else options.clients, raise_file_limit() - 200)
    await measure_server(found, clients, 2 if quick else 5)
    await measure_redis(found, 2000 if quick else 20_000)
    await measure_talk(found, INFO_INTERVAL * (1 if quick else 4))
    return found


def main() -> int:
    """Reads the arguments, and runs."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="less of everything")
    parser.add_argument("--clients", type=int, default=10_000, help="idle clients (default 10000)")
    parser.add_argument("--update-docs", action="store_true", help=f"renew {PAGE.name}")
    options = parser.parse_args()
    build()
    found = uvloop.run(measure(options))
    print("\n\n".join(blocks(found).values()))
    if options.update_docs:
        update_page(found)
    return 0


if __name__ == "__main__":
    sys.exit(main())

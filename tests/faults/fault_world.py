"""Three nodes on one Redis, an auditor at them, and what may happen to all of them."""

import asyncio
import contextlib
import json
import os
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest
from ports import free_ports
from processes import FLYBALL, Program
from toxic import Toxic
from waiting import PATIENCE, until

from flyball.cli.audit import AuditOptions, Auditor

ROUNDS = int(os.environ.get("FLYBALL_FAULT_ROUNDS", "2"))
"""Rounds of each fault; ``make test-faults`` makes more."""
KEY = "secret"


def redis_sections(address, **redis):
    """Configuration of a Redis engine whose links give up early."""
    timeouts = {"io_timeout": "800ms", "connect_timeout": "500ms"}
    return {"engine": {"type": "redis", "redis": {"address": address, **timeouts, **redis}}}


def nats_sections(url, kind="nats", **sections):
    """Configuration of a NATS broker whose link gives up early."""
    nats = {"url": url, "dial_timeout": "500ms", "write_timeout": "800ms"}
    nats["jetstream"] = {
        "enabled": kind == "nats",
        "request_timeout": "2s",
        **sections.pop("jetstream", {}),
    }
    return {"broker": {"enabled": True, "type": kind, "nats": nats, **sections}}


def postgres_sections(url, **postgres):
    """Configuration of a PostgreSQL broker and controller whose links give up early."""
    timeouts = {"io_timeout": "2s", "connect_timeout": "2s"}
    both = {"dsn": url, "use_notify": True, **timeouts, **postgres}
    return {
        name: {"enabled": True, "type": "postgres", "postgres": both}
        for name in ("broker", "controller")
    }


def tarantool_sections(*addresses, **tarantool):
    """Configuration of a Tarantool engine whose links give up early."""
    timeouts = {"io_timeout": "800ms", "connect_timeout": "500ms"}
    section = {"address": list(addresses), **timeouts, **tarantool}
    return {"engine": {"type": "tarantool", "tarantool": section}}


class Nodes:
    """Server processes that share an engine: a Redis at ``address``, or what ``sections`` say.

    Args:
        clocks: seconds that the clock of each node is wrong by.
    """

    def __init__(self, address=None, count=3, *, sections=None, clocks=(), **redis):
        self.clocks = clocks
        self.folder = tempfile.TemporaryDirectory(prefix="flyball-nodes-")
        self.ports = free_ports(count)
        config = {
            "client": {
                "insecure": True,
                "allowed_origins": [],
                "presence_update_interval": "1s",
            },
            "http_api": {"key": KEY},
            "health": {"enabled": True},
            "channel": {
                "namespaces": [
                    {
                        "name": "audit",
                        "history_size": 100000,
                        "history_ttl": "300s",
                        "allow_recovery": True,
                        "force_recovery": True,
                        "presence": True,
                        "allow_subscribe_for_client": True,
                        "allow_subscribe_for_anonymous": True,
                    }
                ]
            },
            **(sections or redis_sections(address, **redis)),
        }
        self.config = Path(self.folder.name) / "config.json"
        self.config.write_text(json.dumps(config))
        self.programs = [None] * count
        try:
            for index in range(count):
                self.start(index)
            for program in self.programs:
                program.wait_for(lambda program=program: '"started"' in program.output)
        except BaseException:
            self.stop()
            raise

    def start(self, index):
        port = self.ports[index]
        self.programs[index] = Program(
            str(FLYBALL),
            *("-c", str(self.config), "--http_server.port", str(port)),
            cwd=self.folder.name,
            env={**os.environ, **(wrong_clock(self.clocks[index]) if self.clocks else {})},
        )

    def kill(self, index):
        self.programs[index].kill()

    def options(self, **changes):
        return AuditOptions(
            websockets=tuple(f"ws://127.0.0.1:{p}/connection/websocket" for p in self.ports),
            apis=tuple(f"http://127.0.0.1:{p}/api" for p in self.ports),
            api_key=KEY,
            **{"channels": ("audit:1", "audit:2"), "interval": 0.002, "quiet": 30.0, **changes},
        )

    def health(self, index):
        """Status of a node's health endpoint, 0 if it does not answer."""
        url = f"http://127.0.0.1:{self.ports[index]}/health"
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:
                return answer.status
        except urllib.error.HTTPError as error:
            return error.code
        except OSError:
            return 0

    async def all_health(self, status):
        """Waits until all nodes answer with that."""
        for index, program in enumerate(self.programs):
            end = time.monotonic() + PATIENCE
            while (found := await asyncio.to_thread(self.health, index)) != status:
                last = "".join(program.lines[-20:])
                assert time.monotonic() < end, f"node {index} is {found}, not {status}: {last}"
                await asyncio.sleep(0.02)

    def output(self):
        """What all of them have said."""
        return "".join(program.output for program in self.programs)

    def stop(self):
        for program in filter(None, self.programs):
            program.kill()
        self.folder.cleanup()


@contextlib.asynccontextmanager
async def audited(nodes, **changes):
    """An auditor at work; in the end it must have found nothing wrong."""
    async with Auditor(nodes.options(**changes)) as auditor:
        await progress(auditor)
        yield auditor
        await progress(auditor)
        report = await auditor.end()
        assert report.passed, report.violations
        assert report.acknowledged > 0


async def nodes_are_killed(nodes):
    """One after the other, without warning; each comes back."""
    async with audited(nodes) as auditor:
        for number in range(ROUNDS):
            index = number % len(nodes.ports)
            nodes.kill(index)
            await progress(auditor)
            nodes.start(index)
            await nodes.all_health(200)
            await progress(auditor)


async def clocks_differ(sections, *, presence=3):
    """Nodes whose clocks are wrong by more than anything lives act as one all the same.

    ``presence``: how many of a channel's three clients, one at each node, a node knows of.
    """
    nodes = await asyncio.to_thread(Nodes, sections=sections, clocks=(0, 900, -900))
    try:
        async with audited(nodes) as auditor:
            for index in range(len(nodes.ports)):
                nodes.kill(index)
                await progress(auditor)
                nodes.start(index)
                await nodes.all_health(200)
                await progress(auditor)
            for api in auditor.options.apis:
                end = time.monotonic() + PATIENCE
                while (seen := await asyncio.to_thread(clients, api)) != presence:
                    assert time.monotonic() < end, f"{api} sees {seen} clients"
                    await asyncio.sleep(0.02)
    finally:
        nodes.stop()


def clients(api, channel="audit:1"):
    """How many clients of a channel a node knows of."""
    body = json.dumps({"channel": channel}).encode()
    request = urllib.request.Request(f"{api}/presence_stats", body, {"X-API-Key": KEY})
    with urllib.request.urlopen(request, timeout=5) as answer:
        return json.load(answer)["result"]["num_clients"]


def wrong_clock(seconds):
    """Environment of a program whose clock is wrong; time goes on at the right speed."""
    library = next(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"), None)
    if library is None:
        hint = "there is no libfaketime: apt install faketime"
        (pytest.fail if os.environ.get("CI") else pytest.skip)(hint)
    return {
        "LD_PRELOAD": str(library),
        "FAKETIME": f"{seconds:+d}s",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
    }


async def the_network_breaks(port, sections):
    """What is between the nodes and the server at ``port`` is cut, stands still, and is slow.

    ``sections`` makes the configuration of nodes that reach it by another port.
    """
    toxic = await Toxic(port).start()
    nodes = await asyncio.to_thread(Nodes, sections=sections(toxic.port))
    try:
        async with audited(nodes) as auditor:
            for number in range(ROUNDS):
                if number % 2:  # nothing comes through, and nobody is told
                    toxic.blocked.clear()
                    await nodes.all_health(503)
                    toxic.blocked.set()
                else:
                    toxic.refuse = True
                    toxic.cut()
                    await nodes.all_health(503)
                    toxic.refuse = False
                await nodes.all_health(200)
                await progress(auditor)
            toxic.delay = 0.02
            await progress(auditor)
    finally:
        nodes.stop()
        await toxic.stop()


async def progress(auditor, count=60):
    """Waits until so many more publications were acknowledged."""
    goal = auditor.acknowledged() + count
    await until(lambda: auditor.acknowledged() >= goal, "progress of the audit")

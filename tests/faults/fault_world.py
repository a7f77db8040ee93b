"""Three nodes on one Redis, an auditor at them, and what may happen to all of them."""

import asyncio
import contextlib
import json
import os
import tempfile
import urllib.error
import urllib.request
from pathlib import Path

from ports import free_ports
from processes import FLYBALL, Program
from waiting import until

from flyball.cli.audit import AuditOptions, Auditor

ROUNDS = int(os.environ.get("FLYBALL_FAULT_ROUNDS", "2"))
"""Rounds of each fault; ``make test-faults`` makes more."""
KEY = "secret"


class Nodes:
    """Server processes that share a Redis."""

    def __init__(self, address, count=3, **redis):
        self.folder = tempfile.TemporaryDirectory(prefix="flyball-nodes-")
        self.ports = free_ports(count)
        config = {
            "client": {"insecure": True, "allowed_origins": []},
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
                        "allow_subscribe_for_client": True,
                        "allow_subscribe_for_anonymous": True,
                    }
                ]
            },
            "engine": {
                "type": "redis",
                "redis": {
                    "address": address,
                    "io_timeout": "800ms",
                    "connect_timeout": "500ms",
                    **redis,
                },
            },
        }
        self.config = Path(self.folder.name) / "config.json"
        self.config.write_text(json.dumps(config))
        self.programs = [None] * count
        for index in range(count):
            self.start(index)
        for program in self.programs:
            program.wait_for(lambda program=program: '"started"' in program.output)

    def start(self, index):
        port = self.ports[index]
        self.programs[index] = Program(
            str(FLYBALL),
            *("-c", str(self.config), "--http_server.port", str(port)),
            cwd=self.folder.name,
        )

    def kill(self, index):
        self.programs[index].kill()

    def options(self, **changes):
        return AuditOptions(
            websockets=tuple(f"ws://127.0.0.1:{p}/connection/websocket" for p in self.ports),
            apis=tuple(f"http://127.0.0.1:{p}/api" for p in self.ports),
            api_key=KEY,
            channels=("audit:1", "audit:2"),
            interval=0.002,
            quiet=30.0,
            **changes,
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
        for index in range(len(self.ports)):
            while await asyncio.to_thread(self.health, index) != status:
                await asyncio.sleep(0.02)

    def stop(self):
        for program in self.programs:
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


async def progress(auditor, count=60):
    """Waits until so many more publications were acknowledged."""
    goal = auditor.acknowledged() + count
    await until(lambda: auditor.acknowledged() >= goal, "progress of the audit")


class Toxic:
    """A TCP proxy in front of a server: it can be cut, stopped, and slowed down."""

    def __init__(self, port):
        self.target = port
        self.blocked = asyncio.Event()
        self.blocked.set()
        self.delay = 0.0
        self.refuse = False
        self._writers = set()
        self._tasks = set()

    async def start(self):
        self.server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def _serve(self, reader, writer):
        if self.refuse:
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", self.target)
        self._writers |= {writer, back}
        for source, sink in ((reader, back), (there, writer)):
            task = asyncio.create_task(self._pump(source, sink))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    async def _pump(self, source, sink):
        with contextlib.suppress(OSError):
            while data := await source.read(65536):
                await self.blocked.wait()
                if self.delay:
                    await asyncio.sleep(self.delay)
                sink.write(data)
                await sink.drain()
        sink.close()

    def cut(self):
        """Ends all connections."""
        for writer in self._writers:
            writer.transport.abort()
        self._writers.clear()

    async def stop(self):
        self.refuse = True
        self.blocked.set()
        self.server.close()
        self.cut()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

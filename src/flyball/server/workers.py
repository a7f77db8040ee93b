"""Several processes as one server: a supervisor starts them on one port and keeps them running.

The supervisor serves nothing itself. Workers share all ports (``SO_REUSEPORT``) and an engine: the
configured one, or a Valkey that the supervisor starts on a private unix socket. They are spawned,
never forked. A worker whose supervisor is gone ends as well: its standard input closes.
"""

from __future__ import annotations

import asyncio
import os
import platform
import signal
import socket
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final
from uuid import uuid4

import structlog

from flyball.core.errors import ConfigError
from flyball.server.config import check, load_config, read_dotenv, secret_options
from flyball.server.logs import LogOptions, configure_logging
from flyball.server.main import GROUP, WORKER, PidFile
from flyball.serving import run_on_fast_loop

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.engines.redis.embedded import EmbeddedServer
    from flyball.server.config import Config

logger: Final = structlog.get_logger("flyball.server")

LOOK_EVERY: Final = 0.05
"""Seconds between looks at the processes."""
FIRST_DELAY: Final = 0.1
LONGEST_DELAY: Final = 5.0
"""Seconds until a worker that ended is started again; doubled while it ends at once."""
SETTLED: Final = 5.0
"""Seconds after which a worker counts as well started."""
KILL_AFTER: Final = 5.0
"""Seconds beyond ``shutdown.timeout`` until a worker that does not end is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersOptions:
    """What is run."""

    count: int
    """Workers."""
    path: str
    """Configuration file."""
    flags: Mapping[str, str]
    """Option path to text, of the flags given."""
    demo: bool = False


class Worker:
    """One process, started again whenever it ends."""

    def __init__(self, command: list[str], environ: dict[str, str]) -> None:
        self._command = command
        self._environ = environ
        self.process: subprocess.Popen[bytes] | None = None
        self._started_at = 0.0
        self._delay = FIRST_DELAY
        self._start_at = 0.0
        self.settled: bool = False
        """It ran well once."""

    def start(self) -> None:
        """Starts it."""
        self._started_at = time.monotonic()
        # Its own session: signals of a terminal come by the supervisor, in its order.
        self.process = subprocess.Popen(  # noqa: S603 - our own program
            self._command, env=self._environ, stdin=subprocess.PIPE, start_new_session=True
        )

    def look(self) -> int | None:
        """Starts it again if it has ended; the exit code if it never ran well."""
        now = time.monotonic()
        if self.process is None:
            if now >= self._start_at:
                self.start()
            return None
        code = self.process.poll()
        if code is None:
            if now - self._started_at > SETTLED:
                self.settled, self._delay = True, FIRST_DELAY
            return None
        if not self.settled and code == 1:
            return code  # it says why
        logger.error("a worker has ended and is started again", pid=self.process.pid, code=code)
        self._close()
        self._start_at, self._delay = now + self._delay, min(self._delay * 2, LONGEST_DELAY)
        return None

    def send(self, number: int) -> None:
        """Passes a signal on."""
        if self.process is not None and self.process.poll() is None:
            self.process.send_signal(number)

    @property
    def ended(self) -> bool:
        """It does not run."""
        return self.process is None or self.process.poll() is not None

    def _close(self) -> None:
        if self.process is not None and self.process.stdin is not None:
            self.process.stdin.close()
        self.process = None

    def end(self) -> int:
        """Kills it if it still runs; its exit code."""
        if self.process is None:
            return 0
        self.process.kill()
        code = self.process.wait()
        self._close()
        return code


class Supervisor:
    """Runs workers until it is told to stop."""

    def __init__(self, options: WorkersOptions) -> None:
        self._options = options
        self._stopping = asyncio.Event()
        self._workers: list[Worker] = []
        self._store: EmbeddedServer | None = None

    async def run(self) -> int:
        """Returns the exit code."""
        options = self._options
        try:
            environ = read_dotenv(Path(".env"), os.environ)
            loaded = load_config(options.path, environ=environ, flags=options.flags)
            config = loaded.config
            check(config)
            configure_logging(LogOptions(config.log.level, config.log.file, secret_options()))
            check_ports(config)
            shared = await self._open_store(config)
        except ConfigError as error:
            configure_logging(LogOptions(secret_options=secret_options()))
            logger.critical("error validating config", error=str(error))
            return 1
        pid_file = PidFile(config.pid_file)
        try:
            pid_file.write()
            self._start(config, shared)
            logger.info("workers started", count=options.count, pid=os.getpid())
            return await self._watch(config)
        finally:
            pid_file.remove()
            if self._store is not None:
                self._store.stop()

    async def _open_store(self, config: Config) -> dict[str, str]:
        """What the environment tells workers of the store that they share."""
        if config.engine.type != "memory" or config.broker.enabled:
            return {}
        from flyball.engines.redis.embedded import EmbeddedServer

        self._store = EmbeddedServer()
        await self._store.start()
        return {
            "CENTRIFUGO_ENGINE_TYPE": "redis",
            "CENTRIFUGO_ENGINE_REDIS_ADDRESS": self._store.url,
        }

    def _start(self, config: Config, shared: dict[str, str]) -> None:
        flags = {
            k: v for k, v in self._options.flags.items() if not (shared and k == "engine.type")
        }
        command = [sys.executable, "-m", "flyball", "-c", self._options.path]
        command += [f"--{name}={text}" for name, text in flags.items()]
        command += ["--demo"] if self._options.demo else []
        name = config.node.name or f"{platform.node()}_{config.http_server.port}"
        group = uuid4().hex
        for number in range(1, self._options.count + 1):
            environ = {**os.environ, **shared, WORKER: str(number), GROUP: group}
            environ["CENTRIFUGO_NODE_NAME"] = f"{name}_{number}"
            worker = Worker(command, environ)
            worker.start()
            self._workers.append(worker)

    async def _watch(self, config: Config) -> int:
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)
        failed = None
        while not self._stopping.is_set() and failed is None:
            failed = next((c for w in self._workers if (c := w.look()) is not None), None)
            if self._store is not None and self._store.ended:
                logger.error("the embedded store has ended and is started again, empty")
                await self._store.start()
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY)
            except TimeoutError:
                continue
        code = await self._stop(config.shutdown.timeout + KILL_AFTER)
        return code if failed is None else failed

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    async def _stop(self, patience: float) -> int:
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + patience
        while time.monotonic() < deadline and not all(w.ended for w in self._workers):  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(LOOK_EVERY)
        codes = [worker.end() for worker in self._workers]  # all of them
        return 1 if any(codes) else 0


def check_ports(config: Config) -> None:
    """Whether the HTTP ports are free: workers that share them would not notice others there.

    Raises:
        ConfigError: one is not, or it is left to chance.
    """
    server = config.http_server
    places = {(*server.external, "http_server.port")}
    if server.is_split:
        places.add((*server.internal, "http_server.internal_port"))
    for host, text, key in places:
        port = int(text)
        if not port:
            raise ConfigError(f"{key} is 0; several workers need one port, name it")
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                where = f"{host or '*'}:{port}"
                message = f"cannot listen on {where} ({key}): {error.strerror}"
                raise ConfigError(message) from None


def supervise(options: WorkersOptions) -> int:
    """Runs a server of several workers until it is told to stop; the exit code of the process."""

    async def main() -> int:
        return await Supervisor(options).run()

    code: int = run_on_fast_loop(main())
    return code

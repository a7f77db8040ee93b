"""The supervisor: starts workers, and whatever they share, and keeps all of it running."""

from __future__ import annotations

import asyncio
import os
import platform
import secrets
import signal
import socket
import sys
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import structlog

from flyball.core.errors import ConfigError
from flyball.engines.common.socket_folder import socket_folder
from flyball.server.acme import split_address
from flyball.server.app import problems_of
from flyball.server.common.worker_place import VARIABLE, WorkerPlace
from flyball.server.config import check, tcp_places
from flyball.server.main import ConfigSource, PidFile, raise_file_limit, refuse, serve
from flyball.server.workers.process import Restarts, Worker
from flyball.serving import run_on_fast_loop

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from flyball.server.config import Config

logger: Final = structlog.get_logger("flyball.server")

LOOK_EVERY: Final = 0.05
"""Seconds between looks at the processes."""
LONGEST_SOCKET: Final = "128.sock"
"""Of the last worker that there may be, see :meth:`WorkerPlace.socket_of`."""
KILL_AFTER: Final = 5.0
"""Seconds beyond ``shutdown.timeout`` until a worker that does not end is killed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkersOptions:
    """What is run."""

    config: Config
    """The configuration of the start, checked."""
    path: str
    """Its file."""
    flags: Mapping[str, str]
    """Option path to text, of the flags given."""
    demo: bool = False


class Store:
    """The Valkey that workers share if no engine is configured."""

    def __init__(self) -> None:
        from flyball.engines.redis.embedded import EmbeddedServer

        self._server = EmbeddedServer()
        self._restarts = Restarts()
        self._told = False

    async def start(self) -> None:
        """Starts it; raises ConfigError if that cannot be."""
        self._restarts.started()
        await self._server.start()

    def environ(self) -> dict[str, str]:
        """What tells a worker of it."""
        return {
            "FLYBALL_ENGINE_TYPE": "redis",
            "FLYBALL_ENGINE_REDIS_ADDRESS": self._server.url,
        }

    async def look(self) -> None:
        """Starts it again if it has ended, empty: it keeps nothing on disk."""
        if not self._server.ended:
            return
        if not self._told:
            self._told = True
            delay = self._restarts.ended()
            logger.error(
                "the embedded store has ended and is started again, empty",
                restart_in=delay,
                in_a_row=self._restarts.in_a_row,
            )
        if self._restarts.is_due:
            self._told = False
            try:
                await self.start()
            except ConfigError as error:
                logger.error("the embedded store does not start", error=str(error))  # noqa: TRY400 - a traceback helps no operator

    def stop(self) -> None:
        """Ends it."""
        self._server.stop()


class Supervisor:
    """Runs workers until it is told to stop."""

    def __init__(self, options: WorkersOptions) -> None:
        self._options = options
        self._stopping = asyncio.Event()
        self._workers: list[Worker] = []
        self._store: Store | None = None
        self._sockets: list[socket.socket] = []

    async def run(self) -> int:
        """Returns the exit code."""
        self._take_signals()
        config = self._options.config
        try:
            folder = socket_folder("flyball-workers-", LONGEST_SOCKET)
        except ConfigError as error:
            return refuse(error)
        with folder as name:
            try:
                self._sockets = open_ports(config)
                if config.engine.type == "memory" and not config.broker.enabled:
                    self._store = Store()
                    await self._store.start()
            except ConfigError as error:
                self._release()
                return refuse(error)
            return await self._run(config, name)

    async def _run(self, config: Config, folder: str) -> int:
        pid_file = PidFile(config.pid_file)
        try:
            pid_file.write()
            self._start(config, folder)
            logger.info("workers started", count=len(self._workers), pid=os.getpid())
            return await self._watch(config)
        except ConfigError as error:
            logger.critical("cannot start", error=str(error))
            return 1
        finally:
            pid_file.remove()
            self._release()

    def _release(self) -> None:
        if self._store is not None:
            self._store.stop()
        for each in self._sockets:
            each.close()

    def _start(self, config: Config, folder: str) -> None:
        shared = {} if self._store is None else self._store.environ()
        flags = self._options.flags
        if shared:  # flags go before what the environment says of the store
            flags = {k: v for k, v in flags.items() if not k.startswith("engine.")}
        command = [sys.executable, "-m", "flyball", "-c", self._options.path]
        command += [f"--{name}={text}" for name, text in flags.items()]
        command += ["--demo"] if self._options.demo else []
        name = config.node.name or f"{platform.node()}_{config.http_server.port}"
        count, key = config.http_server.workers, secrets.token_bytes(32)
        for number in range(1, count + 1):
            files = [self._sockets[number - 1].fileno()] if self._sockets else []
            place = WorkerPlace(number, count, folder, key, *files)
            environ = {**os.environ, **shared, **place.to_environ()}
            environ |= own_names(config, name, number)
            worker = Worker(number, command, environ, files)
            worker.start()
            self._workers.append(worker)

    def _take_signals(self) -> None:
        """From the beginning on: whatever was started is ended again."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        loop.add_signal_handler(signal.SIGHUP, self._send, signal.SIGHUP)

    async def _watch(self, config: Config) -> int:
        failed = None
        while not self._stopping.is_set() and failed is None:
            failed = next((c for w in self._workers if (c := w.look()) is not None), None)
            if self._store is not None:
                await self._store.look()
            try:
                await asyncio.wait_for(self._stopping.wait(), LOOK_EVERY)
            except TimeoutError:
                continue
        code = await self._stop(config.shutdown.timeout + KILL_AFTER)
        return code if failed is None else failed

    def _send(self, number: int) -> None:
        for worker in self._workers:
            worker.send(number)

    async def _stop(self, max_wait: float) -> int:
        self._send(signal.SIGTERM)
        deadline = time.monotonic() + max_wait
        while time.monotonic() < deadline and not all(w.ended for w in self._workers):  # noqa: ASYNC110 - processes tell nobody
            await asyncio.sleep(LOOK_EVERY)
        codes = [worker.end() for worker in self._workers]  # all of them
        # One that was told before it listened to signals ended as it was told.
        return 0 if {0, -signal.SIGTERM}.issuperset(codes) else 1


def own_names(config: Config, name: str, number: int) -> dict[str, str]:
    """The environment in which a worker is called otherwise than those beside it.

    Args:
        config: of all.
        name: of the node, without a number.
        number: of the worker.
    """
    members = {
        f"FLYBALL_CONSUMERS_{c.name.upper()}_KAFKA_INSTANCE_ID": c.kafka.instance_id
        for c in config.consumers
        if c.kafka.instance_id
    }
    names = {"FLYBALL_NODE_NAME": name, **members}
    return {variable: f"{text}_{number}" for variable, text in names.items()}


def open_ports(config: Config) -> list[socket.socket]:
    """Looks whether the TCP ports are free: workers that share them would not notice others there.

    Returns the UDP sockets of the workers, one for each if HTTP/3 is on.

    Raises:
        ConfigError: one cannot be had.
    """
    for key, host, port in _places(config):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        with socket.socket(family, socket.SOCK_STREAM) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host, port))
            except OSError as error:
                raise _no_port(host, port, key, error) from None
    server = config.http_server
    if not server.http3.enabled:
        return []
    # Worker processes have no more to do with QUIC than this: aioquic is not imported.
    from flyball.http.http3.shared_port import open_group

    try:
        return open_group(server.address, server.port, server.workers)
    except OSError as error:
        key = "http_server.port, over UDP"
        raise _no_port(server.address, server.port, key, error) from None


def _places(config: Config) -> Iterator[tuple[str, str, int]]:
    """Option, interface and port of whatever listens."""
    for key, host, port in tcp_places(config):
        yield key, host, int(port)
    autocert = config.http_server.tls_autocert
    if autocert.enabled and autocert.http:
        yield ("http_server.tls_autocert.http_addr", *split_address(autocert.http_addr))


def _no_port(host: str, port: int, key: str, error: OSError) -> ConfigError:
    return ConfigError(f"cannot listen on {host or '*'}:{port} ({key}): {error.strerror}")


def run_server(path: str, flags: Mapping[str, str], *, demo: bool = False) -> int:
    """Runs the server, of one process or several, until it is told to stop; the exit code."""
    source = ConfigSource(path, flags)
    try:
        loaded = source.read()
    except ConfigError as error:
        return refuse(error)
    raise_file_limit()
    is_worker = VARIABLE in os.environ
    if is_worker or loaded.config.http_server.workers == 1:
        return serve(source, loaded, demo=demo)
    try:
        check(loaded.config, problems_of)  # told once, and before anything is started
    except ConfigError as error:
        return refuse(error)
    return supervise(WorkersOptions(config=loaded.config, path=path, flags=flags, demo=demo))


def supervise(options: WorkersOptions) -> int:
    """Runs a server of several workers until it is told to stop; the exit code of the process."""

    async def main() -> int:
        return await Supervisor(options).run()

    code: int = run_on_fast_loop(main())
    return code

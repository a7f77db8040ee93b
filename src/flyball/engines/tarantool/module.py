"""Our Lua module in Tarantool: what it is, and how it gets there."""

from __future__ import annotations

from importlib.resources import files
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from flyball.core.errors import ConfigError
from flyball.engines.tarantool.connection import (
    ACCESS_DENIED,
    NO_SUCH_FUNCTION,
    Connection,
    ReplyError,
    string_of,
    text_of,
)

if TYPE_CHECKING:
    from flyball.engines.tarantool.options import ShardOptions

VERSION: Final = 1
"""Of the module's functions and spaces: raised whenever they change."""
OLDEST: Final = 1
"""Oldest version whose nodes can use this module."""
HINT: Final = "run `flyball tarantool install` with the rights of an administrator"


class ModuleMissingError(ReplyError):
    """The server has no such module, or not for this user."""


class Instance(NamedTuple):
    """What a server says of itself."""

    version: int
    oldest: int
    read_only: bool
    state: str
    """Of the election; empty where there is none."""
    term: int
    uuid: str


def _lua(name: str) -> bytes:
    return files(__package__).joinpath("lua", f"{name}.lua").read_bytes()


_MODULE: Final = text_of(_lua("module"))
_INSTALL: Final = _lua("install")


async def install(connection: Connection, *, user: str = "", synchronous: bool = False) -> None:
    """Makes spaces and function, and puts our module in its place; of those that are there only
    an older module is replaced.

    Args:
        connection: to the leader, of a user that may do anything.
        user: may call the module; none if empty.
        synchronous: spaces made now wait for a quorum of the servers with each change.

    Raises:
        ReplyError: the server refuses.
        LinkLostError: it does not answer.
    """
    await connection.run(_INSTALL, _MODULE, VERSION, OLDEST, text_of(user), synchronous)


def install_script(*, user: str = "", synchronous: bool = False) -> str:
    """The same as Lua to be run in a console of the leader: see :func:`install`."""
    args = (_quoted(string_of(_MODULE)), VERSION, OLDEST, _quoted(user))
    shown = ", ".join([*map(str, args), "true" if synchronous else "false"])
    return f"assert(loadstring({_quoted(_INSTALL.decode())}))({shown})"


def _quoted(text: str) -> str:
    """A string of Lua, in one line."""
    escapes = {"\\": "\\\\", '"': '\\"', "\n": "\\n", "\r": "\\r", "\0": "\\0"}
    return '"' + "".join(escapes.get(letter, letter) for letter in text) + '"'


async def hello(connection: Connection) -> Instance:
    """Asks a server who it is.

    Raises:
        ModuleMissingError: it does not have the module.
        ReplyError, LinkLostError: see :meth:`Connection.ask`.
    """
    try:
        answer: list[Any] = await connection.ask("hello")
    except ReplyError as error:
        if error.code in (NO_SUCH_FUNCTION, ACCESS_DENIED):
            raise ModuleMissingError(error.code, f"{error}: {HINT}") from None
        raise
    return Instance(*answer)


async def greet(connection: Connection, options: ShardOptions) -> Instance:
    """As :func:`hello`, and makes sure that the module is one that we can use.

    It is installed, or upgraded, if the user has the right to.

    Raises:
        ConfigError: it is a version that we cannot use, and may not replace.
        ReplyError, LinkLostError: see :func:`hello`.
    """
    try:
        instance = await hello(connection)
        if instance.version >= VERSION:
            return _usable(instance)
        missing = f"its module has version {instance.version}, this is for {VERSION}: {HINT}"
    except ModuleMissingError as error:
        missing = str(error)
    try:
        await install(connection)
    except ReplyError as error:
        if error.code == ACCESS_DENIED:
            user = options.user or "guest"
            raise ConfigError(f"{missing} (as {user!r}, this node may not do that)") from None
        raise
    return _usable(await hello(connection))


def _usable(instance: Instance) -> Instance:
    if instance.oldest > VERSION:
        raise ConfigError(
            f"its module is for nodes of version {instance.oldest} and newer,"
            f" this one has {VERSION}: update Flyball"
        )
    return instance

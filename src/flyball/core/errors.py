"""Exceptions of Flyball.

    FlyballError
    ├── ConfigError      a programmer's or operator's mistake: raised early, names what to change
    ├── WrongLoopError   a node's method was called outside of the event loop that it runs in
    ├── Error            a request is refused: the client gets a coded error reply
    │   ├── PermissionDenied   code 103, with the reason for the log
    │   ├── EngineError        code 100, temporary: the store behind the node does not answer
    │   └── EngineRefusal      the engine has no such thing: a history, such a channel name
    └── Disconnect       the connection must end: the client gets a disconnect code

Handlers raise ``Error`` and ``Disconnect``; the three families are never mixed.
"""

from __future__ import annotations

from flyball.protocol import codes
from flyball.protocol.codes import DisconnectCode, ErrorCode


class FlyballError(Exception):
    """Root of all exceptions of this package."""


class ConfigError(FlyballError):
    """A setting or an argument is wrong. The message names it and what is allowed."""


class WrongLoopError(FlyballError, RuntimeError):
    """A node's method was called in another thread or event loop. The message names the way."""


class Error(FlyballError):
    """Refuses the command at hand; the client gets ``code`` and ``message`` as its reply.

    ``code`` is one of :mod:`flyball.protocol.codes` or an application's own (400-1999).
    ``detail`` goes to the log only.
    """

    def __init__(
        self,
        code: int | ErrorCode,
        message: str | None = None,
        *,
        temporary: bool | None = None,
        detail: str = "",
    ) -> None:
        number, entry = (
            (code.code, code)
            if isinstance(code, ErrorCode)
            else (int(code), codes.ERRORS.get(code))
        )
        self.code: int = number
        self.message: str = message if message is not None else (entry.message if entry else "")
        self.temporary: bool = (
            temporary if temporary is not None else (entry.temporary if entry else False)
        )
        self.detail: str = detail
        super().__init__(self.code, self.message)

    def __str__(self) -> str:
        text = f"{self.code} {self.message}"
        return f"{text}: {self.detail}" if self.detail else text


class PermissionDenied(Error):
    """Error 103. ``detail`` tells the log why; the client learns the code only."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(codes.PERMISSION_DENIED, detail=detail)


class EngineError(Error):
    """Error 100, temporary: the store behind the node is out of reach, or refused the operation.

    Whether the operation took effect is not known. ``detail`` says what happened. Engines make
    it by :class:`~flyball.core.engine.EngineFaults`, which logs it.
    """

    logged = True
    """Whoever made it told the log, which would otherwise get a line for each command."""

    def __init__(self, detail: str = "") -> None:
        super().__init__(codes.INTERNAL, temporary=True, detail=detail)


class EngineRefusal(Error):
    """The engine cannot do it, at no time: it has no history, or no channel of such a name.

    Clients get ``code``; callers of the server API get 100, as from the original. ``detail`` goes
    to the log.
    """


class Disconnect(FlyballError):
    """Ends the connection with ``code`` and ``reason``.

    Applications use 4000-4499 (the client reconnects) and 4500-4999 (it does not).
    ``detail`` goes to the log only.

    Raises:
        ConfigError: no close frame can carry ``code``.
    """

    def __init__(
        self,
        code: int | DisconnectCode,
        reason: str | None = None,
        *,
        detail: str = "",
        error: Error | None = None,
    ) -> None:
        number, entry = (
            (code.code, code)
            if isinstance(code, DisconnectCode)
            else (int(code), codes.DISCONNECTS.get(code))
        )
        self.code: int = number
        if not codes.is_close_code(self.code):
            message = (
                f"{self.code} is no disconnect code: "
                f"{codes.MIN_CLOSE_CODE} to {codes.MAX_CLOSE_CODE} are allowed"
            )
            raise ConfigError(message)
        self.reason: str = reason if reason is not None else (entry.reason if entry else "")
        self.detail: str = detail
        self.error: Error | None = error
        """The error this stands for, where a transport has no replies to tell it by."""
        super().__init__(self.code, self.reason)

    def __str__(self) -> str:
        text = f"{self.code} {self.reason}"
        return f"{text}: {self.detail}" if self.detail else text

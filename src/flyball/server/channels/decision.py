"""The outcome of a permission question, as a value."""

from __future__ import annotations

import enum
from dataclasses import dataclass

from flyball.core.errors import Disconnect, Error
from flyball.protocol.codes import DisconnectCode, ErrorCode
from flyball.server.channels.proxies import ProxyKind

__all__ = ["Decision", "Verdict"]


class Verdict(enum.Enum):
    """What a decision comes to."""

    ALLOW = enum.auto()
    REFUSE = enum.auto()
    ASK = enum.auto()
    """Nothing is decided here: a token or a proxy has the word."""


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, by which rule, and what was looked at before.

    It answers the client (:meth:`exception`) and the log (:meth:`sentence`).
    """

    verdict: Verdict
    """What it comes to."""
    rule: str
    """Name of the deciding rule, for people; a configuration option where one decided."""
    code: ErrorCode | DisconnectCode | None = None
    """What the client gets; None unless refused."""
    looked_at: tuple[str, ...] = ()
    """Rules that were considered before and did not decide, in order."""
    why: tuple[str, ...] = ()
    """Why each of them did not decide; filled in for refusals only."""
    proxy: ProxyKind | None = None
    """Whom to ask, if the verdict says so; None: the token."""

    @property
    def allowed(self) -> bool:
        """Whether it is allowed, without asking anybody."""
        return self.verdict is Verdict.ALLOW

    @property
    def asks(self) -> bool:
        """Whether somebody else has the word."""
        return self.verdict is Verdict.ASK

    def sentence(self, action: str) -> str:
        """One sentence for the log; ``action`` is such as ``publish to 'chat:1'``."""
        path = self._path()
        match self.verdict:
            case Verdict.ALLOW:
                return f"{action} is allowed by {self.rule}{path}"
            case Verdict.ASK:
                return f"{action}: {self.rule} decides{path}"
            case Verdict.REFUSE:
                code = f"{self.code.code} {_text(self.code)}" if self.code else "no code"
                return f"{action} is refused ({code}): {self.rule}{path}"

    def _path(self) -> str:
        if not self.looked_at:
            return ""
        if self.why:
            steps = [
                f"{name} {reason}" for name, reason in zip(self.looked_at, self.why, strict=True)
            ]
        else:
            steps = list(self.looked_at)
        return f" (looked at before: {', '.join(steps)})"

    def exception(self, action: str) -> Error | Disconnect:
        """What to raise in a handler; its ``detail`` is the sentence.

        Raises:
            ValueError: nothing was refused.
        """
        if self.code is None:
            message = f"not a refusal: {self.sentence(action)}"
            raise ValueError(message)
        detail = self.sentence(action)
        if isinstance(self.code, DisconnectCode):
            return Disconnect(self.code, detail=detail)
        return Error(self.code, detail=detail)


def _text(code: ErrorCode | DisconnectCode) -> str:
    return code.message if isinstance(code, ErrorCode) else code.reason

"""The outcome of a permission question, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from flyball.core.errors import Disconnect, Error
from flyball.protocol.codes import DisconnectCode, ErrorCode

__all__ = ["Decision"]


@dataclass(frozen=True, slots=True)
class Decision:
    """Whether something is allowed, by which rule, and what was looked at before.

    It answers the client (:meth:`exception`) and the log (:meth:`sentence`).
    """

    allowed: bool
    rule: str
    """Name of the deciding rule; a configuration option where one decided."""
    code: ErrorCode | DisconnectCode | None = None
    """What the client gets; None if allowed."""
    looked_at: tuple[str, ...] = ()
    """Rules that were considered before and did not decide, in order."""
    why: tuple[str, ...] = ()
    """Why each of them did not decide; filled in for refusals only."""
    asks: bool = False
    """Nothing is decided here: a token or a proxy (named by ``rule``) has the word."""

    def sentence(self, action: str) -> str:
        """One sentence for the log; ``action`` is such as ``publish to 'chat:1'``."""
        if self.asks:
            return f"{action}: {self.rule} decides{self._path()}"
        if self.allowed:
            return f"{action} is allowed by {self.rule}{self._path()}"
        code = f"{self.code.code} {_text(self.code)}" if self.code is not None else "no code"
        return f"{action} is refused ({code}): {self.rule}{self._path()}"

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

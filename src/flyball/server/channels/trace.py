"""A decision with its whole path: each rule that was looked at, and why it did not decide.

Decisions are values made beforehand, and those that allow something name the rules before theirs
without reasons. The reasons are found here, from the same options, when somebody asks for them.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Final

from flyball.server.channels.decision import Verdict

if TYPE_CHECKING:
    from flyball.server.channels.decision import Decision
    from flyball.server.channels.options import ChannelOptions

__all__ = ["Asker", "Step", "trace"]

_OUTCOMES: Final = {
    Verdict.ALLOW: "allows it",
    Verdict.REFUSE: "refuses it",
    Verdict.ASK: "decides, when it is asked",
}


@dataclass(frozen=True, slots=True)
class Step:
    """One rule on the way to a decision."""

    rule: str
    """Its name; a configuration option where it is one."""
    outcome: str
    """What came of it, to be read after the name: ``is off``, ``allows it``."""
    decided: bool = False
    """This was the last one."""


@dataclass(frozen=True, slots=True)
class Asker:
    """Who wants to do something."""

    user: str = ""
    """Empty: anonymous."""
    subscribed: bool = False
    """It is a subscriber of the channel right now."""


def trace(decision: Decision, asker: Asker, options: ChannelOptions | None = None) -> list[Step]:
    """The path of a decision: the rules before, then the one that decided.

    Args:
        decision: the outcome.
        asker: for whom.
        options: of the channel's namespace, where there is one.
    """
    reasons = decision.why or tuple(_reason(rule, asker, options) for rule in decision.looked_at)
    before = [Step(rule, why) for rule, why in zip(decision.looked_at, reasons, strict=True)]
    return [*before, Step(decision.rule, _OUTCOMES[decision.verdict], decided=True)]


def _reason(rule: str, asker: Asker, options: ChannelOptions | None) -> str:
    """Why a rule did not decide, of which the decision itself says nothing."""
    if rule in _PLAIN:
        return _PLAIN[rule]
    try:
        is_on = bool(attrgetter(rule)(options))
    except AttributeError:
        return "did not decide"
    if not is_on:
        return "is off"
    if not asker.user:
        return "is not for anonymous users"
    return "is for subscribers only" if rule.endswith("_for_subscriber") else "did not decide"


_PLAIN: Final = {
    "insecure": "is off",
    "token": "is missing",
    "user_limited": "does not apply",
}

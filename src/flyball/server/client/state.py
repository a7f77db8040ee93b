"""What all handlers of the policy look at, and how they tell the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final

import structlog

from flyball.core.errors import Disconnect, Error
from flyball.server.channels import RpcRules
from flyball.server.client.proxies import ClientProxies

if TYPE_CHECKING:
    from flyball.core.session import Session
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.channels import ChannelRules, Decision
    from flyball.server.client.options import ClientPolicyOptions

__all__ = ["PolicyState"]

_NAME: Final = "flyball.client"
logger = structlog.get_logger(_NAME)
# Asked first: building a sentence costs more than deciding.
_gate = logging.getLogger(_NAME)


class PolicyState:
    """Rules in force. A reload replaces them while handlers run; each handler reads them once."""

    __slots__ = ("options", "proxies", "rpc", "rules", "sub_tokens", "tokens")

    def __init__(
        self,
        rules: ChannelRules,
        tokens: TokenVerifier,
        sub_tokens: TokenVerifier | None,
        options: ClientPolicyOptions,
        proxies: ClientProxies | None,
    ) -> None:
        self.rules = rules
        self.tokens = tokens
        self.sub_tokens = sub_tokens
        """Of subscription tokens, if they have settings of their own."""
        self.options = options
        self.proxies = proxies or ClientProxies()
        self.rpc = RpcRules(options.rpc)

    @property
    def subscription_tokens(self) -> TokenVerifier:
        """The verifier of subscription tokens."""
        return self.sub_tokens if self.sub_tokens is not None else self.tokens


def debugging() -> bool:
    """Whether :func:`allowed` would be heard."""
    return _gate.isEnabledFor(logging.DEBUG)


def allowed(session: Session, decision: Decision, action: str) -> None:
    """Tells the log by which rule something was allowed. Ask :func:`debugging` first."""
    logger.debug(decision.sentence(action), client=session.client_id, user=session.user)


def refusal(session: Session, decision: Decision, action: str) -> Error | Disconnect:
    """Tells the log about a refusal; returns what to raise."""
    problem = decision.exception(action)
    tell(session, problem)
    return problem


def tell(session: Session, problem: Error | Disconnect) -> None:
    """Tells the log why a client is refused something."""
    if _gate.isEnabledFor(logging.INFO):
        logger.info(
            problem.detail,
            client=session.client_id,
            user=session.user,
            transport=session.transport.name,
            code=problem.code,
        )


def refused(session: Session, problem: Error | Disconnect) -> Error | Disconnect:
    """``problem``, after the log was told."""
    tell(session, problem)
    return problem

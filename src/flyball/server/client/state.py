"""What all handlers of the policy look at, and how they tell the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from flyball.core.errors import Disconnect, Error
from flyball.protocol import codes
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
    """Whether :func:`log_decision` would be heard."""
    return _gate.isEnabledFor(logging.DEBUG)


def log_decision(session: Session, decision: Decision, action: str) -> None:
    """Tells the log by which rule something was decided. Ask :func:`debugging` first."""
    logger.debug(decision.sentence(action), client=session.client_id, user=session.user)


def refusal(session: Session, decision: Decision, action: str) -> Error | Disconnect:
    """What to raise for a refusal, after the log was told."""
    return log_refusal(session, decision.exception(action))


def no_proxy(session: Session, decision: Decision, action: str) -> Error | Disconnect:
    """What to raise where a proxy has the word and there is none, after the log was told."""
    detail = f"{action} is refused: {decision.rule} is on, but there is no such proxy"
    return log_refusal(session, Error(codes.NOT_AVAILABLE, detail=detail))


_Problem = TypeVar("_Problem", Error, Disconnect, Error | Disconnect)


def log_refusal(session: Session, problem: _Problem) -> _Problem:
    """Tells the log why a client is refused something; returns ``problem``, to be raised."""
    if _gate.isEnabledFor(logging.INFO):
        logger.info(
            problem.detail,
            client=session.client_id,
            user=session.user,
            transport=session.transport.name,
            code=problem.code,
        )
    return problem

"""Refusals: what is raised, and what the log is told."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING, Final, TypeVar

import structlog

from flyball.aio.lines import LineLimit
from flyball.core.errors import Disconnect, Error
from flyball.protocol import codes

if TYPE_CHECKING:
    from collections.abc import Mapping

    from flyball.core.connection import Connection
    from flyball.server.channels import Decision, ProxyKind

__all__ = ["debugging", "log_decision", "log_refusal", "no_proxy", "proxy_call", "refusal"]

LINES_OF_CLIENT: Final = 5
CLIENT_SECONDS: Final = 10.0
"""A client's refusals are told of in so many lines in so many seconds."""
LINES_OF_ALL: Final = 100
"""Those of all clients together in so many lines a second."""

_NAME: Final = "flyball.client"
_LIMIT: Final = "flyball.refusals"
_all_clients: Final = LineLimit(LINES_OF_ALL, 1.0)
logger: structlog.stdlib.BoundLogger = structlog.get_logger(_NAME)
# Asked first: building a sentence costs more than deciding.
_gate = logging.getLogger(_NAME)

_Call = TypeVar("_Call")
_Problem = TypeVar("_Problem", Error, Disconnect, Error | Disconnect)


def debugging() -> bool:
    """Whether :func:`log_decision` would be heard."""
    return _gate.isEnabledFor(logging.DEBUG)


def log_decision(connection: Connection, decision: Decision, action: str) -> None:
    """Tells the log by which rule something was decided. Ask :func:`debugging` first."""
    logger.debug(decision.sentence(action), client=connection.client_id, user=connection.user)


def refusal(connection: Connection, decision: Decision, action: str) -> Error | Disconnect:
    """What to raise for a refusal, after the log was told."""
    return log_refusal(connection, decision.exception(action))


def proxy_call(
    calls: Mapping[ProxyKind, _Call], connection: Connection, decision: Decision, action: str
) -> _Call:
    """The call to the proxy that ``decision`` gives the word to.

    Raises:
        Error: 108, there is none.
    """
    found = None if decision.proxy is None else calls.get(decision.proxy)
    if found is None:
        raise no_proxy(connection, decision, action)
    return found


def no_proxy(connection: Connection, decision: Decision, action: str) -> Error | Disconnect:
    """What to raise where a proxy has the word and there is none, after the log was told."""
    detail = f"{action} is refused: {decision.rule} is on, but there is no such proxy"
    return log_refusal(connection, Error(codes.NOT_AVAILABLE, detail=detail))


def log_refusal(connection: Connection, problem: _Problem) -> _Problem:
    """Tells the log why a client is refused something; returns ``problem``, to be raised.

    A client that is refused again and again is told of now and then, with a count; so are very
    many clients.
    """
    if _gate.isEnabledFor(logging.INFO):
        now = time.monotonic()
        limit = connection.storage.get(_LIMIT)
        if limit is None:
            limit = connection.storage[_LIMIT] = LineLimit(LINES_OF_CLIENT, CLIENT_SECONDS)
        if limit.allows(now) and _all_clients.allows(now):
            left_out = limit.take_left_out()
            others = _all_clients.take_left_out()
            logger.info(
                problem.detail,
                client=connection.client_id,
                user=connection.user,
                transport=connection.transport,
                code=problem.code,
                **({"left_out": left_out} if left_out else {}),
                **({"left_out_of_others": others} if others else {}),
            )
    return problem

"""Why somebody may do something, or may not: the decision with each rule that was looked at."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from flyball.core.errors import Error
from flyball.protocol.codes import ErrorCode
from flyball.server.api.errors import BAD_REQUEST, ApiError
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.channels import (
    HISTORY,
    MAP_PUBLISH,
    MAP_REMOVE,
    PRESENCE,
    PUBLISH,
    RpcRules,
    RpcRulesOptions,
    decide,
    decide_rpc,
    decide_subscribe,
    decide_token,
)
from flyball.server.channels.options import SUBSCRIPTION_TYPES
from flyball.server.channels.trace import Asker, Step, trace

if TYPE_CHECKING:
    from flyball.server.auth.verifier import TokenVerifier
    from flyball.server.channels import ChannelRules, Decision

__all__ = ["OPERATIONS", "Explained", "Policy", "Question", "explain", "refusal_of"]

_IN_CHANNELS: Final = {
    "publish": PUBLISH,
    "presence": PRESENCE,
    "history": HISTORY,
    "map_publish": MAP_PUBLISH,
    "map_remove": MAP_REMOVE,
}
OPERATIONS: Final = ("subscribe", *_IN_CHANNELS, "rpc")
"""What can be asked about."""


@dataclass(frozen=True, slots=True)
class Policy:
    """All that decides about clients."""

    channels: ChannelRules
    """Namespaces and channel names."""
    insecure: bool = False
    """``client.insecure`` is on."""
    rpc: RpcRules = field(default_factory=lambda: RpcRules(RpcRulesOptions()))
    """RPC methods."""
    tokens: TokenVerifier | None = None
    """Verifies connection tokens; None: none is valid."""
    sub_tokens: TokenVerifier | None = None
    """Verifies subscription tokens, where they have keys of their own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Question:
    """Who wants to do what, and where."""

    operation: str
    """One of :data:`OPERATIONS`."""
    channel: str
    """A channel; for ``rpc`` the method."""
    user: str = ""
    """Empty: anonymous. A connection token tells it otherwise."""
    client: str = ""
    """Id of the connection, which subscription tokens may name."""
    subscribed: bool = False
    """It is a subscriber right now."""
    connection_token: str = ""
    """The token it connected with."""
    claims: bytes = b""
    """Claims of such a token as a JSON object; whoever asks answers for its signature."""
    subscription_token: str = ""
    """The token of the subscribe."""


@dataclass(frozen=True, slots=True)
class Explained:
    """The answer."""

    decision: Decision | None
    """None: a token was refused before anything was decided."""
    verdict: str
    """``allow``, ``refuse`` or ``ask`` (a proxy has the word)."""
    sentence: str
    """The same as the log would say it."""
    steps: list[Step]
    """Each rule that was looked at; the last one decided."""
    user: str
    """Whose permission it is."""
    namespace: str | None
    """Name of the channel's namespace, empty for none; None: there is no such namespace."""


async def explain(policy: Policy, question: Question) -> Explained:
    """Decides as the server would, and shows the way.

    Waits only if a key set must be fetched.

    Raises:
        ApiError: the operation is none, or there is no channel.
    """
    if question.operation not in OPERATIONS:
        allowed = ", ".join(OPERATIONS)
        raise ApiError(BAD_REQUEST, f"no operation {question.operation!r}; allowed are {allowed}")
    if not question.channel:
        raise ApiError(BAD_REQUEST, "channel required")
    user, before = question.user, []
    if question.connection_token and question.claims:
        raise ApiError(BAD_REQUEST, "connection_token or claims, not both")
    if question.claims and not question.claims.lstrip().startswith(b"{"):
        raise ApiError(BAD_REQUEST, "claims must be a JSON object")
    if question.connection_token or question.claims:
        user, step = await _connected_as(policy, question)
        before.append(step)
        if step.decided:
            return _refused(before, question)
    if question.operation == "rpc":
        return _explained(decide_rpc(policy.rpc, question.channel), question, user, before, policy)
    decision = _decide(policy, question, user)
    if decision.asks and decision.proxy is None:  # a token has the word, and is here
        found = await _by_token(policy, question, user)
        if isinstance(found, Step):
            return _refused([*before, found], question)
        decision = found
    return _explained(decision, question, user, before, policy)


def refusal_of(found: Explained) -> tuple[int, str]:
    """Code and text that a refused client gets; 0 and nothing if it is not refused."""
    decision = found.decision
    if decision is None or decision.code is None:
        return 0, ""
    code = decision.code
    return code.code, code.message if isinstance(code, ErrorCode) else code.reason


def _decide(policy: Policy, question: Question, user: str) -> Decision:
    channel = policy.channels.resolve(question.channel)
    if question.operation == "subscribe":
        namespace = channel.namespace
        kind = 0 if namespace is None else SUBSCRIPTION_TYPES[namespace.options.subscription_type]
        return decide_subscribe(
            channel,
            user=user,
            has_token=bool(question.subscription_token),
            kind=kind,
            insecure=policy.insecure,
        )
    return decide(
        _IN_CHANNELS[question.operation],
        channel,
        user=user,
        subscribed=question.subscribed,
        insecure=policy.insecure,
    )


async def _connected_as(policy: Policy, question: Question) -> tuple[str, Step]:
    name = "token of these claims" if question.claims else "connection token"
    if policy.tokens is None:
        return "", Step(name, "cannot be verified here", decided=True)
    try:
        if question.claims:
            verified = policy.tokens.read_connect_claims(question.claims)
        else:
            verified = await policy.tokens.verify_connect_token(question.connection_token)
    except TokenExpired as error:
        return "", Step(name, f"has expired: {error}".removesuffix(": "), decided=True)
    except InvalidToken as error:
        return "", Step(name, f"is invalid: {error}", decided=True)
    except Error as error:
        return "", Step(name, f"cannot be used: {error.detail or error.message}", decided=True)
    who = f"user {verified.user!r}" if verified.user else "an anonymous user"
    return verified.user, Step(name, f"is valid, it is of {who}")


async def _by_token(policy: Policy, question: Question, user: str) -> Decision | Step:
    """What the subscription token says; a step where it is refused itself."""
    name, verifier = "token", policy.sub_tokens or policy.tokens
    if verifier is None:
        return Step(name, "cannot be verified here", decided=True)
    try:
        token = await verifier.verify_subscribe_token(question.subscription_token)
    except TokenExpired as error:
        return Step(name, f"has expired: {error}".removesuffix(": "), decided=True)
    except InvalidToken as error:
        return Step(name, f"is invalid: {error}", decided=True)
    except Error as error:
        return Step(name, f"cannot be used: {error.detail or error.message}", decided=True)
    return decide_token(
        channel=question.channel,
        user=user,
        client=question.client or token.client,
        token_channel=token.channel,
        token_user=token.user,
        token_client=token.client,
    )


def _explained(
    decision: Decision, question: Question, user: str, before: list[Step], policy: Policy
) -> Explained:
    resolved = policy.channels.resolve(question.channel)
    namespace = None if question.operation == "rpc" else resolved.namespace
    asker = Asker(user, question.subscribed)
    steps = trace(decision, asker, None if namespace is None else namespace.options)
    return Explained(
        decision,
        decision.verdict.name.lower(),
        decision.sentence(_action(question)),
        [*before, *steps],
        user,
        None if namespace is None else namespace.name,
    )


def _refused(steps: list[Step], question: Question) -> Explained:
    last = steps[-1]
    sentence = f"{_action(question)} is refused: the {last.rule} {last.outcome}"
    return Explained(None, "refuse", sentence, steps, question.user, None)


def _action(question: Question) -> str:
    what = {"subscribe": "subscribe to", "publish": "publish to", "rpc": "RPC"}
    return f"{what.get(question.operation, question.operation)} {question.channel!r}"

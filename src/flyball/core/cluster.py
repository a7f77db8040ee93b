"""What nodes tell each other: who is there, operations on users, surveys."""

from __future__ import annotations

import asyncio
import logging
from dataclasses import replace
from functools import partial
from itertools import count
from typing import TYPE_CHECKING, Final, TypeAlias, assert_never

import msgspec

from flyball.aio.tasks import do_all
from flyball.core.control import (
    ControlError,
    DisconnectUser,
    Leaving,
    NodeInfo,
    NodeMetrics,
    RefreshUser,
    SubscribeUser,
    SurveyRequest,
    SurveyResponse,
    UnsubscribeUser,
    decode,
    encode,
    options_to_dict,
)
from flyball.core.errors import Disconnect, Error
from flyball.core.expiry import is_past
from flyball.core.refresh import change_expiry
from flyball.core.subscribe import SubscribeRun, check_info, go_live, push_of
from flyball.core.types import SubscribeOptions, SubscriptionSource, payload
from flyball.protocol import codes, messages
from flyball.protocol.codec import EncodeError
from flyball.protocol.codes import UnsubscribeCode
from flyball.protocol.messages import Push

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping

    from flyball.aio.clock import TimerHandle
    from flyball.core.broker import Controller
    from flyball.core.control import ControlMessage, UserOp
    from flyball.core.membership import Membership
    from flyball.core.runtime import Runtime
    from flyball.core.session import Session

__all__ = [
    "Cluster",
    "DisconnectUser",
    "NodeInfo",
    "NodeMetrics",
    "RefreshUser",
    "SubscribeUser",
    "SurveyHandler",
    "SurveyResult",
    "UnsubscribeUser",
    "options_to_dict",
]

logger: Final = logging.getLogger("flyball.core")

INFO_INTERVAL = 3.0
"""Seconds between the news a node gives of itself."""
METRICS_INTERVAL = 60.0
"""Seconds between the metrics in it."""
INFO_TTL = 7.0
"""Seconds after which a silent node is forgotten."""

SurveyHandler: TypeAlias = "Callable[[bytes], bytes | Awaitable[bytes]]"
"""Takes the data of a survey, gives the answer's."""


def _check_sendable(session: Session, op: SubscribeUser) -> None:
    """Raises EncodeError if the session's client could not be sent the payloads of ``op``."""
    framing = session.transport.framing
    framing.push_message(Push(subscribe=messages.Subscribe(data=payload(op.data))))
    check_info(session, messages.ClientInfo("", "", chan_info=payload(op.info)))


def _request_of(op: SubscribeUser) -> messages.SubscribeRequest:
    """What a client that recovers since ``op.since`` would send.

    The push has no publications, but says from where the client could go on: its own position
    only if nothing behind that is gone.
    """
    if op.since is None:
        return messages.SubscribeRequest(channel=op.channel)
    since = op.since
    return messages.SubscribeRequest(
        channel=op.channel, recover=True, offset=since.offset, epoch=since.epoch
    )


class SurveyResult(msgspec.Struct, frozen=True):
    """One node's answer to a survey. ``code`` 0 is fine."""

    code: int
    """0, or the code of the error that the handler raised."""
    data: bytes
    """What the handler returned."""


class Cluster:
    """This node's view of the others, and what it does for them.

    Args:
        runtime: what it stands on.
        membership: the channels of this node.
        node_id: this node's id.
        controller: carries the messages; None for a single node.
        surveys: op to the handler that answers it on this node.
        describe: tells how this node is.
    """

    def __init__(
        self,
        runtime: Runtime,
        membership: Membership,
        node_id: str,
        controller: Controller | None,
        surveys: Mapping[str, SurveyHandler],
        describe: Callable[[], NodeInfo],
    ) -> None:
        self.node_id = node_id
        self._runtime = runtime
        self._membership = membership
        self._controller = controller
        self._handlers = surveys
        self._describe = describe
        self._nodes: dict[str, tuple[NodeInfo, float]] = {}
        self._surveys: dict[int, tuple[dict[str, SurveyResult], asyncio.Event, int]] = {}
        self._survey_ids = count(1)
        self._metrics_told_at = float("-inf")
        self._timer: TimerHandle | None = None
        self._telling = False

    # -- who is there

    def start(self) -> None:
        """Tells the others of this node, now and every few seconds."""
        if self._controller is not None:
            self._tick()

    def stop_telling(self) -> None:
        """Ends what :meth:`start` began."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    async def leave(self) -> None:
        """Tells the others that this node leaves."""
        self.stop_telling()
        await self._send(Leaving(self.node_id))

    def nodes(self) -> list[NodeInfo]:
        """Every node known now, this one first."""
        now = self._runtime.clock.monotonic()
        for uid in [u for u, (_, seen) in self._nodes.items() if now - seen > INFO_TTL]:
            del self._nodes[uid]
        return [self._describe(), *(info for info, _ in self._nodes.values())]

    def _tick(self) -> None:
        self._timer = self._runtime.clock.call_later(INFO_INTERVAL, self._tick)
        if not self._telling:  # else the controller is slow: one after the other
            work = self._tell_of_this_node()
            self._runtime.tasks.spawn(work, "heartbeat of the node", recurring=True)

    async def _tell_of_this_node(self) -> None:
        self._telling = True
        try:
            await self._send(self._news())
        finally:
            self._telling = False

    def _news(self) -> NodeInfo:
        """This node, with its metrics now and then: the others keep those."""
        info = self._describe()
        now = self._runtime.clock.monotonic()
        if info.metrics is not None:
            if now - self._metrics_told_at < METRICS_INTERVAL:
                return msgspec.structs.replace(info, metrics=None)
            self._metrics_told_at = now
        return info

    def _take_news(self, info: NodeInfo) -> None:
        known = self._nodes.get(info.uid)
        if known is not None and info.metrics is None:
            info.metrics = known[0].metrics
        self._nodes[info.uid] = (info, self._runtime.clock.monotonic())
        if known is None:  # it does not know of this one until told
            self._runtime.tasks.spawn(self._greet(info.uid), "greeting of a node", recurring=True)

    async def _greet(self, uid: str) -> None:
        await self._send(self._describe(), uid)

    async def _send(self, message: ControlMessage, to_node: str = "") -> None:
        if self._controller is not None:
            self._runtime.metrics.messages_sent["control"] += 1
            await self._controller.publish_control(encode(message), to_node)

    def on_control(self, data: bytes) -> None:
        """Takes a message of another node (see ``ControlEvents``)."""
        self._runtime.metrics.messages_received["control"] += 1
        try:
            message = decode(data)
        except ControlError as error:
            logger.warning("a control message is not understood: %s", error)
            return
        if message is None or message.uid == self.node_id:
            return
        match message:
            case NodeInfo():
                self._take_news(message)
            case Leaving():
                self._nodes.pop(message.uid, None)
            case SurveyRequest():
                self._runtime.tasks.spawn(self._answer(message), "answer to a survey")
            case SurveyResponse():
                self._take_answer(message)
            case _:
                self._runtime.tasks.spawn(self._apply(message), "operation of another node")

    # -- operations on users

    async def everywhere(self, op: UserOp) -> None:
        """Carries ``op`` out here and on all other nodes.

        The others are told whatever happens here; what failed here is raised after that.
        """
        await do_all((partial(self._apply, op), partial(self._send, op)))

    async def _apply(self, op: UserOp) -> None:
        """Carries ``op`` out on every session that it means; one that fails stops no other."""
        sessions = self._membership.hub.sessions_of(op.user, op.client, op.session)
        await do_all([partial(self._apply_to, session, op) for session in sessions])

    async def _apply_to(self, session: Session, op: UserOp) -> None:
        match op:
            case SubscribeUser():
                await self._subscribe(session, op)
            case UnsubscribeUser():
                await self._unsubscribe(session, op)
            case DisconnectUser():
                if session.client_id not in op.whitelist:
                    session.disconnect(Disconnect(op.code, op.reason))
            case RefreshUser():
                self._refresh(session, op)
            case _:
                assert_never(op)

    async def _unsubscribe(self, session: Session, op: UnsubscribeUser) -> None:
        code = UnsubscribeCode(op.code, op.reason)
        if op.channel and op.channel not in session.subscriptions:
            # Told all the same: the client may think that it is subscribed.
            self._membership.push_unsubscribe(session, op.channel, code)
            return
        channels = [op.channel] if op.channel else list(session.subscriptions)
        end = self._membership.end
        await do_all([partial(end, session, channel, code) for channel in channels])

    async def _subscribe(self, session: Session, op: SubscribeUser) -> None:
        """Subscribes a session; one that is subscribed already anew.

        Raises:
            Error: 100, it cannot be subscribed, or could not be told.
        """
        run = self._run_for(session, op)
        try:
            # What the client cannot be sent is refused before anything is done.
            _check_sendable(session, op)
            if not await self._make_room(session, op.channel):
                return
            await run.make()
        except (Error, Disconnect, EncodeError) as error:
            await run.abandon()
            detail = f"cannot subscribe {session.client_id} to {op.channel!r}: {error}"
            logger.warning("%s", detail)
            raise Error(codes.INTERNAL, detail=detail) from None
        except BaseException:
            await run.abandon()
            raise
        if session.closed:
            await run.abandon()
            return
        session.push(Push(channel=op.channel, subscribe=push_of(run.result)), "push_subscribe")
        try:
            go_live((run,))
        except Disconnect as disconnect:
            session.disconnect(disconnect)
        await run.announce()

    def _run_for(self, session: Session, op: SubscribeUser) -> SubscribeRun:
        run = SubscribeRun(
            self._runtime,
            self._membership,
            session,
            _request_of(op),
            source=SubscriptionSource.API,
            server_side=True,
        )
        plain: SubscribeOptions = msgspec.convert(op.options, SubscribeOptions)
        run.allow(replace(plain, info=payload(op.info), data=payload(op.data)))
        return run

    async def _make_room(self, session: Session, channel: str) -> bool:
        """Takes an older subscription out of the way; False if that is still being made.

        Also False where there is none and the session has all that it may have: then it ends.
        """
        old = session.subscriptions.get(channel)
        if old is None:
            limit = self._runtime.options.channel_limit
            if not limit or len(session.subscriptions) < limit:
                return True
            session.disconnect(Disconnect(codes.DISCONNECT_CHANNEL_LIMIT))
            return False
        if not old.live:
            return False
        del session.subscriptions[channel]
        await self._membership.leave(old)
        return True

    def _refresh(self, session: Session, op: RefreshUser) -> None:
        now = self._runtime.clock.time()
        if op.expired or is_past(op.expire_at, now):
            session.disconnect(Disconnect(codes.DISCONNECT_EXPIRED))
            return
        info = payload(op.info) if op.expire_at else None
        change_expiry(self._runtime, session, op.expire_at, info)

    # -- surveys

    async def survey(
        self,
        op: str,
        data: bytes,
        to_node: str = "",
        timeout: float = 10.0,  # noqa: ASYNC109
    ) -> dict[str, SurveyResult]:
        """Asks all nodes (or one) and returns the answers by node id.

        Raises:
            TimeoutError: not all answered within ``timeout`` seconds.
        """
        metrics, clock = self._runtime.metrics, self._runtime.clock
        metrics.actions["survey"] += 1
        started = clock.monotonic()
        try:
            return await self._survey(op, data, to_node, timeout)
        finally:
            metrics.survey_duration[op].observe(clock.monotonic() - started)

    async def _survey(
        self,
        op: str,
        data: bytes,
        to_node: str,
        timeout: float,  # noqa: ASYNC109
    ) -> dict[str, SurveyResult]:
        if to_node == self.node_id or (not to_node and len(self.nodes()) == 1):
            return {self.node_id: await self._ask_here(op, data)}
        id_ = next(self._survey_ids)
        answers: dict[str, SurveyResult] = {}
        missing = 1 if to_node else len(self._nodes)
        done = asyncio.Event()
        self._surveys[id_] = (answers, done, missing)
        # The node's clock, not asyncio.timeout: the caller may run without a task so far.
        timer = self._runtime.clock.call_later(timeout, done.set)
        try:
            await self._send(SurveyRequest(self.node_id, id_, op, data), to_node)
            own = None if to_node else await self._ask_here(op, data)
            await done.wait()
        finally:
            timer.cancel()
            del self._surveys[id_]
        if len(answers) < missing:
            message = f"{len(answers)} of {missing} nodes answered {op!r} in {timeout:g} s"
            raise TimeoutError(message)
        return answers if own is None else {self.node_id: own, **answers}

    async def _ask_here(self, op: str, data: bytes) -> SurveyResult:
        handler = self._handlers.get(op)
        if handler is None:
            return SurveyResult(codes.METHOD_NOT_FOUND.code, b"")
        try:
            answer = handler(data)
            return SurveyResult(0, answer if isinstance(answer, bytes) else await answer)
        except Error as error:
            return SurveyResult(error.code, b"")
        except Exception:  # the one who asks must not wait for an answer that never comes
            logger.exception("the handler of surveys of %r failed", op)
            return SurveyResult(codes.INTERNAL.code, b"")

    async def _answer(self, request: SurveyRequest) -> None:
        result = await self._ask_here(request.op, request.data)
        await self._send(
            SurveyResponse(self.node_id, request.id, result.code, result.data), request.uid
        )

    def _take_answer(self, response: SurveyResponse) -> None:
        waiting = self._surveys.get(response.id)
        if waiting is None:
            return
        answers, done, missing = waiting
        answers[response.uid] = SurveyResult(response.code, response.data)
        if len(answers) >= missing:
            done.set()

"""Control messages: what nodes tell each other, as values and as bytes.

The bytes are those of Centrifugo's nodes (``control.proto``), with a version of ours beside
them: a node that does not know a field passes over it.
"""

from __future__ import annotations

from dataclasses import fields
from importlib.resources import files
from math import ceil
from typing import TYPE_CHECKING, Any, Final, TypeAlias, assert_never

import msgspec

from flyball.core import control_messages as m
from flyball.core.errors import FlyballError
from flyball.core.types import StreamPosition, SubscribeOptions, payload
from flyball.protocol.codec import UNREADABLE, DecodeError
from flyball.protocol.fields import structs_in
from flyball.protocol.schema import Schema

if TYPE_CHECKING:
    from collections.abc import Mapping

VERSION: Final = 1
"""Of our control messages."""
SOURCE_API: Final = 10
"""``Subscribe.source`` of an operation of a program."""

CONTROL: Final = Schema(
    structs_in(m),
    package="flyball.control",
    descriptors=files(__package__).joinpath("control.binpb").read_bytes(),
)
"""All control messages."""


class ControlError(FlyballError):
    """A control message is not understood."""


class NodeMetrics(msgspec.Struct, frozen=True):
    """Flattened metrics of a node over ``interval`` seconds."""

    interval: float
    """Seconds over which the items were gathered."""
    items: dict[str, float]
    """Name to value, as on the metrics page."""


class NodeInfo(msgspec.Struct, kw_only=True):
    """A node as it describes itself. ``uptime`` in seconds."""

    uid: str
    """``node.id``."""
    name: str
    """``NodeOptions.name``."""
    version: str
    """``NodeOptions.version``."""
    num_clients: int
    """Connections."""
    num_users: int
    """Different users among them."""
    num_subs: int
    """Subscriptions."""
    num_channels: int
    """Channels with subscribers."""
    uptime: int
    """Seconds since its start."""
    metrics: NodeMetrics | None = None
    """Its metrics, where ``metrics_source`` gives some."""


class Leaving(msgspec.Struct):
    """A node stops."""

    uid: str


class ForUser(msgspec.Struct, kw_only=True):
    """What all operations on the sessions of a user have; every node carries them out."""

    uid: str
    """The node that asks."""
    user: str
    client: str = ""
    session: str = ""


class SubscribeUser(ForUser, kw_only=True):
    """Subscribes live sessions; ``options`` is a JSON form of ``SubscribeOptions``."""

    channel: str
    options: dict[str, Any]
    info: bytes = b""
    data: bytes = b""
    since: StreamPosition | None = None


class UnsubscribeUser(ForUser, kw_only=True):
    """Ends subscriptions; an empty channel means all."""

    channel: str
    code: int
    reason: str


class DisconnectUser(ForUser, kw_only=True):
    """Ends sessions."""

    code: int
    reason: str
    whitelist: list[str]


class RefreshUser(ForUser, kw_only=True):
    """Changes the expiry of sessions."""

    expired: bool
    expire_at: float
    info: bytes = b""
    """Empty: the info stays."""


UserOp: TypeAlias = SubscribeUser | UnsubscribeUser | DisconnectUser | RefreshUser
"""An operation on the sessions of a user."""


class SurveyRequest(msgspec.Struct):
    """Asks every node the same question."""

    uid: str
    id: int
    op: str
    data: bytes


class SurveyResponse(msgspec.Struct):
    """One node's answer. ``code`` 0 is fine."""

    uid: str
    id: int
    code: int
    data: bytes


ControlMessage: TypeAlias = NodeInfo | Leaving | UserOp | SurveyRequest | SurveyResponse


def options_to_dict(options: SubscribeOptions) -> dict[str, Any]:
    """``options`` without payloads and feed, for :class:`SubscribeUser`."""
    return {
        f.name: msgspec.to_builtins(getattr(options, f.name))
        for f in fields(options)
        if f.name not in ("info", "data", "feed")
    }


def encode(message: ControlMessage) -> bytes:
    """``message`` as other nodes read it."""
    command = m.Command(uid=message.uid, flyball_version=VERSION)
    match message:
        case NodeInfo():
            command.node = _node(message)
        case Leaving():
            command.shutdown = m.Shutdown()
        case SubscribeUser():
            command.subscribe = _subscribe(message)
        case UnsubscribeUser():
            command.unsubscribe = m.Unsubscribe(
                message.channel,
                message.user,
                message.client,
                message.session,
                message.code,
                message.reason,
            )
        case DisconnectUser():
            command.disconnect = m.Disconnect(
                user=message.user,
                whitelist=message.whitelist,
                code=message.code,
                reason=message.reason,
                client=message.client,
                session=message.session,
            )
        case RefreshUser():
            command.refresh = m.Refresh(
                user=message.user,
                client=message.client,
                expired=message.expired,
                expire_at=ceil(message.expire_at),
                info=payload(message.info),
                session=message.session,
            )
        case SurveyRequest():
            data = payload(message.data)
            command.survey_request = m.SurveyRequest(message.id, message.op, data)
        case SurveyResponse():
            data = payload(message.data)
            command.survey_response = m.SurveyResponse(message.id, message.code, data)
        case _:
            assert_never(message)
    return CONTROL.protobuf.write(command)


def _node(info: NodeInfo) -> m.Node:
    metrics = info.metrics
    return m.Node(
        uid=info.uid,
        name=info.name,
        version=info.version,
        num_clients=info.num_clients,
        num_users=info.num_users,
        num_channels=info.num_channels,
        uptime=info.uptime,
        metrics=None if metrics is None else m.Metrics(metrics.interval, metrics.items),
        num_subs=info.num_subs,
    )


def _subscribe(op: SubscribeUser) -> m.Subscribe:
    options: Mapping[str, Any] = op.options
    return m.Subscribe(
        user=op.user,
        channel=op.channel,
        emit_presence=options["presence"],
        emit_join_leave=options["join_leave"],
        expire_at=ceil(options["expire_at"]),
        position=options["positioned"],
        recover=options["recoverable"],
        channel_info=payload(op.info),
        client=op.client,
        data=payload(op.data),
        recover_since=op.since,
        session=op.session,
        push_join_leave=options["push_join_leave"],
        source=SOURCE_API,
        flyball_options=payload(msgspec.json.encode(options)),
    )


def decode(data: bytes) -> ControlMessage | None:
    """The message that another node sent; None for a kind that is of no use here.

    Raises:
        ControlError: it is malformed, or would act on other sessions than its sender meant.
    """
    try:
        command = CONTROL.protobuf.read(m.Command, data)
    except DecodeError as error:
        raise ControlError(str(error)) from None
    for op in (command.subscribe, command.unsubscribe, command.disconnect, command.refresh):
        if op is not None:
            if op.label_filter or op.all_users:
                message = f"{type(op).__name__.lower()} for labels or all users is not supported"
                raise ControlError(message)
            return _user_op(command.uid, op)
    return _other(command)


def _other(command: m.Command) -> ControlMessage | None:
    uid = command.uid
    if command.node is not None:
        return _node_info(uid, command.node)
    if command.shutdown is not None:
        return Leaving(uid)
    if (request := command.survey_request) is not None:
        return SurveyRequest(uid, request.id, request.op, bytes(request.data))
    if (answer := command.survey_response) is not None:
        return SurveyResponse(uid, answer.id, answer.code, bytes(answer.data))
    return None


def _node_info(uid: str, node: m.Node) -> NodeInfo:
    metrics = node.metrics
    return NodeInfo(
        uid=uid or node.uid,
        name=node.name,
        version=node.version,
        num_clients=node.num_clients,
        num_users=node.num_users,
        num_subs=node.num_subs,
        num_channels=node.num_channels,
        uptime=node.uptime,
        metrics=None if metrics is None else NodeMetrics(metrics.interval, metrics.items or {}),
    )


def _user_op(uid: str, op: m.Subscribe | m.Unsubscribe | m.Disconnect | m.Refresh) -> UserOp:
    who: dict[str, str] = {
        "uid": uid,
        "user": op.user,
        "client": op.client,
        "session": op.session,
    }
    match op:
        case m.Subscribe():
            return SubscribeUser(
                **who,
                channel=op.channel,
                options=_options(op),
                info=bytes(op.channel_info),
                data=bytes(op.data),
                since=op.recover_since,
            )
        case m.Unsubscribe():
            return UnsubscribeUser(**who, channel=op.channel, code=op.code, reason=op.reason)
        case m.Disconnect():
            return DisconnectUser(
                **who, code=op.code, reason=op.reason, whitelist=list(op.whitelist)
            )
        case m.Refresh():
            return RefreshUser(
                **who,
                expired=op.expired,
                expire_at=float(op.expire_at),
                info=bytes(op.info),
            )
        case _:
            assert_never(op)


def _options(op: m.Subscribe) -> dict[str, Any]:
    """All options from a node of ours; what other nodes say of them."""
    if op.flyball_options:
        try:
            found: dict[str, Any] = msgspec.json.decode(op.flyball_options)
        except UNREADABLE as error:
            raise ControlError(f"options of a subscription: {error}") from None
        return found
    return options_to_dict(
        SubscribeOptions(
            presence=op.emit_presence,
            join_leave=op.emit_join_leave,
            push_join_leave=op.push_join_leave,
            positioned=op.position,
            recoverable=op.recover,
            expire_at=float(op.expire_at),
        )
    )

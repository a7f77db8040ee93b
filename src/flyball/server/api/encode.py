"""Results to JSON: the field order of the schema, sorted maps, safe in HTML."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from typing import Any, Final

import msgspec
from msgspec import Raw

from flyball.protocol.json_writer import is_json
from flyball.protocol.messages import NO_DATA, ClientInfo
from flyball.server.api import messages
from flyball.server.api.errors import API_ERRORS, ApiErrorCode, MalformedResultError

_encode: Final = msgspec.json.Encoder(order="deterministic").encode
_STRING_OR_SPACE: Final = re.compile(rb'("(?:[^"\\]|\\.)*")|[ \t\r\n]+', re.DOTALL)


def encode_json(message: Any) -> bytes:
    """``message`` as JSON without the characters that are special in HTML or JavaScript.

    Payloads inside must be JSON already, see :func:`encode_result`.
    """
    text = _encode(message)
    # Outside of strings none of these occurs in JSON, so the whole text can be searched.
    if b"<" in text:
        text = text.replace(b"<", b"\\u003c")
    if b">" in text:
        text = text.replace(b">", b"\\u003e")
    if b"&" in text:
        text = text.replace(b"&", b"\\u0026")
    if not text.isascii():
        text = text.replace(b"\xe2\x80\xa8", b"\\u2028").replace(b"\xe2\x80\xa9", b"\\u2029")
    return text


def encode_result(result: Any) -> bytes:
    """A result as JSON.

    Raises:
        MalformedResultError: a payload is binary; it can be shown over gRPC only.
    """
    prepare = _PREPARE.get(type(result))
    if prepare is not None:
        prepare(result)
    return encode_json(result)


def _payload(data: Raw) -> Raw:
    """``data`` without space between its tokens."""
    if not data:
        return NO_DATA
    text = bytes(data)
    if not is_json(text):
        raise MalformedResultError("a payload is not valid JSON")
    if any(space in text for space in (b" ", b"\n", b"\t", b"\r")):
        return Raw(_STRING_OR_SPACE.sub(lambda m: m[1] or b"", text))
    return data


def _client_info(info: ClientInfo) -> ClientInfo:
    # The engine's own object stays as it is.
    if not info.conn_info and not info.chan_info:
        return info
    return ClientInfo(info.user, info.client, _payload(info.conn_info), _payload(info.chan_info))


def _prepare_history(result: messages.HistoryResult) -> None:
    for publication in result.publications:
        publication.data = _payload(publication.data)
        if publication.info is not None:
            publication.info = _client_info(publication.info)


def _prepare_presence(result: messages.PresenceResult) -> None:
    result.presence = {key: _client_info(info) for key, info in result.presence.items()}


def _prepare_rpc(result: messages.RPCResult) -> None:
    result.data = _payload(result.data)


def _prepare_entries(result: messages.MapReadStateResult | messages.MapReadStreamResult) -> None:
    for entry in result.entries:
        entry.data = _payload(entry.data)


def _prepare_batch(result: messages.BatchResponse) -> None:
    for reply in result.replies:
        for value in _values(reply):
            prepare = _PREPARE.get(type(value))
            if prepare is not None:
                prepare(value)


def _values(reply: messages.BatchReply) -> Iterable[Any]:
    return msgspec.structs.astuple(reply)


_PREPARE: Final[dict[type, Callable[[Any], None]]] = {
    messages.HistoryResult: _prepare_history,
    messages.PresenceResult: _prepare_presence,
    messages.RPCResult: _prepare_rpc,
    messages.MapReadStateResult: _prepare_entries,
    messages.MapReadStreamResult: _prepare_entries,
    messages.BatchResponse: _prepare_batch,
}
"""How to make the payloads in a result fit for JSON."""


def error_message(entry: ApiErrorCode) -> messages.Error:
    """``entry`` as the message callers get."""
    return messages.Error(entry.code, entry.message)


BARE_ERRORS: Final = {entry: encode_json(error_message(entry)) for entry in API_ERRORS.values()}
"""Each error as the body of transport error mode."""
ERROR_ANSWERS: Final = {entry: b'{"error":' + body + b"}" for entry, body in BARE_ERRORS.items()}
"""Each error as an answer."""
EMPTY_ANSWER: Final = b'{"result":{}}'
"""The answer of methods that tell nothing but success."""

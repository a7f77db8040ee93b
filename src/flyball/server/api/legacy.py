"""The legacy route: commands one after the other in one body, each with its reply."""

from __future__ import annotations

import re
from typing import Final

import msgspec
from msgspec import Raw

from flyball.protocol.codec import UNREADABLE, DecodeError
from flyball.protocol.messages import NO_DATA, U32
from flyball.protocol.schema import Schema
from flyball.server.api.messages import Error, Request, Result
from flyball.server.api.methods import LEGACY_METHODS, METHODS, Method

_INTEGER: Final = re.compile(rb"-?[0-9]{1,18}")


class LegacyCommand(Request):
    """One command; ``method`` is a name in any case or a number."""

    id: U32 = 0
    method: Raw = NO_DATA
    params: Raw = NO_DATA


class LegacyReply(Result):
    """The answer to one command."""

    id: U32 = 0
    error: Error | None = None
    result: Raw = NO_DATA


LEGACY: Final = Schema((LegacyCommand, LegacyReply), canonical=True)
"""What goes over the legacy route, but for the parameters and results of the methods."""


def legacy_method(given: Raw) -> Method | None:
    """The method of a legacy command, by name in any case or by number; None: no such number.

    Raises:
        DecodeError: the name is unknown, or it is neither name nor number.
    """
    text = bytes(given) or b"0"
    if _INTEGER.fullmatch(text):
        return LEGACY_METHODS.get(int(text))
    try:
        method = METHODS.get(msgspec.json.decode(text, type=str).lower())
    except UNREADABLE:
        method = None
    if method is None or method.legacy_number is None:
        raise DecodeError(f"unknown method {text[:64]!r}")
    return method

"""The parts of a JSON web token in its compact form."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from flyball.core.types import NO_DATA
from flyball.protocol.codec import DecodeError
from flyball.protocol.fields import field_table
from flyball.protocol.json_reader import JsonReader
from flyball.server.auth.errors import InvalidToken

MAX_TOKEN_SIZE: Final = 65536
"""Bytes; no message of a client is longer."""
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/???")
"""To the alphabet of :mod:`binascii`; its own special characters become wrong ones."""


class Header(msgspec.Struct):
    """The first part of a token."""

    alg: str = ""
    kid: str = ""
    typ: str = ""
    cty: str = ""
    crit: msgspec.Raw = NO_DATA


class Token(msgspec.Struct, frozen=True):
    """A token, taken apart; nothing is verified yet."""

    head: str
    """The first part as it was written."""
    header: Header
    claims: bytes
    signed: bytes
    signature: bytes


_read: Final = JsonReader(field_table((Header,))).read
_OPENING: Final = "eyJ"
"""``{"``: how headers begin; one with white space before its first name has never been accepted."""
_NONE_KNOWN: Final[Mapping[str, Header]] = MappingProxyType({})


def take_apart(text: str, known: Mapping[str, Header] = _NONE_KNOWN) -> Token:
    """The parts of a compact token. Headers in ``known`` need no parsing.

    Raises:
        InvalidToken: it is malformed.
    """
    if len(text) > MAX_TOKEN_SIZE:
        message = f"longer than {MAX_TOKEN_SIZE} bytes"
        raise InvalidToken(message)
    parts = text.split(".", 3)
    if len(parts) != 3:
        message = "not three parts"
        raise InvalidToken(message)
    head, body, signature = parts
    header = known.get(head)
    if header is None:
        header = _parse_header(head)
    # The parts are ASCII once they are decoded; the header is, because it was.
    return Token(head, header, decode(body), f"{head}.{body}".encode(), decode(signature))


def unsigned(claims: bytes) -> Token:
    """What a token with these claims has inside, without header and signature."""
    return Token("", Header(""), claims, b"", b"")


def _parse_header(head: str) -> Header:
    try:
        if not head.startswith(_OPENING):
            raise DecodeError("no object")
        header = _read(Header, decode(head))
    except DecodeError:
        # Anyone can send brackets inside brackets; the decoder's limit is not ours to hit.
        message = "the header is malformed"
        raise InvalidToken(message) from None
    if header.crit:
        message = "the header demands extensions (crit)"
        raise InvalidToken(message)
    return header


def decode(part: str) -> bytes:
    """Base64url without padding. Line breaks are ignored, and bits that belong to no byte: tokens
    come out of files and terminals, and Go's decoder has always let them pass.

    Raises:
        InvalidToken: it is anything else.
    """
    try:
        raw = part.encode("ascii").translate(_FROM_URL, b"\r\n")
        over = len(raw) % 4
        if over != 1:
            return binascii.a2b_base64(raw + b"==="[: -over % 4], strict_mode=True)
    except (binascii.Error, UnicodeError):
        pass
    message = "a part is no base64url"
    raise InvalidToken(message)


def encode(value: bytes) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=")

"""The parts of a JSON web token in its compact form."""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

import msgspec

from flyball.protocol.codec import UNREADABLE
from flyball.server.auth.errors import InvalidToken

MAX_TOKEN_SIZE: Final = 65536
"""Bytes; no message of a client is longer."""
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/???")
"""To the alphabet of :mod:`binascii`; its own special characters become wrong ones."""


class Header(msgspec.Struct):
    """The first part of a token."""

    alg: str = ""
    kid: str | None = None
    typ: str | None = None
    cty: str | None = None
    crit: msgspec.Raw = msgspec.Raw()


class Token(msgspec.Struct, frozen=True):
    """A token, taken apart; nothing is verified yet."""

    head: str
    """The first part as it was written."""
    header: Header
    claims: bytes
    signed: bytes
    signature: bytes


_headers: Final = msgspec.json.Decoder(Header)
_NULL: Final = msgspec.Raw(b"null")
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
        header = _read_header(decode(head))
    except UNREADABLE:
        # Anyone can send brackets inside brackets; the decoder's limit is not ours to hit.
        message = "the header is malformed"
        raise InvalidToken(message) from None
    if header.crit:
        message = "the header demands extensions (crit)"
        raise InvalidToken(message)
    return header


def _read_header(json: bytes) -> Header:
    """Names may be in any case, nulls are absent."""
    try:
        header = _headers.decode(json)
        if header.alg:
            return header
    except msgspec.ValidationError:
        pass
    given = msgspec.json.decode(json, type=dict[str, msgspec.Raw])
    tidy = {name.lower(): value for name, value in given.items() if value != _NULL}
    return _headers.decode(msgspec.json.encode(tidy))


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

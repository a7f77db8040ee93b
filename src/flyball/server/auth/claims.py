"""What tokens say: the claims as they are written, and what is made of them.

The claims are those of Centrifugo: see the options reference of ``client.token``.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

import msgspec

from flyball.core.errors import Error
from flyball.core.types import NO_DATA, Raw, payload
from flyball.protocol import codes
from flyball.protocol.codec import UNREADABLE
from flyball.server.auth.errors import InvalidToken
from flyball.server.channels.data_format import is_json
from flyball.server.channels.overrides import BoolValue, OverrideMessage, Overrides, overrides_of
from flyball.server.common.base64 import decode_payload

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from flyball.server.auth.jose import Token

C = TypeVar("C", bound="CommonClaims")


class SubscribeOptionsClaim(msgspec.Struct):
    """One entry of ``subs``."""

    info: Raw = NO_DATA
    b64info: str | None = None
    data: Raw = NO_DATA
    b64data: str | None = None
    override: OverrideMessage | None = None


class CommonClaims(msgspec.Struct):
    """Claims of both kinds of token. Null is the same as absent, but for the audience."""

    sub: str | None = None
    exp: int | float | None = None
    nbf: int | float | None = None
    iat: int | float | None = None
    iss: str | None = None
    aud: str | list[str] = ""
    jti: str | None = None
    expire_at: int | None = None
    info: Raw = NO_DATA
    b64info: str | None = None
    channel: str | None = None

    @property
    def audiences(self) -> Sequence[str]:
        """Whom the token is for (``aud``)."""
        return (self.aud,) if isinstance(self.aud, str) else self.aud


class ConnectClaims(CommonClaims):
    """Claims of a connection token."""

    meta: Raw = NO_DATA
    channels: list[str] | None = None
    subs: dict[str, SubscribeOptionsClaim | None] | None = None

    def subscriptions(self) -> dict[str, SubscribeClaims]:
        """The server-side subscriptions by channel: ``subs``, or without any ``channels``.

        Empty names are skipped.

        Raises:
            InvalidToken: one has data that is no base64.
        """
        if self.subs:
            return {
                channel: NO_CLAIMS if given is None else _subscribe_claims(given)
                for channel, given in self.subs.items()
                if channel
            }
        return dict.fromkeys(filter(None, self.channels or ()), NO_CLAIMS)


class SubscriptionClaims(CommonClaims):
    """Claims of a subscription token."""

    client: str | None = None
    data: Raw = NO_DATA
    b64data: str | None = None
    override: OverrideMessage | None = None


@dataclass(frozen=True, slots=True)
class SubscribeClaims:
    """A server-side subscription that a connection token asks for."""

    info: Raw
    data: Raw
    overrides: Overrides


@dataclass(frozen=True, slots=True)
class ConnectToken:
    """A verified connection token."""

    user: str
    expire_at: float
    """Unix seconds when the connection expires, 0 never."""
    info: Raw
    meta: Raw | None
    subs: dict[str, SubscribeClaims]


@dataclass(frozen=True, slots=True)
class SubscribeToken:
    """A verified subscription token."""

    user: str
    channel: str
    client: str
    expire_at: float
    """Unix seconds when the subscription expires, 0 never."""
    info: Raw
    data: Raw
    overrides: Overrides


NO_CLAIMS: Final = SubscribeClaims(NO_DATA, NO_DATA, {})
"""A subscription of which the token tells nothing but the channel."""
NULL: Final = Raw(b"null")


class ClaimsReader(Generic[C]):
    """Reads the claims of one kind of token.

    Nearly all are as they should be, and msgspec reads them. What backends write otherwise and has
    always been accepted is put right first: see :func:`tidy`.
    """

    __slots__ = ("_decode", "_fields")

    def __init__(self, kind: type[C]) -> None:
        self._decode = msgspec.json.Decoder(kind).decode
        self._fields = kind.__struct_fields__

    def read(self, token: Token) -> C:
        """The claims of ``token``.

        Raises:
            InvalidToken: they are no JSON, or one has the wrong type.
        """
        claims = token.claims
        try:
            if not claims.isascii():
                # The decoder does not look into raw values, and other clients get them as they are.
                claims.decode()
            if claims == claims.lower() or not _CAPITALS.search(claims):
                try:
                    return self._decode(claims)
                except msgspec.DecodeError:
                    pass
            return self._decode(tidy(_SURROGATES.sub(_replaced, claims), self._fields))
        except msgspec.ValidationError as error:
            # Names the place and the types; never the value.
            message = f"the claims are malformed: {error}"
            raise InvalidToken(message) from None
        except UNREADABLE:
            message = "the claims are no JSON"
            raise InvalidToken(message) from None


_CAPITALS: Final = re.compile(rb'"[a-z0-9_]*[A-Z]\w*"\s*:')
"""A name with a capital."""
_SURROGATES: Final = re.compile(
    rb"\\\\|\\u[dD][89abAB]\w\w\\u[dD][c-fC-F]\w\w|(\\u[dD][89a-fA-F]\w\w)"
)
"""Half a surrogate pair, escaped; whole ones and escaped backslashes are passed over."""
_NUMBER: Final = re.compile(rb'"(-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"')
"""A number in a text."""
_objects: Final = msgspec.json.Decoder(dict[str, Raw])
_lists: Final = msgspec.json.Decoder(list[Raw])


def _replaced(found: re.Match[bytes]) -> bytes:
    return found[0] if found[1] is None else b"\\ufffd"


def tidy(json: bytes, fields: tuple[str, ...]) -> bytes:
    """An object as its fields are called, of what names them in other cases, with numbers for texts
    that hold one where a time is wanted, and without nulls in place of names.

    Raises:
        msgspec.DecodeError: it is no object.
    """
    found: dict[str, Raw] = {}
    if json.strip() == b"null":
        return b"{}"
    for name, value in _objects.decode(json).items():
        field = name.lower()
        if field in fields:
            mend = _MENDED.get(field)
            found[field] = value if mend is None or value == NULL else Raw(mend(bytes(value)))
    return msgspec.json.encode(found)


def _time(json: bytes) -> bytes:
    number = _NUMBER.fullmatch(json)
    return json if number is None else number[1]


def _names(json: bytes) -> bytes:
    return msgspec.json.encode([v if v != NULL else Raw(b'""') for v in _lists.decode(json)])


def _subs(json: bytes) -> bytes:
    fields = SubscribeOptionsClaim.__struct_fields__
    return _each(json, lambda value: tidy(value, fields))


def _override(json: bytes) -> bytes:
    switches = tidy(json, OverrideMessage.__struct_fields__)
    return _each(switches, lambda value: tidy(value, BoolValue.__struct_fields__))


def _each(json: bytes, mend: Callable[[bytes], bytes]) -> bytes:
    found = _objects.decode(json)
    return msgspec.json.encode(
        {k: v if v == NULL else Raw(mend(bytes(v))) for k, v in found.items()}
    )


_MENDED: Final = {
    "exp": _time,
    "nbf": _time,
    "iat": _time,
    "channels": _names,
    "subs": _subs,
    "override": _override,
}
"""Claims that may be written otherwise, and what puts them right."""


def _subscribe_claims(given: SubscribeOptionsClaim) -> SubscribeClaims:
    return SubscribeClaims(
        json_or_base64(given.info, given.b64info, "b64info"),
        json_or_base64(given.data, given.b64data, "b64data"),
        overrides_of(given.override),
    )


def json_or_base64(json: Raw, base64: str | None, name: str) -> Raw:
    """A payload that is given as JSON, or (which wins) in base64; ``name`` is the claim of that.

    Raises:
        InvalidToken: it is no base64.
    """
    if not base64:
        # Off the token's bytes: the value lives as long as the connection.
        return payload(bytes(json)) if json else NO_DATA
    try:
        return decode_payload(base64)
    except ValueError:
        message = f"{name} is no base64"
        raise InvalidToken(message) from None


def connection_info(claims: ConnectClaims) -> Raw:
    """The info of a connection.

    Raises:
        Error: 100, it is no base64. Unlike all else that is wrong with a token this is no last word:
            clients come again.
    """
    try:
        return json_or_base64(claims.info, claims.b64info, "b64info")
    except InvalidToken as error:
        raise Error(codes.INTERNAL, detail=f"the token's {error}") from None


def read_meta(meta: Raw) -> Raw | None:
    """The text of ``meta``, which backends get as it is; None without one.

    Raises:
        InvalidToken: it is no JSON.
    """
    if not meta:
        return None
    if not is_json(meta):
        message = "meta is no JSON"
        raise InvalidToken(message)
    # Off the token's bytes: the value lives as long as the connection.
    return payload(bytes(meta))


def _value(json: Raw) -> Any:
    try:
        return msgspec.json.decode(json)
    except UNREADABLE:
        message = "a claim is no JSON"
        raise InvalidToken(message) from None


def claim_as_text(token: Token, claim: str) -> str:
    """A claim of any type as a user id: numbers in plain decimals, the rest as JSON.

    Raises:
        InvalidToken: it is no JSON.
    """
    json = msgspec.json.decode(token.claims, type=dict[str, Raw]).get(claim)
    if json is None or json == NULL:
        return ""
    value = _value(json)
    if isinstance(value, str):
        return value
    text = bytes(json).decode()
    if isinstance(value, float):
        text = format(Decimal(repr(value)), "f")
        return text.rstrip("0").rstrip(".") if "." in text else text
    return text

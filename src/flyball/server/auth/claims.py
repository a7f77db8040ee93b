"""What tokens say: the claims as they are written, and what is made of them.

The claims are those of Centrifugo: see the options reference of ``client.token``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from decimal import Decimal
from math import isinf
from typing import TYPE_CHECKING, Annotated, Any, Final, Generic, TypeAlias, TypeVar, cast

import msgspec

from flyball.core.errors import Error
from flyball.core.types import NO_DATA, Raw, payload
from flyball.protocol import codes
from flyball.protocol.codec import UNREADABLE, DecodeError
from flyball.protocol.fields import FieldKind, FieldTable, MessageField, field_table
from flyball.protocol.json_reader import JsonReader, clean_text, members
from flyball.server.auth.errors import InvalidToken
from flyball.server.channels.data_format import is_json
from flyball.server.channels.overrides import OVERRIDES, OverrideMessage, Overrides, overrides_of
from flyball.server.common.base64 import decode_payload

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.server.auth.jose import Token

C = TypeVar("C", bound="CommonClaims")
Int64: TypeAlias = Annotated[int, msgspec.Meta(ge=-(2**63), le=2**63 - 1)]


class SubscribeOptionsClaim(msgspec.Struct):
    """One entry of ``subs``."""

    info: Raw = NO_DATA
    b64info: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    override: OverrideMessage | None = None


class CommonClaims(msgspec.Struct):
    """Claims of both kinds of token. Null is the same as absent, but for the audience.

    Texts are not ``str | None``: what null does to one that was there before, the tolerant rules know.
    """

    sub: str = ""
    exp: int | float | None = None
    nbf: int | float | None = None
    iat: int | float | None = None
    iss: str = ""
    aud: str | list[str] = ""
    jti: str = ""
    expire_at: Int64 | None = None
    info: Raw = NO_DATA
    b64info: str = ""
    channel: str = ""

    @property
    def audiences(self) -> Sequence[str]:
        """Whom the token is for (``aud``)."""
        return (self.aud,) if isinstance(self.aud, str) else self.aud

    def has_twins(self, claims: bytes) -> bool:
        """Whether an object may be in ``claims`` twice, and is to be merged: msgspec takes the last.

        The text of a payload may look like one: then the tolerant rules are asked for nothing.
        """
        raise NotImplementedError


class ConnectClaims(CommonClaims):
    """Claims of a connection token."""

    meta: Raw = NO_DATA
    channels: list[str] | None = None
    subs: dict[str, SubscribeOptionsClaim] | None = None

    def has_twins(self, claims: bytes) -> bool:
        """See :meth:`CommonClaims.has_twins`."""
        subs = self.subs
        if subs is None or claims.count(b"{") == 2 + len(subs):  # no object but these
            return False
        return claims.count(b'"subs"') > 1 or _override_twins(
            claims, [o for s in subs.values() if (o := s.override)]
        )

    def subscriptions(self) -> dict[str, SubscribeClaims]:
        """The server-side subscriptions by channel: ``subs``, or without any ``channels``.

        An empty name is one too, though nothing can be subscribed by it.

        Raises:
            InvalidToken: one has data that is no base64.
        """
        if self.subs:
            return {channel: _subscribe_claims(given) for channel, given in self.subs.items()}
        return dict.fromkeys(self.channels or (), NO_CLAIMS)


class SubscriptionClaims(CommonClaims):
    """Claims of a subscription token."""

    client: str = ""
    data: Raw = NO_DATA
    b64data: str = ""
    override: OverrideMessage | None = None

    def has_twins(self, claims: bytes) -> bool:
        """See :meth:`CommonClaims.has_twins`."""
        return self.override is not None and _override_twins(claims, [self.override])


_SWITCHES: Final = tuple((name, f'"{name}"'.encode()) for name in OVERRIDES)


def _override_twins(claims: bytes, overrides: list[OverrideMessage]) -> bool:
    """Whether ``claims`` name overrides, or what is in them, more often than ``overrides`` have it."""
    if claims.count(b'"override"') > len(overrides):
        return True
    for name, quoted in _SWITCHES if overrides else ():
        count = claims.count(quoted)
        if count > 1 and count > sum(getattr(o, name) is not None for o in overrides):
            return True
    return False


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
    """By channel; a name may be empty."""


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
    always been accepted takes the tolerant rules of messages: names in other cases, nulls in place
    of texts, objects that come twice, halves of surrogate pairs.
    """

    __slots__ = ("_decode", "_kind")

    def __init__(self, kind: type[C]) -> None:
        self._kind = kind
        self._decode = msgspec.json.Decoder(kind).decode

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
            if (claims.islower() or not _has_capitals(claims)) and not (
                _BACKSLASH in claims and _ESCAPES.search(claims)
            ):
                read = self._decode(claims)
                if not read.has_twins(claims):
                    return read
        except UNREADABLE:
            pass
        try:
            return _TOLERANT.read(self._kind, claims)
        except DecodeError as error:
            raise InvalidToken(self._why(claims, error)) from None

    def _why(self, claims: bytes, error: DecodeError) -> str:
        """What is wrong, and where: the place and the types, never the value."""
        try:
            self._decode(claims)
        except msgspec.ValidationError as strict:
            return f"the claims are malformed: {strict}"
        except UNREADABLE:
            return "the claims are no JSON"
        return f"the claims are malformed: {error}"


_BACKSLASH: Final = 92
_CAPITALS: Final = re.compile(rb'[A-Z]\w{0,20}"\s*:')
"""The end of a name with a capital: few values have to be looked at. No claim has a longer name, and
of a long text each letter would be a beginning."""
_NAMED: Final = re.compile(rb'"(\w{1,21})"\s*:')
_ESCAPES: Final = re.compile(rb"\\u00(?:[46][1-9a-fA-F]|[57][0-9aA]|3[0-9]|5[fF])")
"""A letter, a digit or ``_`` that is escaped, as it need not be: it may be one of a name."""
_NUMBER: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")


def _has_capitals(claims: bytes) -> bool:
    """Whether a claim is written with capitals, and msgspec would not know it."""
    return _CAPITALS.search(claims) is not None and any(
        not name.islower() and name.lower() in _NAMES for name in _NAMED.findall(claims)
    )


def _claim(kind: Any) -> Callable[[Raw], Any]:
    """What reads a claim whose type is not one of messages."""
    decode = msgspec.json.Decoder(kind).decode

    def read(written: Raw) -> Any:
        try:
            return decode(written)
        except msgspec.DecodeError as error:
            raise DecodeError(str(error)) from None

    return read


_number_or_text: Final = _claim(int | float | str | None)


def _time(written: Raw) -> int | float | None:
    """A time may be a number in a text."""
    time = _number_or_text(written)
    if isinstance(time, str):
        if _NUMBER.fullmatch(time) is None:
            raise DecodeError("a time is no number")
        time = _number_or_text(Raw(time.encode()))
    return cast("int | float | None", time)


def _audience(written: Raw) -> str | list[str]:
    try:
        audience = json.loads(bytes(written))
    except ValueError:  # a number of thousands of digits
        audience = None
    if isinstance(audience, str):
        return clean_text(audience)
    if isinstance(audience, list) and all(isinstance(one, str) for one in audience):
        return [clean_text(one) for one in audience]
    raise DecodeError("the audience is neither a text nor a list of them")


_OWN: Final[dict[str, Callable[[Raw], Any]]] = {
    "exp": _time,
    "nbf": _time,
    "iat": _time,
    "aud": _audience,
    "expire_at": _claim(Int64 | None),
}
"""Claims that the tolerant rules are not about, and what reads them; null is theirs too."""


def _as_claim(field: MessageField) -> MessageField:
    own = _OWN.get(field.name)
    return field if own is None else replace(field, kind=FieldKind.PAYLOAD, made=own)


_TABLE: Final[FieldTable] = {
    struct: tuple(map(_as_claim, fields))
    for struct, fields in field_table((ConnectClaims, SubscriptionClaims)).items()
}
_TOLERANT: Final = JsonReader(_TABLE)
_NAMES: Final = frozenset(field.name.encode() for fields in _TABLE.values() for field in fields)


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


def claim_as_text(token: Token, claim: str) -> str:
    """A claim of any type as a user id: numbers in plain decimals, the rest as JSON.

    Raises:
        InvalidToken: it is a number beyond all bounds, or nested too deep.
    """
    text = bytes(_first(token.claims, claim)).decode()
    if text == "null":
        return ""
    if text.startswith('"'):
        return clean_text(json.loads(text))
    if _NUMBER.fullmatch(text) is None or text.lstrip("-").isdecimal():
        return text
    number = float(text)
    if isinf(number):
        message = f"{claim} is out of range"
        raise InvalidToken(message)
    text = format(Decimal(repr(number)), "f")
    return text.rstrip("0").rstrip(".") if "." in text else text


_objects: Final = msgspec.json.Decoder(dict[str, Raw])


def _first(claims: bytes, name: str) -> Raw:
    """A claim that is none of ours, as it was written; of twins the first one."""
    if claims.count(b'"%b"' % name.encode()) == 1:
        try:
            return _objects.decode(claims).get(name, NULL)
        except UNREADABLE:  # half a surrogate pair, anywhere
            pass
    try:
        return next((value for other, value in members(claims) if other == name), NULL)
    except DecodeError as error:  # deeper than the tolerant rules go
        message = f"{name} cannot be read: {error}"
        raise InvalidToken(message) from None

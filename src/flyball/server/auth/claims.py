"""What tokens say: the claims as they are written, and what is made of them.

The claims are those of Centrifugo: see the options reference of ``client.token``.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final, TypeVar

import msgspec

from flyball.core.types import NO_DATA, Raw, payload
from flyball.server.auth.errors import InvalidToken
from flyball.server.channels.overrides import OverrideMessage, Overrides, overrides_of

if TYPE_CHECKING:
    from collections.abc import Sequence

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
    """Claims of both kinds of token. Null is the same as absent."""

    sub: str | None = None
    exp: int | float | None = None
    nbf: int | float | None = None
    iat: int | float | None = None
    iss: str | None = None
    aud: str | list[str] | None = None
    jti: str | None = None
    expire_at: int | None = None
    info: Raw = NO_DATA
    b64info: str | None = None
    channel: str | None = None

    @property
    def audiences(self) -> Sequence[str]:
        """Whom the token is for (``aud``)."""
        if self.aud is None:
            return ()
        return (self.aud,) if isinstance(self.aud, str) else self.aud


class ConnectClaims(CommonClaims):
    """Claims of a connection token."""

    meta: Raw = NO_DATA
    channels: list[str] | None = None
    subs: dict[str, SubscribeOptionsClaim | None] | None = None

    def subscriptions(self) -> dict[str, SubscribeClaims]:
        """The server-side subscriptions by channel: ``subs``, or without any ``channels``.

        Raises:
            InvalidToken: one has data that is no base64.
        """
        if self.subs:
            return {
                channel: NO_CLAIMS if given is None else _subscribe_claims(given)
                for channel, given in self.subs.items()
            }
        return dict.fromkeys(self.channels or (), NO_CLAIMS)


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
    meta: Any
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


def read_claims(decoder: msgspec.json.Decoder[C], token: Token) -> C:
    """The claims of ``token``.

    Raises:
        InvalidToken: they are no JSON, or one has the wrong type.
    """
    try:
        if not token.claims.isascii():
            # The decoder does not look into raw values, and other clients get them as they are.
            token.claims.decode()
        return decoder.decode(token.claims)
    except msgspec.ValidationError as error:
        # Names the place and the types; never the value.
        message = f"the claims are malformed: {error}"
        raise InvalidToken(message) from None
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        message = "the claims are no JSON"
        raise InvalidToken(message) from None


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
        # Off the token's bytes: the value lives as long as the connection. Null is no value.
        return payload(bytes(json)) if json and json != NULL else NO_DATA
    try:
        return payload(b64decode(base64, validate=True))
    except ValueError:
        message = f"{name} is no base64"
        raise InvalidToken(message) from None


def read_meta(meta: Raw) -> dict[str, Any] | None:
    """The value of ``meta``, None without one.

    Raises:
        InvalidToken: it is no JSON object.
    """
    if not meta or meta == NULL:
        return None
    value = _value(meta)
    if not isinstance(value, dict):
        message = "meta is no object"
        raise InvalidToken(message)
    return value


def _value(json: Raw) -> Any:
    try:
        return msgspec.json.decode(json)
    except (msgspec.DecodeError, UnicodeError, RecursionError):
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

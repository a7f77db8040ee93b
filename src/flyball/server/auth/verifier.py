"""Verifying connection and subscription tokens.

The claims are those of Centrifugo: see the options reference of ``client.token``.
"""

from __future__ import annotations

from base64 import b64decode
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

from flyball.core.errors import ConfigError, FlyballError
from flyball.core.expiry import cut_expiry
from flyball.core.types import NO_DATA, Raw, payload
from flyball.server.auth.checks import claim_problems, source_problems
from flyball.server.auth.endpoint import EndpointTemplate
from flyball.server.auth.jose import InvalidToken, take_apart
from flyball.server.auth.keys import HmacKey, pem_key
from flyball.server.channels.overrides import OverrideMessage, Overrides, overrides_of
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Sequence

    from flyball.aio.clock import Clock
    from flyball.server.auth.jose import Header, Token
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.auth.keys import Key
    from flyball.server.auth.options import TokenOptions
    from flyball.server.common.patterns import Pattern

__all__ = [
    "ConnectToken",
    "InvalidToken",
    "SubscribeClaims",
    "SubscribeToken",
    "TokenExpired",
    "TokenVerifier",
]

MAX_SOURCE_LENGTH: Final = 4096
"""Characters of ``iss``, and of all of ``aud``, where they are looked at."""
MAX_HEADERS: Final = 64
MAX_HEADER_LENGTH: Final = 512
"""Of the headers that are known without parsing."""


class TokenExpired(FlyballError):
    """The token is right, but its time is over (or did not come yet)."""


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


class ConnectClaims(CommonClaims):
    """Claims of a connection token."""

    meta: Raw = NO_DATA
    channels: list[str] | None = None
    subs: dict[str, SubscribeOptionsClaim | None] | None = None


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


class TokenVerifier:
    """Verifies tokens with the configured keys; the kind of key fixes the algorithms.

    Args:
        options: keys and demands.
        clock: for expiry.
        jwks: fetches key sets; needed if ``options`` names an endpoint.
        verify_signatures: False takes every signature for a right one. For development only.

    Raises:
        ConfigError: a key, pattern, claim name or endpoint is malformed; names the option.
    """

    def __init__(
        self,
        options: TokenOptions,
        clock: Clock,
        jwks: JwksClient | None = None,
        *,
        verify_signatures: bool = True,
    ) -> None:
        self._options = options
        self._verify_signatures = verify_signatures
        self._clock = clock
        for option, problem in (*claim_problems(options), *source_problems(options)):
            raise ConfigError(f"{option}: {problem}")
        self._issuer_regex = _pattern(options.issuer_regex, "issuer_regex")
        self._audience_regex = _pattern(options.audience_regex, "audience_regex")
        self._picky = bool(
            options.issuer or options.audience or options.issuer_regex or options.audience_regex
        )
        self._key_sets: tuple[EndpointTemplate, JwksClient] | None = None
        self._keys: list[Key] = []
        self._previous: HmacKey | None = None
        if options.jwks_public_endpoint:
            self._key_sets = _key_sets(options, jwks)
        else:
            self._keys = _own_keys(options)
            if options.hmac_previous_secret_key:
                self._previous = HmacKey(options.hmac_previous_secret_key)
        self._headers: dict[str, Header] = {}
        self._connect_decoder = msgspec.json.Decoder(ConnectClaims)
        self._subscribe_decoder = msgspec.json.Decoder(SubscriptionClaims)

    async def verify_connect_token(self, text: str) -> ConnectToken:
        """A connection token, verified. Waits only if a key set must be fetched.

        Raises:
            TokenExpired: its time is over, or did not come yet.
            InvalidToken: anything else is wrong with it.
            Error: 100, its key set cannot be fetched now.
        """
        token = take_apart(text, self._headers)
        claims: ConnectClaims = _claims(self._connect_decoder, token)
        await self._check(token, claims)
        if claims.channel:
            message = "it names a channel: this is a subscription token"
            raise InvalidToken(message)
        self._check_time(claims)
        subs: dict[str, SubscribeClaims] = {}
        if claims.subs:
            for channel, given in claims.subs.items():
                subs[channel] = NO_CLAIMS if given is None else _subscribe_claims(given)
        elif claims.channels:
            subs = dict.fromkeys(claims.channels, NO_CLAIMS)
        return ConnectToken(
            self._user(token, claims),
            self._expiry(claims),
            _json_or_base64(claims.info, claims.b64info, "b64info"),
            _meta(claims.meta),
            subs,
        )

    async def verify_subscribe_token(self, text: str) -> SubscribeToken:
        """A subscription token, verified. Whether it fits the request is for the caller to see.

        Waits only if a key set must be fetched.

        Raises:
            TokenExpired: its time is over, or did not come yet.
            InvalidToken: anything else is wrong with it.
            Error: 100, its key set cannot be fetched now.
        """
        token = take_apart(text, self._headers)
        claims: SubscriptionClaims = _claims(self._subscribe_decoder, token)
        await self._check(token, claims)
        self._check_time(claims)
        if not claims.channel:
            message = "it names no channel"
            raise InvalidToken(message)
        return SubscribeToken(
            self._user(token, claims),
            claims.channel,
            claims.client or "",
            self._expiry(claims),
            _json_or_base64(claims.info, claims.b64info, "b64info"),
            _json_or_base64(claims.data, claims.b64data, "b64data"),
            overrides_of(claims.override),
        )

    # -- source, signature and time

    async def _check(self, token: Token, claims: CommonClaims) -> None:
        # What compares is first, so that no keys are fetched for strangers' tokens. What matches
        # patterns costs more, and comes after the signature: strangers pay nothing into it.
        if self._picky:
            self._check_source(claims)
        if self._verify_signatures:
            if self._key_sets is not None:
                await self._check_by_key_set(*self._key_sets, token, claims)
            else:
                self._check_signature(token)
            self._remember(token)
        if self._picky:
            self._check_source_patterns(claims)

    def _remember(self, token: Token) -> None:
        """A backend signs all its tokens with the same few headers; strangers add none."""
        if token.head not in self._headers and len(token.head) <= MAX_HEADER_LENGTH:
            if len(self._headers) >= MAX_HEADERS:
                self._headers.clear()
            self._headers[token.head] = token.header

    def _check_source(self, claims: CommonClaims) -> None:
        options = self._options
        issuer, audiences = claims.iss or "", _audiences(claims)
        if options.issuer and issuer != options.issuer:
            message = "it is of another issuer (iss)"
            raise InvalidToken(message)
        if options.audience and options.audience not in audiences:
            message = "it is for another audience (aud)"
            raise InvalidToken(message)
        # Patterns, that of a key set's address too, are tried on no longer texts.
        if len(issuer) > MAX_SOURCE_LENGTH or sum(map(len, audiences)) > MAX_SOURCE_LENGTH:
            message = f"its issuer or audience is longer than {MAX_SOURCE_LENGTH} characters"
            raise InvalidToken(message)

    def _check_source_patterns(self, claims: CommonClaims) -> None:
        issuer, audiences = claims.iss or "", _audiences(claims)
        if self._issuer_regex is not None and not self._issuer_regex.search(issuer):
            message = "its issuer (iss) does not match issuer_regex"
            raise InvalidToken(message)
        if self._audience_regex is not None and not any(
            map(self._audience_regex.search, audiences)
        ):
            message = "its audience (aud) does not match audience_regex"
            raise InvalidToken(message)

    def _check_signature(self, token: Token) -> None:
        algorithm = token.header.alg
        handled = False
        for key in self._keys:
            if key.handles(algorithm):
                if key.verifies(algorithm, token.signed, token.signature):
                    return
                handled = True
        previous = self._previous
        if previous is not None and previous.handles(algorithm):
            until = self._options.hmac_previous_secret_key_valid_until
            if (not until or self._clock.time() <= until) and previous.verifies(
                algorithm, token.signed, token.signature
            ):
                return
            handled = True
        message = (
            "the signature is wrong"
            if handled
            else f"there is no key for algorithm {algorithm[:16]!r}"
        )
        raise InvalidToken(message)

    async def _check_by_key_set(
        self, endpoint: EndpointTemplate, jwks: JwksClient, token: Token, claims: CommonClaims
    ) -> None:
        header = token.header
        if not header.kid:
            message = "it names no key (kid)"
            raise InvalidToken(message)
        if header.alg not in KEY_SET_ALGORITHMS:
            message = f"keys of a key set are not for algorithm {header.alg[:16]!r}"
            raise InvalidToken(message)
        url = endpoint.url(claims.iss or "", _audiences(claims))
        key = await jwks.key(url, header.kid, header.alg)
        if key is None or not key.handles(header.alg):
            message = f"there is no key for kid {header.kid[:64]!r} and {header.alg[:16]!r}"
            raise InvalidToken(message)
        if not key.verifies(header.alg, token.signed, token.signature):
            message = "the signature is wrong"
            raise InvalidToken(message)

    def _check_time(self, claims: CommonClaims) -> None:
        if claims.exp is None and claims.nbf is None:
            return
        now = self._clock.time()
        # Too early is answered as too late is: the client asks its backend for another token.
        if claims.nbf is not None and claims.nbf > now:
            message = "it is not valid yet (nbf)"
            raise TokenExpired(message)
        if claims.exp is not None and claims.exp <= now:
            raise TokenExpired

    # -- claims

    def _user(self, token: Token, claims: CommonClaims) -> str:
        claim = self._options.user_id_claim
        if not claim or claim == "sub":
            return claims.sub or ""
        return _as_text(msgspec.json.decode(token.claims, type=dict[str, Raw]).get(claim))

    def _expiry(self, claims: CommonClaims) -> float:
        expire_at = claims.exp if claims.expire_at is None else claims.expire_at
        if not expire_at or expire_at <= 0:
            return 0.0
        return cut_expiry(expire_at, self._clock.time())


NO_CLAIMS: Final = SubscribeClaims(NO_DATA, NO_DATA, {})
KEY_SET_ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")
)


def _key_sets(
    options: TokenOptions, jwks: JwksClient | None
) -> tuple[EndpointTemplate, JwksClient]:
    endpoint = EndpointTemplate(
        options.jwks_public_endpoint,
        issuer_regex=options.issuer_regex,
        audience_regex=options.audience_regex,
        safe=not options.insecure_skip_jwks_endpoint_safety_check,
    )
    if jwks is None:
        message = "jwks_public_endpoint: a verifier with an endpoint needs a JwksClient"
        raise ConfigError(message)
    jwks.prepare()
    return endpoint, jwks


def _own_keys(options: TokenOptions) -> list[Key]:
    keys: list[Key] = []
    if options.hmac_secret_key:
        keys.append(HmacKey(options.hmac_secret_key))
    if options.rsa_public_key:
        keys.append(pem_key(options.rsa_public_key, "rsa_public_key", "RSA"))
    if options.ecdsa_public_key:
        keys.append(pem_key(options.ecdsa_public_key, "ecdsa_public_key", "EC"))
    return keys


def _pattern(source: str, option: str) -> Pattern | None:
    return compile_pattern(source, option) if source else None


def _claims(decoder: msgspec.json.Decoder[Any], token: Token) -> Any:
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


def _audiences(claims: CommonClaims) -> Sequence[str]:
    audience = claims.aud
    if audience is None:
        return ()
    return (audience,) if isinstance(audience, str) else audience


def _subscribe_claims(given: SubscribeOptionsClaim) -> SubscribeClaims:
    return SubscribeClaims(
        _json_or_base64(given.info, given.b64info, "b64info"),
        _json_or_base64(given.data, given.b64data, "b64data"),
        overrides_of(given.override),
    )


def _json_or_base64(json: Raw, base64: str | None, name: str) -> Raw:
    if not base64:
        # Off the token's bytes: the value lives as long as the connection. Null is no value.
        return payload(bytes(json)) if json and json != NULL else NO_DATA
    try:
        return payload(b64decode(base64, validate=True))
    except ValueError:
        message = f"{name} is no base64"
        raise InvalidToken(message) from None


NULL: Final = Raw(b"null")


def _meta(meta: Raw) -> Any:
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


def _as_text(json: Raw | None) -> str:
    """A claim of any type as a user id: numbers in plain decimals, the rest as JSON."""
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

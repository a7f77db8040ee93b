"""Verifying connection and subscription tokens."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.core.errors import ConfigError
from flyball.core.expiry import MAX_EXPIRY, MAX_SUB_EXPIRY, cut_expiry
from flyball.server.auth.checks import claim_problems, source_problems
from flyball.server.auth.claims import (
    ClaimsReader,
    ConnectClaims,
    ConnectToken,
    SubscribeToken,
    SubscriptionClaims,
    claim_as_text,
    connection_info,
    json_or_base64,
    read_meta,
)
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.auth.jose import take_apart, unsigned
from flyball.server.auth.signatures import KeySets, OwnKeys
from flyball.server.auth.sources import SourceCheck
from flyball.server.channels.overrides import overrides_of

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.server.auth.claims import CommonClaims
    from flyball.server.auth.jose import Header, Token
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.auth.options import TokenOptions

MAX_HEADERS: Final = 64
MAX_HEADER_LENGTH: Final = 512
"""Of the headers that are known without parsing."""


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
        for option, problem in (*claim_problems(options), *source_problems(options)):
            raise ConfigError(f"{option}: {problem}")
        self._user_claim = options.user_id_claim
        self._clock = clock
        self._source = SourceCheck(options)
        self._keys: OwnKeys | KeySets | None = None
        if verify_signatures:
            self._keys = (
                KeySets(options, jwks) if options.jwks_public_endpoint else OwnKeys(options, clock)
            )
        self._claims_first = isinstance(self._keys, KeySets) and (
            not self._keys.is_one or self._source.demands
        )
        self._headers: dict[str, Header] = {}
        self._connect_claims = ClaimsReader(ConnectClaims)
        self._subscribe_claims = ClaimsReader(SubscriptionClaims)

    async def verify_connect_token(self, text: str) -> ConnectToken:
        """A connection token, verified. Waits only if a key set must be fetched.

        Raises:
            TokenExpired: its time is over, or did not come yet.
            InvalidToken: anything else is wrong with it.
            Error: 100, its key set cannot be fetched now, or its info is no base64.
        """
        token = await self._take(text)
        claims = self._connect_claims.read(token)
        await self._check(token, claims)
        return self._connect_token(token, claims)

    def read_connect_claims(self, claims: bytes) -> ConnectToken:
        """What a connection token with these claims (a JSON object) says, if its signature is right.

        To explain decisions, never to let anybody in.

        Raises:
            TokenExpired: its time is over, or did not come yet.
            InvalidToken: anything else is wrong with it.
            Error: 100, its info is no base64.
        """
        token = unsigned(claims)
        read = self._connect_claims.read(token)
        if self._source.demands:
            self._source.check_names(read)
            self._source.check_patterns(read)
        return self._connect_token(token, read)

    def _connect_token(self, token: Token, claims: ConnectClaims) -> ConnectToken:
        if claims.channel:
            message = "it names a channel: this is a subscription token"
            raise InvalidToken(message)
        self._check_time(claims)
        return ConnectToken(
            self._user(token, claims),
            self._expiry(claims),
            connection_info(claims),
            read_meta(claims.meta),
            claims.subscriptions(),
        )

    async def verify_subscribe_token(self, text: str) -> SubscribeToken:
        """A subscription token, verified. Whether it fits the request is for the caller to see.

        Waits only if a key set must be fetched.

        Raises:
            TokenExpired: its time is over, or did not come yet.
            InvalidToken: anything else is wrong with it.
            Error: 100, its key set cannot be fetched now, or a payload in it is no base64.
        """
        token = await self._take(text)
        claims = self._subscribe_claims.read(token)
        await self._check(token, claims)
        self._check_time(claims)
        if not claims.channel:
            message = "it names no channel"
            raise InvalidToken(message)
        return SubscribeToken(
            self._user(token, claims),
            claims.channel,
            claims.client,
            self._expiry(claims, MAX_SUB_EXPIRY),
            json_or_base64(claims.info, claims.b64info, "b64info"),
            json_or_base64(claims.data, claims.b64data, "b64data"),
            overrides_of(claims.override),
        )

    # -- source, signature and time

    async def _take(self, text: str) -> Token:
        """The parts of a token, whose signature is checked before its claims are read: strangers would
        write such as take long. But claims may tell which key set it is, and that none is to be
        fetched.
        """
        token = take_apart(text, self._headers)
        if isinstance(self._keys, OwnKeys):
            self._keys.check(token)
        elif self._keys is not None and not self._claims_first:
            await self._keys.check(token, None)
        return token

    async def _check(self, token: Token, claims: CommonClaims) -> None:
        demands = self._source.demands
        if demands:
            self._source.check_names(claims)
        if self._claims_first and isinstance(self._keys, KeySets):
            await self._keys.check(token, claims)
        if self._keys is not None:
            self._remember(token)
        if demands:
            self._source.check_patterns(claims)

    def _remember(self, token: Token) -> None:
        """A backend signs all its tokens with the same few headers; strangers add none."""
        if token.head not in self._headers and len(token.head) <= MAX_HEADER_LENGTH:
            if len(self._headers) >= MAX_HEADERS:
                self._headers.clear()
            self._headers[token.head] = token.header

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
        claim = self._user_claim
        return claim_as_text(token, claim) if claim and claim != "sub" else claims.sub

    def _expiry(self, claims: CommonClaims, longest: float = MAX_EXPIRY) -> float:
        expire_at = claims.exp if claims.expire_at is None else claims.expire_at
        if not expire_at or expire_at <= 0:
            return 0.0
        return cut_expiry(expire_at, self._clock.time(), longest)

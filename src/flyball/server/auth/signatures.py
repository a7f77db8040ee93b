"""Which keys a token's signature is checked with: our own, or those of a key set."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.core.errors import ConfigError
from flyball.server.auth.endpoint import EndpointTemplate
from flyball.server.auth.errors import InvalidToken
from flyball.server.auth.keys import HmacKey, pem_key

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.server.auth.claims import CommonClaims
    from flyball.server.auth.jose import Token
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.auth.keys import Key
    from flyball.server.auth.options import TokenOptions

KEY_SET_ALGORITHMS: Final = frozenset(
    ("RS256", "RS384", "RS512", "ES256", "ES384", "ES512", "EdDSA")
)
"""Secrets are in no key set: a token must not make a public key one (HS256)."""


class OwnKeys:
    """The keys that the configuration holds.

    Args:
        options: the keys.
        clock: for the end of the former secret.

    Raises:
        ConfigError: a key is malformed; names the option.
    """

    def __init__(self, options: TokenOptions, clock: Clock) -> None:
        self._clock = clock
        self._keys: list[Key] = []
        if options.hmac_secret_key:
            self._keys.append(HmacKey(options.hmac_secret_key))
        if options.rsa_public_key:
            self._keys.append(pem_key(options.rsa_public_key, "rsa_public_key", "RSA"))
        if options.ecdsa_public_key:
            self._keys.append(pem_key(options.ecdsa_public_key, "ecdsa_public_key", "EC"))
        previous = options.hmac_previous_secret_key
        self._previous = HmacKey(previous) if previous else None
        self._previous_until = options.hmac_previous_secret_key_valid_until

    def check(self, token: Token) -> None:
        """Checks the signature.

        Raises:
            InvalidToken: it is wrong, or there is no key for its algorithm.
        """
        algorithm = token.header.alg
        handled = False
        for key in self._keys:
            if key.handles(algorithm):
                if key.verifies(algorithm, token.signed, token.signature):
                    return
                handled = True
        previous = self._previous
        if previous is not None and previous.handles(algorithm):
            if self._previous_holds() and previous.verifies(
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

    def _previous_holds(self) -> bool:
        return not self._previous_until or self._clock.time() <= self._previous_until


class KeySets:
    """The key sets behind an endpoint, perhaps one for each issuer.

    Args:
        options: the endpoint.
        jwks: fetches from it.

    Raises:
        ConfigError: the endpoint is malformed, or there is no client for it.
    """

    def __init__(self, options: TokenOptions, jwks: JwksClient | None) -> None:
        self._endpoint = EndpointTemplate(
            options.jwks_public_endpoint,
            issuer_regex=options.issuer_regex,
            audience_regex=options.audience_regex,
            safe=not options.insecure_skip_jwks_endpoint_safety_check,
        )
        if jwks is None:
            message = "jwks_public_endpoint: a verifier with an endpoint needs a JwksClient"
            raise ConfigError(message)
        jwks.prepare()
        self._jwks = jwks

    @property
    def is_one(self) -> bool:
        """Whether all tokens have their keys in the same set, so that their claims do not matter."""
        return self._endpoint.is_fixed

    async def check(self, token: Token, claims: CommonClaims | None) -> None:
        """Checks the signature; waits only if the key is not known yet.

        The claims say which set it is; see :attr:`is_one`.

        Raises:
            InvalidToken: it is wrong, or there is no key for it.
            Error: 100, the key set cannot be fetched now.
        """
        header = token.header
        if not header.kid:
            message = "it names no key (kid)"
            raise InvalidToken(message)
        if header.alg not in KEY_SET_ALGORITHMS:
            message = f"keys of a key set are not for algorithm {header.alg[:16]!r}"
            raise InvalidToken(message)
        issuer, audiences = (claims.iss, claims.audiences) if claims else ("", ())
        url = self._endpoint.url(issuer, audiences)
        key = await self._jwks.key(url, header.kid, header.alg)
        if key is None or not key.handles(header.alg):
            message = f"there is no key for kid {header.kid[:64]!r} and {header.alg[:16]!r}"
            raise InvalidToken(message)
        if not key.verifies(header.alg, token.signed, token.signature):
            message = "the signature is wrong"
            raise InvalidToken(message)

"""Making tokens with the configured HMAC secret: for the command line and for tests."""

from __future__ import annotations

import hashlib
import hmac
from typing import TYPE_CHECKING, Any

import msgspec

from flyball.core.errors import ConfigError
from flyball.server.auth.jose import encode
from flyball.server.auth.keys import secret_bytes

if TYPE_CHECKING:
    from flyball.server.auth.options import TokenOptions

_HEADER = encode(b'{"alg":"HS256","typ":"JWT"}')


def sign(claims: dict[str, Any], secret: str) -> str:
    """A HS256 token with ``claims`` in their order."""
    signed = _HEADER + b"." + encode(msgspec.json.encode(claims))
    digest = hmac.new(secret_bytes(secret), signed, hashlib.sha256).digest()
    return (signed + b"." + encode(digest)).decode()


def token_for(
    options: TokenOptions, user: str, ttl: int, now: float, channel: str | None = None
) -> str:
    """A token for ``user`` that expires in ``ttl`` seconds (0 or negative: never).

    With ``channel`` it is a subscription token. An anonymous user has no ``sub``.

    Raises:
        ConfigError: there is no HMAC secret to sign with.
    """
    if not options.hmac_secret_key:
        message = "no HMAC secret key set (client.token.hmac_secret_key)"
        raise ConfigError(message)
    claims: dict[str, Any] = {"sub": user} if user else {}
    if ttl > 0:
        claims["exp"] = int(now) + ttl
    claims["iat"] = int(now)
    if channel is not None:
        claims["channel"] = channel
    if options.user_id_claim:
        claims[options.user_id_claim] = user
    return sign(claims, options.hmac_secret_key)

"""Tokens: who a connection is and what it may subscribe to, as the backend signed it."""

from .jwks import JwksClient
from .options import TokenOptions
from .verifier import (
    ConnectToken,
    InvalidToken,
    SubscribeClaims,
    SubscribeToken,
    TokenExpired,
    TokenVerifier,
)

__all__ = [
    "ConnectToken",
    "InvalidToken",
    "JwksClient",
    "SubscribeClaims",
    "SubscribeToken",
    "TokenExpired",
    "TokenOptions",
    "TokenVerifier",
]

"""Settings of token verification."""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class TokenOptions:
    """Keys and demands of one kind of token; see the options of the same names."""

    hmac_secret_key: str = field(default="", repr=False)
    hmac_previous_secret_key: str = field(default="", repr=False)
    hmac_previous_secret_key_valid_until: int = 0
    """Unix seconds; 0: always."""
    rsa_public_key: str = ""
    ecdsa_public_key: str = ""
    jwks_public_endpoint: str = ""
    audience: str = ""
    audience_regex: str = ""
    issuer: str = ""
    issuer_regex: str = ""
    user_id_claim: str = ""
    insecure_skip_jwks_endpoint_safety_check: bool = False
    insecure_skip_token_signature_verify: bool = False

"""What can be set for the verification of tokens: one row for each option."""

from __future__ import annotations

from flyball.server.common.option import Int64, opt, section

__all__ = ["TokenOptions"]


@section
class TokenOptions:
    """How JSON web tokens are verified."""

    hmac_secret_key: str = opt("", "Secret for HS256, HS384 and HS512 tokens.", secret=True)
    hmac_previous_secret_key: str = opt("", "Former secret, accepted during rotation.", secret=True)
    hmac_previous_secret_key_valid_until: Int64 = opt(
        0,
        "Unix time until which the former secret is accepted; 0 means always.",
        # The secret itself is here sometimes, by mistake.
        secret=True,
    )
    rsa_public_key: str = opt("", "Key for RS256, RS384 and RS512: PEM text only.", secret=True)
    ecdsa_public_key: str = opt("", "Key for ES256, ES384 and ES512: PEM text only.", secret=True)
    jwks_public_endpoint: str = opt(
        "", "URL of a JSON web key set; when set, the other keys are not used."
    )
    audience: str = opt("", "Audience a token must name.")
    audience_regex: str = opt("", "Pattern the audience must match.")
    issuer: str = opt("", "Issuer a token must name.")
    issuer_regex: str = opt("", "Pattern the issuer must match.")
    user_id_claim: str = opt("", "Claim that holds the user id; empty means sub.")
    insecure_skip_jwks_endpoint_safety_check: bool = opt(
        False,
        "Accept JWKS URL templates that let a token choose the host or path freely.",
        insecure=True,
    )

"""Keys that tokens are verified with. A key fixes the algorithms it is used for, never the token.

Asymmetric signatures and keys are the library's (joserfc). HMAC is by hand: a check of HS256 takes
1.1 µs, 2.7 with :func:`hmac.digest` and 17 by the library, and most installations use nothing else.
"""

from __future__ import annotations

import hashlib
import hmac
import warnings
from collections.abc import Callable
from typing import Any, Final, Literal

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate
from joserfc.errors import JoseError, SecurityWarning
from joserfc.jwk import ECKey, OKPKey, RSAKey
from joserfc.jws import JWSRegistry

from flyball.core.errors import ConfigError
from flyball.server.auth.errors import InvalidToken
from flyball.server.auth.jose import decode

MIN_RSA_BITS: Final = 1024
MAX_RSA_BITS: Final = 16384
"""Larger keys would make each check slow."""

_DIGESTS: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_RSA_ALGORITHMS: Final = ("RS256", "RS384", "RS512")
_CURVE_ALGORITHMS: Final = {
    "secp256r1": ("ES256",),
    "secp384r1": ("ES384",),
    "secp521r1": ("ES512",),
}
"""The one algorithm that goes with each curve (RFC 7518, section 3.4), by its name in PEM keys."""
_CURVES: Final = {
    "P-256": "secp256r1",
    "P-384": "secp384r1",
    "P-521": "secp521r1",
}
"""Names of curves in JWKs to those in PEM keys."""
_EDWARDS: Final = ("EdDSA",)


class HmacKey:
    """Verifies HS256, HS384 and HS512."""

    def __init__(self, secret: str) -> None:
        key = secret_bytes(secret)
        # Both keyed digests are started once and copied for each token (RFC 2104):
        # half the time of the library's way, which looks up the digest each time.
        self._started = {f"HS{n}": _started(key, d) for n, d in _DIGESTS.items()}

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return algorithm in self._started

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is right, found out in constant time."""
        inner, outer = self._started[algorithm]
        inner, outer = inner.copy(), outer.copy()
        inner.update(signed)
        outer.update(inner.digest())
        return hmac.compare_digest(outer.digest(), signature)


def secret_bytes(secret: str) -> bytes:
    """The bytes of a secret, also of one that came from the environment and is no UTF-8."""
    return secret.encode("utf-8", "surrogateescape")


_INNER: Final = bytes(i ^ 0x36 for i in range(256))
_OUTER: Final = bytes(i ^ 0x5C for i in range(256))


def _started(key: bytes, digest: Callable[..., Any]) -> tuple[Any, Any]:
    size = digest().block_size
    if len(key) > size:
        key = digest(key).digest()
    key = key.ljust(size, b"\0")
    return digest(key.translate(_INNER)), digest(key.translate(_OUTER))


class PublicKey:
    """Verifies the asymmetric algorithms that go with a key.

    Args:
        key: the library's key.
        algorithms: those it is for.
    """

    def __init__(self, key: RSAKey | ECKey | OKPKey, algorithms: tuple[str, ...]) -> None:
        self._key = key
        self._verifiers = {name: JWSRegistry.algorithms[name] for name in algorithms}

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return algorithm in self._verifiers

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is right."""
        return self._verifiers[algorithm].verify(signed, signature, self._key)


Key = HmacKey | PublicKey


def pem_key(pem: str, option: str, kind: Literal["RSA", "EC"]) -> PublicKey:
    """A public key, or the key of a certificate, in PEM.

    Raises:
        ConfigError: ``pem`` is no such key; names ``option``.
    """
    wanted = "RSA" if kind == "RSA" else "P-256, P-384 or P-521 EC"
    try:
        # In variables of the environment line ends are often written as \\n.
        data = pem.replace("\\n", "\n").strip().encode()
        if b"BEGIN CERTIFICATE" in data:
            key: Any = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        message = f"{option}: not a public key or certificate in PEM text"
        raise ConfigError(message) from None
    if kind == "RSA" and isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            message = f"{option}: {key.key_size} bits, allowed are {MIN_RSA_BITS} to {MAX_RSA_BITS}"
            raise ConfigError(message)
        return PublicKey(_rsa_key(key), _RSA_ALGORITHMS)
    if kind == "EC" and isinstance(key, ec.EllipticCurvePublicKey):
        algorithms = _CURVE_ALGORITHMS.get(key.curve.name)
        if algorithms is not None:
            return PublicKey(ECKey.import_key(key), algorithms)
    message = f"{option}: a {wanted} public key is needed, this is another kind of key"
    raise ConfigError(message)


def _rsa_key(source: rsa.RSAPublicKey | dict[str, str | list[str]]) -> RSAKey:
    with warnings.catch_warnings():
        # Short keys are allowed, as the original allows them.
        warnings.simplefilter("ignore", SecurityWarning)
        return RSAKey.import_key(source)


class Jwk(msgspec.Struct):
    """One key of a JSON web key set, as far as it matters here."""

    kty: str = ""
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


def jwk_key(jwk: Jwk) -> PublicKey | None:
    """The key that a JWK describes; None if it is broken or of a kind that signs no tokens here."""
    try:
        if jwk.kty == "RSA":
            n, e = (int.from_bytes(decode(part)) for part in (jwk.n, jwk.e))
            # Looked at before the library does: it takes its time with absurd numbers.
            if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or e.bit_length() > 32:
                return None
            return PublicKey(_rsa_key({"kty": "RSA", "n": jwk.n, "e": jwk.e}), _RSA_ALGORITHMS)
        if jwk.kty == "EC" and jwk.crv in _CURVES:
            key = ECKey.import_key({"kty": "EC", "crv": jwk.crv, **_strict(x=jwk.x, y=jwk.y)})
            return PublicKey(key, _CURVE_ALGORITHMS[_CURVES[jwk.crv]])
        if jwk.kty == "OKP" and jwk.crv == "Ed25519":
            edwards = OKPKey.import_key({"kty": "OKP", "crv": jwk.crv, **_strict(x=jwk.x)})
            return PublicKey(edwards, _EDWARDS)
    except (InvalidToken, JoseError, ValueError, UnsupportedAlgorithm):
        return None
    return None


def _strict(**parts: str) -> dict[str, str | list[str]]:
    """``parts``, which are base64url by our own strict rules: the library's are lenient."""
    for part in parts.values():
        decode(part)
    return dict(parts)

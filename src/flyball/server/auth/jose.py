"""The parts of a JSON web token, and signatures checked with keys that fix their algorithms."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64decode, urlsafe_b64encode
from collections.abc import Callable
from typing import Any, Final

import msgspec
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import load_pem_public_key
from cryptography.x509 import load_pem_x509_certificate

from flyball.core.errors import ConfigError, FlyballError

MAX_TOKEN_SIZE: Final = 65536
"""Bytes; no message of a client is longer."""
MIN_RSA_BITS: Final = 1024

_DIGESTS: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_CURVES: Final = {
    "ES256": ("secp256r1", 32),
    "ES384": ("secp384r1", 48),
    "ES512": ("secp521r1", 66),
}


class InvalidToken(FlyballError):
    """A token is malformed, badly signed or not meant for us. The text is for the log only."""


class Header(msgspec.Struct):
    """The first part of a token."""

    alg: str
    kid: str = ""
    crit: Any = None


class Token(msgspec.Struct, frozen=True):
    """A token, taken apart; nothing is verified yet."""

    header: Header
    claims: bytes
    signed: bytes
    signature: bytes


_headers: Final = msgspec.json.Decoder(Header)
_known_headers: dict[str, Header] = {}
MAX_KNOWN_HEADERS: Final = 64
"""A backend signs all its tokens with the same few headers: parsed once."""


def take_apart(text: str) -> Token:
    """The parts of a compact token.

    Raises:
        InvalidToken: it is malformed.
    """
    if len(text) > MAX_TOKEN_SIZE:
        message = f"longer than {MAX_TOKEN_SIZE} bytes"
        raise InvalidToken(message)
    parts = text.split(".")
    if len(parts) != 3:
        message = "not three parts"
        raise InvalidToken(message)
    head, body, signature = parts
    header = _known_headers.get(head)
    if header is None:
        header = _parse_header(head)
    return Token(header, decode(body), f"{head}.{body}".encode(), decode(signature))


def _parse_header(head: str) -> Header:
    try:
        header = _headers.decode(decode(head))
    except (msgspec.DecodeError, UnicodeError):
        message = "the header is malformed"
        raise InvalidToken(message) from None
    if header.crit is not None:
        message = "the header demands extensions (crit)"
        raise InvalidToken(message)
    if len(_known_headers) >= MAX_KNOWN_HEADERS:
        _known_headers.clear()
    _known_headers[head] = header
    return header


def decode(part: str) -> bytes:
    """Base64url without padding, strictly: one text for one value.

    Raises:
        InvalidToken: it is anything else.
    """
    try:
        raw = part.encode("ascii")
        value = urlsafe_b64decode(raw + b"=" * (-len(raw) % 4))
    except (binascii.Error, UnicodeError):
        value = None
        raw = b""
    # The library skips what it does not know; we do not.
    if value is None or encode(value) != raw:
        message = "a part is no base64url"
        raise InvalidToken(message)
    return value


def encode(value: bytes) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=")


class HmacKey:
    """Verifies HS256, HS384 and HS512."""

    def __init__(self, secret: str) -> None:
        self._secret = secret.encode()
        # The keyed start of each digest is made once and copied for each token.
        self._started = {f"HS{n}": hmac.new(self._secret, b"", d) for n, d in _DIGESTS.items()}

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return algorithm in self._started

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is right, found out in constant time."""
        digest = self._started[algorithm].copy()
        digest.update(signed)
        return hmac.compare_digest(digest.digest(), signature)


class RsaKey:
    """Verifies RS256, RS384 and RS512."""

    def __init__(self, key: rsa.RSAPublicKey) -> None:
        self._key = key

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return algorithm in ("RS256", "RS384", "RS512")

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is right."""
        try:
            self._key.verify(signature, signed, padding.PKCS1v15(), _HASHES[algorithm[2:]]())
        except InvalidSignature:
            return False
        return True


class EcKey:
    """Verifies the one ES algorithm that goes with the key's curve."""

    def __init__(self, key: ec.EllipticCurvePublicKey) -> None:
        self._key = key
        self._algorithm = next((a for a, (c, _) in _CURVES.items() if c == key.curve.name), "")

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return bool(self._algorithm) and algorithm == self._algorithm

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:
        """Whether ``signature`` is right."""
        size = _CURVES[algorithm][1]
        if len(signature) != 2 * size:
            return False
        r, s = (int.from_bytes(part) for part in (signature[:size], signature[size:]))
        try:
            self._key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(_HASHES[algorithm[2:]]()))
        except InvalidSignature:
            return False
        return True


class EdKey:
    """Verifies EdDSA with Ed25519."""

    def __init__(self, key: ed25519.Ed25519PublicKey) -> None:
        self._key = key

    def handles(self, algorithm: str) -> bool:
        """Whether tokens of this algorithm are for this key."""
        return algorithm == "EdDSA"

    def verifies(self, algorithm: str, signed: bytes, signature: bytes) -> bool:  # noqa: ARG002
        """Whether ``signature`` is right."""
        try:
            self._key.verify(signature, signed)
        except InvalidSignature:
            return False
        return True


Key = HmacKey | RsaKey | EcKey | EdKey


def pem_key(pem: str, option: str, kind: type[RsaKey | EcKey]) -> RsaKey | EcKey:
    """A public key, or the key of a certificate, in PEM.

    Raises:
        ConfigError: ``pem`` is no such key; names ``option``.
    """
    wanted = "RSA" if kind is RsaKey else "P-256, P-384 or P-521 EC"
    data = pem.encode()
    try:
        if b"BEGIN CERTIFICATE" in data:
            key: Any = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        message = f"{option}: not a public key or certificate in PEM text"
        raise ConfigError(message) from None
    if kind is RsaKey and isinstance(key, rsa.RSAPublicKey):
        return RsaKey(key)
    if kind is EcKey and isinstance(key, ec.EllipticCurvePublicKey):
        found = EcKey(key)
        if any(found.handles(algorithm) for algorithm in _CURVES):
            return found
    message = f"{option}: a {wanted} public key is needed, this is another kind of key"
    raise ConfigError(message)


class Jwk(msgspec.Struct):
    """One key of a JSON web key set, as far as it matters here."""

    kty: str = ""
    kid: str = ""
    use: str = ""
    alg: str = ""
    crv: str = ""
    n: str = ""
    e: str = ""
    x: str = ""
    y: str = ""


_CURVE_CLASSES: Final[dict[str, type[ec.EllipticCurve]]] = {
    "P-256": ec.SECP256R1,
    "P-384": ec.SECP384R1,
    "P-521": ec.SECP521R1,
}


def jwk_key(jwk: Jwk) -> Key | None:
    """The key that a JWK describes; None if it is broken or of a kind that signs no tokens here."""
    try:
        if jwk.kty == "RSA":
            n, e = (int.from_bytes(decode(part)) for part in (jwk.n, jwk.e))
            key = rsa.RSAPublicNumbers(e, n).public_key()
            return RsaKey(key) if key.key_size >= MIN_RSA_BITS else None
        if jwk.kty == "EC" and jwk.crv in _CURVE_CLASSES:
            x, y = (int.from_bytes(decode(part)) for part in (jwk.x, jwk.y))
            numbers = ec.EllipticCurvePublicNumbers(x, y, _CURVE_CLASSES[jwk.crv]())
            return EcKey(numbers.public_key())
        if jwk.kty == "OKP" and jwk.crv == "Ed25519":
            return EdKey(ed25519.Ed25519PublicKey.from_public_bytes(decode(jwk.x)))
    except (InvalidToken, ValueError, UnsupportedAlgorithm):
        return None
    return None

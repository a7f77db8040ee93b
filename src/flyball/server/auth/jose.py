"""The parts of a JSON web token, and signatures checked with keys that fix their algorithms."""

from __future__ import annotations

import binascii
import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections.abc import Callable, Mapping
from types import MappingProxyType
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
MAX_RSA_BITS: Final = 16384
"""Larger keys would make each check slow."""

_DIGESTS: Final = {"256": hashlib.sha256, "384": hashlib.sha384, "512": hashlib.sha512}
_HASHES: Final[dict[str, Callable[[], hashes.HashAlgorithm]]] = {
    "256": hashes.SHA256,
    "384": hashes.SHA384,
    "512": hashes.SHA512,
}
_FROM_URL: Final = bytes.maketrans(b"-_+/=", b"+/???")
"""To the alphabet of :mod:`binascii`; its own special characters become wrong ones."""
_LAST_OF_TWO: Final = frozenset(b"AQgw")
_LAST_OF_THREE: Final = frozenset(b"AEIMQUYcgkosw048")
"""Last characters, by the length of the last group, whose unused bits are zero."""
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
    kid: str | None = None
    crit: msgspec.Raw = msgspec.Raw()


class Token(msgspec.Struct, frozen=True):
    """A token, taken apart; nothing is verified yet."""

    head: str
    """The first part as it was written."""
    header: Header
    claims: bytes
    signed: bytes
    signature: bytes


_headers: Final = msgspec.json.Decoder(Header)
_NONE_KNOWN: Final[Mapping[str, Header]] = MappingProxyType({})


def take_apart(text: str, known: Mapping[str, Header] = _NONE_KNOWN) -> Token:
    """The parts of a compact token. Headers in ``known`` need no parsing.

    Raises:
        InvalidToken: it is malformed.
    """
    if len(text) > MAX_TOKEN_SIZE:
        message = f"longer than {MAX_TOKEN_SIZE} bytes"
        raise InvalidToken(message)
    parts = text.split(".", 3)
    if len(parts) != 3:
        message = "not three parts"
        raise InvalidToken(message)
    head, body, signature = parts
    header = known.get(head)
    if header is None:
        header = _parse_header(head)
    # The parts are ASCII once they are decoded; the header is, because it was.
    return Token(head, header, decode(body), f"{head}.{body}".encode(), decode(signature))


def _parse_header(head: str) -> Header:
    try:
        header = _headers.decode(decode(head))
    except (msgspec.DecodeError, UnicodeError, RecursionError):
        # Anyone can send brackets inside brackets; the decoder's limit is not ours to hit.
        message = "the header is malformed"
        raise InvalidToken(message) from None
    if header.crit:
        message = "the header demands extensions (crit)"
        raise InvalidToken(message)
    return header


def decode(part: str) -> bytes:
    """Base64url without padding, strictly: one text for one value.

    Raises:
        InvalidToken: it is anything else.
    """
    try:
        raw = part.encode("ascii")
        over = len(raw) % 4
        # Strict mode refuses unknown characters, but not bits that belong to no byte.
        if not over or (over > 1 and raw[-1] in (_LAST_OF_TWO if over == 2 else _LAST_OF_THREE)):
            padded = raw.translate(_FROM_URL) + b"==="[: -over % 4]
            return binascii.a2b_base64(padded, strict_mode=True)
    except (binascii.Error, UnicodeError):
        pass
    message = "a part is no base64url"
    raise InvalidToken(message)


def encode(value: bytes) -> bytes:
    """Base64url without padding."""
    return urlsafe_b64encode(value).rstrip(b"=")


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
    try:
        data = pem.strip().encode()
        if b"BEGIN CERTIFICATE" in data:
            key: Any = load_pem_x509_certificate(data).public_key()
        else:
            key = load_pem_public_key(data)
    except (ValueError, UnsupportedAlgorithm):
        message = f"{option}: not a public key or certificate in PEM text"
        raise ConfigError(message) from None
    if kind is RsaKey and isinstance(key, rsa.RSAPublicKey):
        if not MIN_RSA_BITS <= key.key_size <= MAX_RSA_BITS:
            message = f"{option}: {key.key_size} bits, allowed are {MIN_RSA_BITS} to {MAX_RSA_BITS}"
            raise ConfigError(message)
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
    kid: str | None = None
    use: str | None = None
    alg: str | None = None
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
            # Looked at before the library does: it takes its time with absurd numbers.
            if not MIN_RSA_BITS <= n.bit_length() <= MAX_RSA_BITS or e.bit_length() > 32:
                return None
            return RsaKey(rsa.RSAPublicNumbers(e, n).public_key())
        if jwk.kty == "EC" and jwk.crv in _CURVE_CLASSES:
            x, y = (int.from_bytes(decode(part)) for part in (jwk.x, jwk.y))
            numbers = ec.EllipticCurvePublicNumbers(x, y, _CURVE_CLASSES[jwk.crv]())
            return EcKey(numbers.public_key())
        if jwk.kty == "OKP" and jwk.crv == "Ed25519":
            return EdKey(ed25519.Ed25519PublicKey.from_public_bytes(decode(jwk.x)))
    except (InvalidToken, ValueError, UnsupportedAlgorithm):
        return None
    return None

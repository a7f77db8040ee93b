"""Keys and certificates in the form in which the cache holds them."""

from __future__ import annotations

import datetime as dt
import hashlib
import ssl
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes

_ACME_IDENTIFIER: Final = x509.ObjectIdentifier("1.3.6.1.5.5.7.1.31")
_OCTET_STRING_32: Final = b"\x04\x20"
_CHALLENGE_LIFE: Final = dt.timedelta(days=1)


@dataclass(frozen=True, slots=True)
class Certificate:
    """A private key with its certificate chain. Times are Unix seconds."""

    pem: bytes
    """The key, then the certificate, then those of its issuers."""
    not_before: float
    """When it begins to be valid."""
    not_after: float
    """When it ends."""

    @classmethod
    def parse(cls, pem: bytes, host: str) -> Certificate:
        """Reads key and chain and checks that they belong together and to ``host``.

        Raises:
            ValueError: they cannot be used for it; says why.
        """
        key = read_key(pem)
        leaf = _first_certificate(pem)
        if _public_bytes(leaf) != _public_bytes(key):
            raise ValueError("the private key belongs to another certificate")
        if host not in _names(leaf):
            raise ValueError(f"the certificate is not for {host}")
        return cls(pem, leaf.not_valid_before_utc.timestamp(), leaf.not_valid_after_utc.timestamp())

    def is_valid(self, now: float) -> bool:
        """Whether clients accept it at that time, as far as dates go."""
        return self.not_before <= now < self.not_after


def read_key(pem: bytes) -> PrivateKeyTypes:
    """The private key that ``pem`` begins with.

    Raises:
        ValueError: there is none, or of a kind that is not known.
    """
    try:
        return serialization.load_pem_private_key(pem, password=None)
    except (TypeError, UnsupportedAlgorithm, ValueError):
        # The library's words may quote what it read.
        raise ValueError("no private key that can be read") from None


def _first_certificate(pem: bytes) -> x509.Certificate:
    try:
        return x509.load_pem_x509_certificates(pem)[0]
    except ValueError:
        raise ValueError("no certificate that can be read") from None


def _public_bytes(owner: x509.Certificate | PrivateKeyTypes) -> bytes:
    return owner.public_key().public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )


def _names(leaf: x509.Certificate) -> list[str]:
    try:
        names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    except (x509.ExtensionNotFound, ValueError):
        return []
    return [name.lower() for name in names.get_values_for_type(x509.DNSName)]


def new_key() -> bytes:
    """A fresh P-256 key as PEM of the kind ``EC PRIVATE KEY``."""
    return _key_pem(ec.generate_private_key(ec.SECP256R1()))


def _key_pem(key: ec.EllipticCurvePrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.TraditionalOpenSSL,
        serialization.NoEncryption(),
    )


def signing_request(key_pem: bytes, host: str) -> bytes:
    """A request (PEM) for a certificate for ``host`` and the given P-256 key."""
    key = read_key(key_pem)
    assert isinstance(key, ec.EllipticCurvePrivateKey)
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([]))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(serialization.Encoding.PEM)


def challenge_pem(host: str, key_authorization: str) -> bytes:
    """Key and certificate that answer a tls-alpn-01 challenge (RFC 8737, 3)."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "ACME challenge")])
    now = dt.datetime.now(dt.UTC)
    proof = _OCTET_STRING_32 + hashlib.sha256(key_authorization.encode()).digest()
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - _CHALLENGE_LIFE)
        .not_valid_after(now + _CHALLENGE_LIFE)
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        .add_extension(x509.UnrecognizedExtension(_ACME_IDENTIFIER, proof), critical=True)
        .sign(key, hashes.SHA256())
    )
    return _key_pem(key) + certificate.public_bytes(serialization.Encoding.PEM)


def load_pair(context: ssl.SSLContext, pem: bytes) -> None:
    """Gives a TLS context the key and the chain of ``pem``.

    Raises:
        ssl.SSLError: OpenSSL cannot use them.
    """
    # The ssl module reads from files only; the directory is private and goes at once.
    with tempfile.TemporaryDirectory(prefix="flyball-tls-") as folder:
        file = Path(folder, "pair.pem")
        file.touch(mode=0o600)
        file.write_bytes(pem)
        # An empty password keeps OpenSSL from asking for one on the terminal.
        context.load_cert_chain(file, password="")

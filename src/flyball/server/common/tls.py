"""PEM values, and the TLS contexts made of them."""

from __future__ import annotations

import base64
import binascii
import re
import ssl
import tempfile
from pathlib import Path
from typing import Final

from flyball.core.errors import ConfigError
from flyball.server.common.option import Pem, opt, section

ALPN: Final = ["h2", "http/1.1"]
"""What listeners offer, the most wanted first."""
_MARK: Final = b"-----BEGIN "
_FILE_NAME: Final = re.compile(r"[\w./~-]{1,255}\.(?:pem|crt|cer|cert|key)", re.ASCII)
"""A path that is no base64: that has no dots."""
_EXPECTED: Final = "PEM text, base64 of PEM text, or the path of a file that holds PEM text"


@section
class TLSConfig:
    """Certificates and checks of one TLS listener or client."""

    enabled: bool = opt(False, "Use TLS.")
    cert_pem: Pem = opt("", "Own certificate chain; used only together with key_pem.", secret=True)
    key_pem: Pem = opt("", "Private key that belongs to cert_pem.", secret=True)
    server_ca_pem: Pem = opt(
        "", "Authorities to trust when checking the certificate of a server.", secret=True
    )
    client_ca_pem: Pem = opt(
        "", "Authorities of client certificates; when set, clients must present one.", secret=True
    )
    insecure_skip_verify: bool = opt(
        False, "Do not check the certificate of the other side. For experiments only."
    )
    server_name: str = opt("", "Host name expected in the certificate of the server.")


def read_pem(key: str, value: str) -> bytes:
    """Returns the PEM text that an option holds or points to.

    Args:
        key: Path of the option, for messages.
        value: PEM text, base64 of PEM text, or a file path; tried in this order.

    Raises:
        ConfigError: The value is none of these, or the file cannot be read.
    """
    text = value.strip().encode()
    if _MARK in text:
        return text
    try:
        decoded = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        decoded = b""
    if _MARK in decoded:
        return decoded
    # The value may be a key that lost its header lines: it must not show up in a message,
    # unless it cannot be one.
    path = value.strip()
    name = path if _FILE_NAME.fullmatch(path) else "as a path"
    try:
        content = Path(path).read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise ConfigError(f"{key}: expected {_EXPECTED}; {name}: {reason}") from None
    if _MARK not in content:
        raise ConfigError(f"{key}: the file it names holds no PEM text; expected {_EXPECTED}")
    return content


def tls_server_context(tls: TLSConfig, key: str = "http_server.tls") -> ssl.SSLContext:
    """Makes the TLS context of a listener: TLS 1.2 or newer.

    With ``client_ca_pem`` clients must present a certificate of one of these authorities.

    Args:
        tls: The options.
        key: Path of their section, for messages.

    Raises:
        ConfigError: Certificate or key is missing or wrong.
    """
    if not (tls.cert_pem and tls.key_pem):
        missing = "key_pem" if tls.cert_pem else "cert_pem"
        raise ConfigError(f"{key}.{missing}: a listener needs both cert_pem and key_pem; set it")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(ALPN)
    _load_pair(context, tls, key)
    if tls.client_ca_pem:
        _trust(context, f"{key}.client_ca_pem", tls.client_ca_pem)
        context.verify_mode = ssl.CERT_REQUIRED
    return context


def tls_server_pem(tls: TLSConfig, key: str) -> tuple[bytes, bytes, bytes | None]:
    """Private key, certificate chain and clients' authorities of a listener, as PEM.

    For servers that make no use of Python's TLS. Client authorities are None if clients need
    no certificate.

    Raises:
        ConfigError: Certificate or key is missing or wrong.
    """
    tls_server_context(tls, key)  # finds what is wrong, and says it in terms of the options
    private = read_pem(f"{key}.key_pem", tls.key_pem)
    cert = read_pem(f"{key}.cert_pem", tls.cert_pem)
    authorities = tls.client_ca_pem
    return private, cert, read_pem(f"{key}.client_ca_pem", authorities) if authorities else None


class NamedContext(ssl.SSLContext):
    """The context of a client whose library knows no other name of the server than its address."""

    server_name: str = ""
    """What the certificate must be for, if not the address."""

    def wrap_bio(
        self,
        incoming: ssl.MemoryBIO,
        outgoing: ssl.MemoryBIO,
        server_side: bool = False,
        server_hostname: str | bytes | None = None,
        session: ssl.SSLSession | None = None,
    ) -> ssl.SSLObject:
        """See :meth:`ssl.SSLContext.wrap_bio`."""
        name = self.server_name or server_hostname
        return super().wrap_bio(incoming, outgoing, server_side, name, session)


def named_client_context(tls: TLSConfig, key: str) -> ssl.SSLContext:
    """The same as :func:`tls_client_context`, and it knows ``server_name`` itself.

    Raises:
        ConfigError: see there.
    """
    context = NamedContext(ssl.PROTOCOL_TLS_CLIENT)
    context.server_name = tls.server_name
    return _prepared_client(context, tls, key)


def tls_client_context(tls: TLSConfig, key: str) -> ssl.SSLContext:
    """Makes the TLS context of a client: TLS 1.2 or newer, system roots unless ``server_ca_pem``.

    The caller passes ``tls.server_name``, when set, as the expected host name.

    Args:
        tls: The options.
        key: Path of their section, for messages.

    Raises:
        ConfigError: A certificate or key is wrong.
    """
    return _prepared_client(ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT), tls, key)


def _prepared_client(context: ssl.SSLContext, tls: TLSConfig, key: str) -> ssl.SSLContext:
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if tls.cert_pem and tls.key_pem:
        _load_pair(context, tls, key)
    if tls.server_ca_pem:
        _trust(context, f"{key}.server_ca_pem", tls.server_ca_pem)
    else:
        context.load_default_certs(ssl.Purpose.SERVER_AUTH)
    if tls.insecure_skip_verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _load_pair(context: ssl.SSLContext, tls: TLSConfig, key: str) -> None:
    cert = read_pem(f"{key}.cert_pem", tls.cert_pem)
    private = read_pem(f"{key}.key_pem", tls.key_pem)
    # The ssl module reads keys from files only; the directory is private and goes at once.
    with tempfile.TemporaryDirectory(prefix="flyball-tls-") as folder:
        cert_file, key_file = Path(folder, "cert.pem"), Path(folder, "key.pem")
        cert_file.write_bytes(cert)
        key_file.touch(mode=0o600)
        key_file.write_bytes(private)
        try:
            # An empty password keeps OpenSSL from asking for one on the terminal.
            context.load_cert_chain(cert_file, key_file, password="")
        except (ssl.SSLError, ValueError) as error:
            raise ConfigError(
                f"{key}.cert_pem, {key}.key_pem: certificate and key cannot be used:"
                f" {_reason(error, cert, private)};"
                " expected a certificate chain and its own key without a password"
            ) from None


def _reason(error: Exception, cert: bytes, private: bytes) -> str:
    """What OpenSSL means, as far as can be told."""
    if b"PRIVATE KEY-----" not in private:
        return "key_pem holds no private key"
    if b"CERTIFICATE-----" not in cert:
        return "cert_pem holds no certificate"
    if b"ENCRYPTED" in private:
        return "the key has a password"
    if isinstance(error, ssl.SSLError) and error.reason == "KEY_VALUES_MISMATCH":
        return "the key belongs to another certificate"
    return str(error)


def _trust(context: ssl.SSLContext, key: str, value: str) -> None:
    try:
        context.load_verify_locations(cadata=read_pem(key, value).decode("ascii", "replace"))
    except ssl.SSLError as error:
        raise ConfigError(f"{key}: no certificate can be read from it: {error}") from None

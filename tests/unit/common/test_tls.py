"""PEM values in three forms, and the TLS contexts made of them."""

import base64
import datetime as dt
import ssl

import pytest
from certificates import self_signed
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from flyball.core.errors import ConfigError
from flyball.server.common.tls import (
    TLSConfig,
    named_client_context,
    read_pem,
    tls_client_context,
    tls_server_context,
)

PEM = "-----BEGIN CERTIFICATE-----\nMIIB\n-----END CERTIFICATE-----"


@pytest.fixture(scope="module")
def pair():
    """A certificate for localhost that is its own authority, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "localhost")])
    now = dt.datetime.now(dt.UTC)
    day = dt.timedelta(days=1)
    extensions = [
        (x509.SubjectAlternativeName([x509.DNSName("localhost")]), False),
        (x509.BasicConstraints(ca=True, path_length=None), True),
    ]
    builder = (
        x509.CertificateBuilder(name, name, key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - day)
        .not_valid_after(now + day)
    )
    for extension, critical in extensions:
        builder = builder.add_extension(extension, critical=critical)
    cert = builder.sign(key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)
    private = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    return TLSConfig(enabled=True, cert_pem=cert.decode(), key_pem=private.decode())


class TestReadPem:
    def test_text(self):
        assert read_pem("k", f"\n{PEM}\n") == PEM.encode()

    def test_base64(self):
        assert read_pem("k", base64.b64encode(PEM.encode()).decode()) == PEM.encode()

    def test_path(self, tmp_path):
        path = tmp_path / "x.pem"
        path.write_text(PEM)
        assert read_pem("k", str(path)) == PEM.encode()

    @pytest.mark.parametrize(
        "value", ["hunter2", base64.b64encode(b"hunter2").decode(), "hunter2" * 1000, "hun\0ter2"]
    )
    def test_wrong_value_is_not_shown(self, value):
        with pytest.raises(ConfigError, match=r"a\.key_pem: expected PEM text") as caught:
            read_pem("a.key_pem", value)
        assert value not in str(caught.value)

    @pytest.mark.parametrize("value", ["/etc/tls/no.key", "no-such_dir/../fullchain.pem"])
    def test_file_name_is_shown(self, value):
        with pytest.raises(ConfigError, match=f"{value}: No such file or directory"):
            read_pem("k", value)

    def test_file_without_pem(self, tmp_path):
        path = tmp_path / "x.pem"
        path.write_text("hunter2")
        with pytest.raises(ConfigError, match="holds no PEM") as caught:
            read_pem("k", str(path))
        assert "hunter2" not in str(caught.value)


def handshake(server, client, name="localhost"):
    """Let two TLS contexts meet in memory; returns the server's side."""
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    sides = [
        server.wrap_bio(to_server, to_client, server_side=True),
        client.wrap_bio(to_client, to_server, server_hostname=name),
    ]
    for _ in range(5):
        for side in sides:
            try:
                side.do_handshake()
            except ssl.SSLWantReadError:
                continue
    return sides[0]


class TestContexts:
    def test_server_and_client(self, pair):
        server = tls_server_context(pair, "tls")
        client = tls_client_context(TLSConfig(server_ca_pem=pair.cert_pem), "tls")
        side = handshake(server, client)
        assert side.version() in {"TLSv1.2", "TLSv1.3"}
        assert server.minimum_version is ssl.TLSVersion.TLSv1_2

    def test_unknown_server_is_refused(self, pair):
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(tls_server_context(pair), tls_client_context(TLSConfig(), "tls"))

    def test_skip_verify(self, pair):
        client = tls_client_context(TLSConfig(insecure_skip_verify=True), "tls")
        assert handshake(tls_server_context(pair), client, "other").version()

    def test_a_context_that_knows_the_name(self, pair):
        for name, other in (("localhost", "other"), ("", "localhost")):
            options = TLSConfig(server_ca_pem=pair.cert_pem, server_name=name)
            client = named_client_context(options, "tls")
            assert handshake(tls_server_context(pair), client, other).version()
        options = TLSConfig(server_ca_pem=pair.cert_pem, server_name="other")
        with pytest.raises(ssl.SSLCertVerificationError):
            handshake(tls_server_context(pair), named_client_context(options, "tls"), "localhost")

    def test_client_certificate_is_demanded(self, pair):
        options = TLSConfig(
            cert_pem=pair.cert_pem, key_pem=pair.key_pem, client_ca_pem=pair.cert_pem
        )
        server = tls_server_context(options)
        with_cert = TLSConfig(
            server_ca_pem=pair.cert_pem, cert_pem=pair.cert_pem, key_pem=pair.key_pem
        )
        assert handshake(server, tls_client_context(with_cert, "t")).getpeercert()
        without = TLSConfig(server_ca_pem=pair.cert_pem)
        with pytest.raises(ssl.SSLError, match=r"PEER_DID_NOT_RETURN|CERTIFICATE_REQUIRED"):
            handshake(server, tls_client_context(without, "t"))

    @pytest.mark.parametrize(
        ("options", "key"),
        [
            ({}, "http_server.tls.cert_pem"),
            ({"cert_pem": PEM}, "http_server.tls.key_pem"),
            ({"cert_pem": PEM, "key_pem": PEM}, "http_server.tls.cert_pem"),
        ],
    )
    def test_missing_or_wrong_pair(self, options, key):
        with pytest.raises(ConfigError) as caught:
            tls_server_context(TLSConfig(**options))
        assert str(caught.value).startswith(key)

    def test_reason_is_told(self, pair):
        cert, key = pair.cert_pem, pair.key_pem
        other = self_signed()[1].decode()
        secret = serialization.load_pem_private_key(key.encode(), None).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.BestAvailableEncryption(b"hunter2"),
        )
        for options, reason in (
            ((cert, other), "the key belongs to another certificate"),
            ((key, cert), "key_pem holds no private key"),
            ((key, key), "cert_pem holds no certificate"),
            ((cert, secret.decode()), "the key has a password"),
        ):
            with pytest.raises(ConfigError, match=f"cannot be used: {reason}; expected"):
                tls_server_context(TLSConfig(cert_pem=options[0], key_pem=options[1]))

    def test_wrong_authority(self, pair):
        options = TLSConfig(cert_pem=pair.cert_pem, key_pem=pair.key_pem, client_ca_pem=PEM)
        with pytest.raises(ConfigError, match=r"tls\.client_ca_pem"):
            tls_server_context(options, "tls")

    def test_key_files_do_not_stay(self, pair, tmp_path, monkeypatch):
        monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
        tls_server_context(pair)
        assert list(tmp_path.iterdir()) == []

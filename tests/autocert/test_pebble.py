"""The server from the command line gets its certificates from pebble, a real ACME server."""

import http.client
import json
import os
import socket
import ssl
import stat
import time

import pytest
from acme_certs import DAY, key_pem, make_key, pair
from cryptography import x509
from pebble import BLOCKED, Pebble
from processes import FLYBALL, Program
from waiting import PATIENCE


@pytest.fixture(scope="module")
def pebble(tmp_path_factory):
    with Pebble(tmp_path_factory.mktemp("pebble")) as running:
        yield running


class Server:
    """``flyball`` on the ports that pebble checks; ``with`` starts and stops it."""

    def __init__(self, place, pebble, *, directory=None, workers=1, **autocert):
        self.pebble = pebble
        self.workers = workers
        self.config = place / "config.json"
        http = {
            "address": "127.0.0.1",
            "port": pebble.tls_port,
            "workers": workers,
            "tls_autocert": {"enabled": True, "email": "admin@example.test", **autocert},
        }
        self.config.write_text(json.dumps({"http_server": http, "health": {"enabled": True}}))
        self.environ = {
            **os.environ,
            "FLYBALL_ACME_DIRECTORY": directory or pebble.directory,
            "FLYBALL_ACME_CA_FILE": str(pebble.ca_file),
        }
        self._sockets = []

    def __enter__(self):
        command = (FLYBALL, "-c", self.config)
        self.program = Program(*command, cwd=self.config.parent, env=self.environ)
        try:
            self.program.record("started", after=self.workers - 1)
        except BaseException:
            self.program.kill()
            raise
        return self

    def __exit__(self, kind, *_):
        for each in self._sockets:
            each.close()
        code = self.program.stop()
        if kind is None:
            assert code == 0
            assert "Traceback" not in self.program.output

    def connect(self, name, **trust):
        """An HTTPS connection that asks for ``name`` and checks the certificate."""
        context = ssl.create_default_context(**(trust or {"cafile": self.pebble.root_file}))
        raw = socket.create_connection(("127.0.0.1", self.pebble.tls_port), timeout=PATIENCE)
        connection = http.client.HTTPConnection(name)
        try:
            connection.sock = context.wrap_socket(raw, server_hostname=name)
        except BaseException:
            raw.close()
            raise
        self._sockets.append(connection.sock)
        return connection


def healthy(connection):
    connection.request("GET", "/health")
    answer = connection.getresponse()
    return (answer.status, answer.read()) == (200, b"{}")


def serial(connection):
    return x509.load_der_x509_certificate(connection.sock.getpeercert(True)).serial_number


def test_tls_alpn_certificates_survive_a_restart(pebble, tmp_path):
    options = {"host_whitelist": ["A.test", "b.test"], "cache_dir": str(tmp_path / "cache")}
    serials = {}
    with Server(tmp_path, pebble, server_name="a.test", **options) as server:
        for name in ("a.test", "b.test"):
            server.program.record("certificate obtained", host=name)
            connection = server.connect(name)
            assert healthy(connection)
            serials[name] = serial(connection)
            connection.close()
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            server.connect("c.test")
    kept = {file.name: stat.S_IMODE(file.stat().st_mode) for file in (tmp_path / "cache").iterdir()}
    assert kept == dict.fromkeys(("a.test", "b.test", "acme_account+key", ".lock"), 0o600)
    assert stat.S_IMODE((tmp_path / "cache").stat().st_mode) == 0o700
    text = (tmp_path / "cache" / "a.test").read_text()
    assert text.startswith("-----BEGIN EC PRIVATE KEY-----\n")
    assert text.count("-----BEGIN CERTIFICATE-----") == 2

    # Nobody is there to issue anything.
    with Server(tmp_path, pebble, directory="https://127.0.0.1:1/dir", **options) as server:
        for name, number in serials.items():
            connection = server.connect(name)
            assert serial(connection) == number
            connection.close()


@pytest.mark.parametrize("kind", ["tls-alpn-01", "http-01"])
def test_workers_share_certificates_and_challenges(pebble, tmp_path, kind):
    options = {"host_whitelist": ["a.test"], "cache_dir": str(tmp_path / "cache"), "workers": 2}
    if kind == "http-01":
        options |= {"http": True, "http_addr": f"127.0.0.1:{pebble.http_port}"}
    with Server(tmp_path, pebble, **options) as server:
        server.program.record("certificate obtained", host="a.test")
        server.program.record("certificate taken from the cache", host="a.test")
        connections = [server.connect("a.test") for _ in range(16)]
        assert len({serial(connection) for connection in connections}) == 1
        for connection in connections:
            connection.request("GET", "/health")
            assert connection.getresponse().read() == b"{}"
            connection.close()
        assert len(server.program.records("certificate obtained")) == 1


def test_http_01_and_a_name_that_the_authority_refuses(pebble, tmp_path):
    with Server(
        tmp_path,
        pebble,
        host_whitelist=[BLOCKED, "a.test"],
        http=True,
        http_addr=f"127.0.0.1:{pebble.http_port}",
    ) as server:
        failure = server.program.record("no certificate obtained", host=BLOCKED)
        assert "rejectedIdentifier" in failure["reason"]
        assert "policy" in failure["reason"]
        assert 60 <= failure["retry_in"] <= 66
        server.program.record("certificate obtained", host="a.test")
        connection = server.connect("a.test")
        assert healthy(connection)
        connection.close()
        with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
            server.connect(BLOCKED)

        plain = http.client.HTTPConnection("127.0.0.1", pebble.http_port, timeout=PATIENCE)
        plain.request("GET", "/some/where?x=1", headers={"Host": "a.test:80"})
        answer = plain.getresponse()
        assert (answer.status, answer.headers["Location"]) == (302, "https://a.test/some/where?x=1")
        answer.read()
        plain.close()
        key = "http_server.tls_autocert.cache_dir"
        assert any(json.loads(line).get("key") == key for line in server.program.lines if line)


def test_renewal_swaps_the_certificate_under_open_connections(pebble, tmp_path):
    now = time.time()
    cache = tmp_path / "cache"
    cache.mkdir(mode=0o700)
    old = pair("a.test", start=now - 80 * DAY, end=now + 10 * DAY)
    (cache / "a.test").write_bytes(old)
    # Accounts of long ago have keys of this kind.
    (cache / "acme_account+key").write_bytes(key_pem(make_key("rsa")))
    certificate = x509.load_pem_x509_certificate(old)
    # It hangs, so that the old certificate is seen in use.
    pebble.pause()
    try:
        with Server(tmp_path, pebble, host_whitelist=["a.test"], cache_dir=str(cache)) as server:
            early = server.connect("a.test", cadata=old[old.index(b"-----BEGIN CERT") :].decode())
            assert serial(early) == certificate.serial_number
            assert healthy(early)
            pebble.go_on()
            server.program.record("certificate obtained", host="a.test")
            assert healthy(early)
            late = server.connect("a.test")
            assert healthy(late)
            assert serial(late) != certificate.serial_number
            early.close()
            late.close()
    finally:
        pebble.go_on()

"""Which certificate a handshake gets."""

import asyncio
import ssl
import time
from contextlib import suppress

import pytest
import uvloop
from acme_certs import DAY, pair
from cryptography import x509
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE

from flyball.http.listener import Listener, ListenerOptions
from flyball.http.routes import Routes
from flyball.server.acme.cache import FolderCache, MemoryCache
from flyball.server.acme.certificate import Certificate
from flyball.server.acme.challenges import Challenges
from flyball.server.acme.hello import ClientHello, parse_hello
from flyball.server.acme.tls import Names

NOW = time.time()
ACME = ["acme-tls/1"]


in_pieces = pytest.mark.parametrize("hello_size", [1, 7, 100_000])


def certificate(host):
    return Certificate.parse(pair(host, start=NOW - DAY, end=NOW + DAY), host)


def client_context(alpn=()):
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    if alpn:
        context.set_alpn_protocols(alpn)
    return context


def hello_of(name="a.test", alpn=(), context=None):
    """The first bytes that a client sends."""
    out = ssl.MemoryBIO()
    tls = (context or client_context(alpn)).wrap_bio(ssl.MemoryBIO(), out, server_hostname=name)
    with pytest.raises(ssl.SSLWantReadError):
        tls.do_handshake()
    return out.read()


class Wire:
    """A client and a server that exchange bytes in memory."""

    def __init__(self, server, name="a.test", *, alpn=(), context=None, size=100_000):
        self.to_server, self.to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
        context = context or client_context(alpn)
        self.sent = ssl.MemoryBIO()
        self.client = context.wrap_bio(self.to_client, self.sent, server_hostname=name)
        self.server = server.wrap_bio(self.to_server, self.to_client, server_side=True)
        self.size = size

    def handshake(self):
        """The names in the certificate; raises what the client sees."""
        for _ in range(6):
            try:
                self.client.do_handshake()
            except ssl.SSLWantReadError:
                pass
            else:
                if not self.sent.pending:
                    break
            while self.sent.pending:
                self.to_server.write(self.sent.read(self.size))
                with suppress(ssl.SSLWantReadError):
                    self.server.do_handshake()
        found = x509.load_der_x509_certificate(self.client.getpeercert(True))
        names = found.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        self.extensions = {e.oid.dotted_string: e for e in found.extensions}
        return names.get_values_for_type(x509.DNSName)


class Setup:
    def __init__(self, cache=None, default="", alpn=()):
        self.missing = []
        self.challenges = Challenges(cache or MemoryCache())
        self.names = Names(["a.test", "b.test"], default, self.challenges, self.missing.append)
        self.context = self.names.context(alpn)
        self.names.put("a.test", certificate("a.test"))

    def ask(self, name="a.test", **options):
        wire = Wire(self.context, name, **options)
        wire.handshake()
        return wire


@in_pieces
def test_names_get_their_certificates(hello_size):
    setup = Setup()
    setup.names.put("b.test", certificate("b.test"))
    for name in ("a.test", "b.test", "A.Test"):
        assert Wire(setup.context, name, size=hello_size).handshake() == [name.lower()]


def test_refusals_reach_the_client_as_alerts():
    setup = Setup()
    for name in ("c.test", None, "a.test.evil.test"):
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            setup.ask(name)
    with pytest.raises(ssl.SSLError, match=r"(?i)internal.error"):
        setup.ask("b.test")
    assert setup.missing == ["b.test"]


def test_a_default_for_clients_without_a_name():
    setup = Setup(default="a.test")
    assert Wire(setup.context, None).handshake() == ["a.test"]
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        setup.ask("c.test")


@in_pieces
def test_only_the_authority_gets_the_challenge(hello_size):
    setup = Setup(alpn=["h2", "http/1.1"])
    with setup.challenges.tls("a.test", "token.thumbprint"):
        wire = setup.ask("a.test", alpn=ACME, size=hello_size)
        assert wire.client.selected_alpn_protocol() == "acme-tls/1"
        proof = wire.extensions["1.3.6.1.5.5.7.1.31"]
        assert proof.critical
        assert len(proof.value.value) == 34
        for alpn in ((), ["http/1.1"], ["h2", "http/1.1"]):
            ordinary = setup.ask("a.test", alpn=alpn)
            assert "1.3.6.1.5.5.7.1.31" not in ordinary.extensions
            assert ordinary.client.selected_alpn_protocol() == (alpn[0] if alpn else None)
        with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
            setup.ask("b.test", alpn=ACME)
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        setup.ask("a.test", alpn=ACME)
    assert setup.missing == []


def test_a_challenge_for_a_name_without_certificate():
    setup = Setup()
    with setup.challenges.tls("b.test", "token.thumbprint"):
        assert Wire(setup.context, "b.test", alpn=ACME).handshake() == ["b.test"]


def test_a_challenge_after_a_retried_hello():
    """The server does not like the client's first key share, and asks for another."""
    setup = Setup()
    setup.context.set_ecdh_curve("secp384r1")
    with setup.challenges.tls("a.test", "token.thumbprint"):
        wire = setup.ask("a.test", alpn=ACME)
        assert "1.3.6.1.5.5.7.1.31" in wire.extensions
        assert wire.client.version() == "TLSv1.3"


def test_another_process_has_the_challenge(tmp_path):
    theirs = Challenges(FolderCache(tmp_path))
    setup = Setup(FolderCache(tmp_path))
    with theirs.tls("a.test", "token.thumbprint"), theirs.http("abc", "abc.thumbprint"):
        wire = setup.ask("a.test", alpn=ACME)
        assert "1.3.6.1.5.5.7.1.31" in wire.extensions
        assert setup.challenges.text_for("abc") == "abc.thumbprint"
    assert setup.challenges.text_for("abc") is None
    assert setup.challenges.text_for("../a.test") is None
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "a.test+token").write_bytes(b"nonsense")
    with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
        setup.ask("a.test", alpn=ACME)


def test_tokens_are_no_paths():
    challenges = Challenges(MemoryCache())
    with pytest.raises(ValueError, match="characters"), challenges.http("../x", "text"):
        pass


def test_a_new_certificate_from_the_next_handshake_on():
    setup = Setup()
    wire = setup.ask()
    serial = wire.client.getpeercert(True)
    setup.names.put("a.test", certificate("a.test"))
    assert setup.ask().client.getpeercert(True) != serial
    wire.client.write(b"still")
    wire.to_server.write(wire.sent.read())
    assert wire.server.read(100) == b"still"


def test_a_certificate_of_no_use_changes_nothing():
    setup = Setup()
    before = setup.ask().client.getpeercert(True)
    with pytest.raises(ssl.SSLError):
        setup.names.put("a.test", Certificate(b"nonsense", 0, 1))
    assert setup.ask().client.getpeercert(True) == before


def test_protocols_may_be_set_later():
    setup = Setup()
    setup.context.set_alpn_protocols(["h2", "http/1.1"])
    assert setup.ask(alpn=["http/1.1"]).client.selected_alpn_protocol() == "http/1.1"
    setup.names.put("a.test", certificate("a.test"))
    assert setup.ask(alpn=["h2"]).server.selected_alpn_protocol() == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion:DeprecationWarning")
def test_old_tls_is_refused():
    old = client_context()
    old.minimum_version = ssl.TLSVersion.TLSv1
    old.maximum_version = ssl.TLSVersion.TLSv1_1
    old.set_ciphers("ALL:@SECLEVEL=0")
    with pytest.raises(ssl.SSLError, match=r"(?i)protocol.version|no.protocols"):
        Setup().ask(context=old)


def test_a_name_of_strange_bytes_fails_quietly():
    hello = hello_of("a.test").replace(b"a.test", b"\xffetest", 1)
    assert parse_hello(hello).server_name == b"\xffetest"
    incoming = ssl.MemoryBIO()
    server = Setup().context.wrap_bio(incoming, ssl.MemoryBIO(), server_side=True)
    incoming.write(hello)
    with pytest.raises(ssl.SSLError, match="server name"):
        server.do_handshake()


def test_hellos_are_read():
    hello = hello_of("a.test", alpn=["h2", *ACME])
    expected = ClientHello(b"a.test", (b"h2", b"acme-tls/1"))
    assert parse_hello(hello) == expected
    assert parse_hello(hello + b"more") == expected
    for size in range(len(hello)):
        assert parse_hello(hello[:size]) is None
    assert parse_hello(hello_of(None)) == ClientHello()
    split = b"".join(
        b"\x16\x03\x01" + len(part).to_bytes(2, "big") + part
        for part in (hello[5:6], hello[6:40], b"", hello[40:])
    )
    assert parse_hello(split) == expected


def test_hellos_in_countless_records_are_not_put_together():
    record = b"\x16\x03\x01\x00\x01"
    hello = b"\x01\x00\xff\xff" + bytes(10_000)
    assert parse_hello(b"".join(record + hello[i : i + 1] for i in range(63))) is None
    assert parse_hello(b"".join(record + hello[i : i + 1] for i in range(64))) == ClientHello()


def test_what_is_no_hello():
    assert parse_hello(b"GET / HTTP/1.1\r\n" + b"x" * 20_000) == ClientHello()
    assert parse_hello(b"\x16\x03\x01\x00\x04\x02\x00\x00\x00") == ClientHello()
    assert parse_hello(b"\x16\x03\x01\x00\x05\x01\x00\x00\x01\x00") == ClientHello()


HELLO = hello_of("a.test", alpn=ACME)


@given(st.lists(st.tuples(st.integers(0, len(HELLO) - 1), st.integers(0, 255)), max_size=8))
def test_damaged_hellos(changes):
    hello = bytearray(HELLO)
    for at, value in changes:
        hello[at] = value
    parse_hello(bytes(hello))


@pytest.mark.parametrize("loop", [uvloop.new_event_loop, asyncio.new_event_loop])
def test_behind_a_listener(loop):
    setup = Setup()

    async def app(scope, receive, send):
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body"})

    async def ask(port, name, **options):
        context = client_context(**options)
        reader, writer = await asyncio.open_connection(
            "127.0.0.1", port, ssl=context, server_hostname=name
        )
        writer.write(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n")
        answer = await reader.readuntil(b"\r\n")
        found = writer.get_extra_info("ssl_object").getpeercert(True)
        writer.transport.abort()
        return answer, found

    async def main():
        options = ListenerOptions("127.0.0.1", ssl_context=setup.context)
        listener = Listener(options, Routes(app=app))
        await listener.start()
        try:
            async with asyncio.timeout(PATIENCE):
                answer, ordinary = await ask(listener.port, "a.test")
                assert answer == b"HTTP/1.1 204 No Content\r\n"
                with pytest.raises(ssl.SSLError, match=r"(?i)unrecognized.name"):
                    await ask(listener.port, "c.test")
                with setup.challenges.tls("a.test", "token.thumbprint"):
                    _, challenge = await ask(listener.port, "a.test", alpn=ACME)
                    assert challenge != ordinary
                    assert (await ask(listener.port, "a.test"))[1] == ordinary
        finally:
            await listener.close(grace=0.1)
            await asyncio.sleep(0)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(main())

"""What is served on which port, and with whose TLS: one server, asked in every version of HTTP."""

import asyncio
import json

import aiohttp
import pytest
from certificates import self_signed
from cryptography import x509
from ports import free_port
from streamclients import dial_h2, dial_h3, trusting

from flyball.core.errors import ConfigError
from flyball.server.app import Server
from flyball.server.config import check, load_config

INTERNAL = {"/health": 200, "/metrics": 200, "/api/info": 401}
CLIENTS = {"/connection/init": 200, "/connection/sse": 400, "/connection/websocket": 400}
"""Paths to the status of a plain GET; POST for the API."""
OVER_HTTP2 = {**CLIENTS, "/connection/websocket": 405}
"""The same without HTTP/1.1's upgrade."""


@pytest.fixture(scope="module")
def pairs():
    """Certificates with their keys, by the section of the configuration that has them."""
    return {"tls": self_signed(), "internal_tls": self_signed()}


@pytest.fixture
async def serve(tmp_path, pairs):
    """Starts a server whose internal endpoints have a port of their own."""
    running = []

    async def start(*sections, api=None, **options):
        server = {"address": "127.0.0.1", "internal_port": str(free_port()), **options}
        for section in sections:
            certificate, key = map(bytes.decode, pairs[section])
            server[section] = {"enabled": True, "cert_pem": certificate, "key_pem": key}
        config = {
            "http_server": server,
            "http_api": {"key": "k", **(api or {})},
            **{name: {"enabled": True} for name in ("health", "prometheus", "init", "sse")},
        }
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        loaded = load_config(str(file), environ={}, flags={"http_server.port": "0"}).config
        check(loaded)
        found = Server(loaded)
        await found.start()
        running.append(found)
        return found

    yield start
    for server in running:
        await server.stop()


def method_of(path):
    return "POST" if path.startswith("/api") else "GET"


async def http1(port, paths, *, tls):
    """Statuses of paths over HTTP/1.1."""
    scheme, context = ("https", trusting("http/1.1")) if tls else ("http", False)
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=context)) as session:
        found = {}
        for path in paths:
            url = f"{scheme}://127.0.0.1:{port}{path}"
            async with session.request(method_of(path), url) as answer:
                found[path] = answer.status
        return found


async def streams(dialled, paths):
    """Statuses of paths over a connection of HTTP/2 or HTTP/3."""
    async with dialled as client:
        return {path: (await client.request(method_of(path), path)).status for path in paths}


async def certificate_of(port):
    """The certificate that a port shows."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting("http/1.1"))
    shown = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
    writer.transport.abort()
    return x509.load_der_x509_certificate(shown)


def ports_of(server):
    return server.listeners[0].port, server.listeners[1].port


def nothing(paths):
    return dict.fromkeys(paths, 404)


@pytest.mark.parametrize(
    ("sections", "tls_external", "external", "internal"),
    [
        ((), False, None, None),
        (("tls",), False, "tls", "tls"),
        (("tls",), True, "tls", None),
        (("tls", "internal_tls"), False, "tls", "internal_tls"),
        (("tls", "internal_tls"), True, "tls", "internal_tls"),
        (("internal_tls",), False, None, "internal_tls"),
    ],
)
async def test_whose_tls(serve, pairs, sections, tls_external, external, internal):
    server = await serve(*sections, tls_external=tls_external)
    for port, section, here, elsewhere in (
        (ports_of(server)[0], external, CLIENTS, INTERNAL),
        (ports_of(server)[1], internal, INTERNAL, CLIENTS),
    ):
        everything = {**here, **nothing(elsewhere)}
        assert await http1(port, everything, tls=section is not None) == everything
        if section is not None:
            wanted = x509.load_pem_x509_certificate(pairs[section][0])
            assert await certificate_of(port) == wanted
            assert set((await http1(port, here, tls=False)).values()) == {400}


async def test_http2_and_http3_are_external_with_tls(serve):
    server = await serve("tls", tls_external=True, http3={"enabled": True})
    external, internal = ports_of(server)
    everything = {**OVER_HTTP2, **nothing(INTERNAL)}
    assert await streams(dial_h2(external), everything) == everything
    assert await streams(dial_h3(external), everything) == everything
    assert await http1(internal, INTERNAL, tls=False) == INTERNAL
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.3), dial_h3(internal):
            pass


async def test_internal_endpoints_over_http2(serve):
    """TLS of the internal port brings HTTP/2 with it."""
    server = await serve("tls", "internal_tls")
    everything = {**INTERNAL, **nothing(CLIENTS)}
    assert await streams(dial_h2(ports_of(server)[1]), everything) == everything


async def test_http2_without_tls_is_external_only(serve):
    server = await serve(h2c_external=True)
    external, internal = ports_of(server)
    everything = {**OVER_HTTP2, **nothing(INTERNAL)}
    assert await streams(dial_h2(external, tls=False), everything) == everything
    async with dial_h2(internal, tls=False) as client:
        await client.until(lambda: client.lost, "end")
    assert await http1(internal, INTERNAL, tls=False) == INTERNAL


@pytest.mark.parametrize("is_external", [False, True])
async def test_the_api_is_on_one_of_the_ports(serve, is_external):
    server = await serve("tls", tls_external=True, api={"external": is_external})
    external, internal = ports_of(server)
    async with dial_h2(external) as client:
        answer = await client.request("POST", "/api/info", {"x-api-key": "k"}, b"{}")
        assert answer.status == (200 if is_external else 404)
    assert await http1(internal, ["/api/info"], tls=False) == {
        "/api/info": 404 if is_external else 401
    }


async def test_a_wrong_certificate_is_named_by_its_section(serve):
    with pytest.raises(ConfigError, match=r"http_server\.internal_tls\.key_pem"):
        await serve("tls", internal_tls={"enabled": True, "cert_pem": self_signed()[0].decode()})


async def test_a_server_starts_again_where_it_was_stopped(serve):
    server = await serve("tls", http3={"enabled": True}, tls_external=True)
    for _ in range(2):
        external, internal = ports_of(server)
        assert await http1(internal, INTERNAL, tls=False) == INTERNAL
        assert await streams(dial_h2(external), OVER_HTTP2) == OVER_HTTP2
        assert await streams(dial_h3(external), OVER_HTTP2) == OVER_HTTP2
        await server.stop()
        await server.start()

"""centrifuge-js in a real browser: each transport connects, publishes, is cut off, and recovers."""

import asyncio
import base64
import json
import uuid

import pytest
from certificates import self_signed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from sdk_browser import Client, clients_of, publish
from sdk_gate import Gate, UdpGate
from sdk_server import ServerProcess, token
from waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

TRANSPORTS = {
    "websocket": "ws://localhost:{port}/connection/websocket",
    "http_stream": "http://localhost:{port}/connection/http_stream",
    "sse": "http://localhost:{port}/connection/sse",
}
"""Transport to its endpoint."""
RECEIVERS = (
    *("websocket", "xhr-streaming", "xhr-polling", "eventsource", "jsonp-polling"),
    *("iframe-eventsource", "iframe-htmlfile", "iframe-xhr-polling"),
)
"""What SockJS falls back to, one after the other."""


@pytest.fixture(scope="module")
def server(pinging_config, site, tmp_path_factory):
    """A server for pages of localhost, with every transport that needs no TLS."""
    config = json.loads(pinging_config.read_text())
    config["client"]["allowed_origins"] = ["http://localhost:*"]
    for section in ("http_stream", "sse"):
        config[section] = {"enabled": True}
    config["sockjs"] = {"enabled": True, "url": f"{site}/sockjs.js"}
    file = tmp_path_factory.mktemp("browser") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file) as process:
        yield process


async def play(page, server, gate, options):
    """A client's life: connects, publishes, is cut off, misses something, comes back."""
    client = Client(page)
    channel = f"chat:{uuid.uuid4().hex}"
    await page.evaluate("start", {"token": token("u"), "channel": channel, **options})
    assert (await client.until("subscribed"))[0]["recovered"] is False
    name = "-".join(options[key] for key in ("transport", "receiver") if key in options)
    assert [e["transport"] for e in await client.events("connected")] == [name]
    await page.evaluate("subscription.publish({from: 'the page'})")
    await client.until("publication")
    await publish(server, channel, {"from": "the backend"})
    seen = await client.until("publication", 2)
    assert [e["data"]["from"] for e in seen] == ["the page", "the backend"]

    gate.shut()
    await client.until("connecting", 2)
    await publish(server, channel, *({"missed": n} for n in range(3)))
    gate.reopen()
    subscribed = (await client.until("subscribed", 2))[1]
    assert subscribed["recovered"]
    assert subscribed["wasRecovering"]
    await publish(server, channel, {"from": "the end"})
    seen = await client.until("publication", 6)
    assert [e["offset"] for e in seen] == [1, 2, 3, 4, 5, 6]
    assert [e["data"] for e in seen[2:5]] == [{"missed": n} for n in range(3)]

    await page.evaluate("client.disconnect()")
    await client.until("disconnected")
    async with asyncio.timeout(PATIENCE):
        while await clients_of(server, channel):
            pass  # each look is a request


@pytest.fixture(scope="module")
def tls_server(pinging_config, tmp_path_factory):
    """A server with WebTransport, and the hash of its certificate."""
    certificate, key = self_signed()
    config = json.loads(pinging_config.read_text())
    config["client"]["allowed_origins"] = ["http://localhost:*"]
    config["http_server"] = {
        "tls": {"enabled": True, "cert_pem": certificate.decode(), "key_pem": key.decode()},
        "http3": {"enabled": True},
    }
    config["webtransport"] = {"enabled": True}
    file = tmp_path_factory.mktemp("tls") / "config.json"
    file.write_text(json.dumps(config))
    digest = x509.load_pem_x509_certificate(certificate).fingerprint(hashes.SHA256())
    with ServerProcess(file, tls=True) as process:
        yield process, base64.b64encode(digest).decode()


async def test_webtransport_is_cut_off_and_recovers(page, tls_server):
    server, digest = tls_server
    async with UdpGate(server.port) as gate:
        endpoint = f"https://127.0.0.1:{gate.port}/connection/webtransport"
        options = {"transport": "webtransport", "endpoint": endpoint, "hash": digest}
        await play(page, server, gate, options)


@pytest.mark.parametrize("transport", TRANSPORTS)
async def test_is_cut_off_and_recovers(page, server, transport):
    async with Gate(server.port) as gate:
        options = {
            "transport": transport,
            "endpoint": TRANSPORTS[transport].format(port=gate.port),
            "emulation": f"http://localhost:{gate.port}/emulation",
        }
        await play(page, server, gate, options)


@pytest.mark.parametrize("receiver", RECEIVERS)
async def test_sockjs_is_cut_off_and_recovers(page, server, receiver):
    async with Gate(server.port) as gate:
        options = {
            "transport": "sockjs",
            "endpoint": f"http://localhost:{gate.port}/connection/sockjs",
            "receiver": receiver,
        }
        await play(page, server, gate, options)

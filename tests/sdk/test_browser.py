"""centrifuge-js in a real browser: each transport connects, publishes, is cut off, and recovers."""

import asyncio
import base64
import http.server
import json
import os
import re
import shutil
import threading
import uuid
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from certificates import self_signed
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from playwright.async_api import async_playwright
from sdk_gate import Gate, UdpGate
from sdk_server import API_KEY, ServerProcess, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

HERE = Path(__file__).parent
MODULES = HERE / "js" / "node_modules"
FILES = {
    "/": HERE / "browser" / "page.html",
    "/page.js": HERE / "browser" / "page.js",
    "/centrifuge.js": MODULES / "centrifuge" / "dist" / "centrifuge.js",
    "/sockjs.js": MODULES / "sockjs-client" / "dist" / "sockjs.min.js",
}
BROWSERS = ("chromium", "chromium-browser", "google-chrome")
ARGUMENTS = (
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
TIMEOUT = 20.0
"""Seconds until something expected counts as missing."""

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


class Pages(http.server.BaseHTTPRequestHandler):
    """Serves the page and the libraries."""

    def do_GET(self):
        file = FILES.get(self.path)
        if file is None:
            self.send_error(404)
            return
        body = file.read_bytes()
        self.send_response(200)
        kind = "text/html" if file.suffix == ".html" else "text/javascript"
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


@pytest.fixture(scope="module")
def site():
    """Where the page is."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Pages)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://localhost:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """A headless Chromium."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(
            f"no browser: install one of {', '.join(BROWSERS)}, or set CHROMIUM to its path"
        )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(executable_path=path, args=[*ARGUMENTS])
        yield browser
        await browser.close()


@pytest.fixture(scope="module")
def server(config_file, site, tmp_path_factory):
    """A server for pages of localhost, with every transport that needs no TLS."""
    config = json.loads(config_file.read_text())
    config["client"]["allowed_origins"] = ["http://localhost:*"]
    for section in ("http_stream", "sse"):
        config[section] = {"enabled": True}
    config["sockjs"] = {"enabled": True, "url": f"{site}/sockjs.js"}
    file = tmp_path_factory.mktemp("browser") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file) as process:
        yield process


class Client:
    """The client in the page."""

    def __init__(self, page):
        self.page = page

    async def events(self, kind):
        """What was seen so far."""
        return [e for e in await self.page.evaluate("events") if e["kind"] == kind]

    async def until(self, kind, count=1):
        """Waits for the ``count``-th event of a kind, and returns all of them."""
        try:
            await self.page.wait_for_function(
                "([kind, count]) => events.filter((e) => e.kind === kind).length >= count",
                arg=[kind, count],
                timeout=TIMEOUT * 1000,
                polling=20,
            )
        except Exception as error:
            seen = await self.page.evaluate("events")
            raise AssertionError(f"no {kind} number {count}; seen: {seen}") from error
        return await self.events(kind)


def api_of(server):
    """An HTTP client for the server API."""
    connector = aiohttp.TCPConnector(ssl=False)  # its certificate is its own
    return aiohttp.ClientSession(headers={"X-API-Key": API_KEY}, connector=connector)


async def publish(server, channel, *values):
    """Publishes over the server API."""
    async with api_of(server) as session:
        for value in values:
            body = {"channel": channel, "data": value}
            async with session.post(f"{server.api}/publish", json=body) as response:
                assert "result" in await response.json()


async def clients_of(server, channel):
    """How many clients are in a channel."""
    async with api_of(server) as session:
        body = {"channel": channel}
        async with session.post(f"{server.api}/presence_stats", json=body) as response:
            return (await response.json())["result"]["num_clients"]


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, site):
    """The page, open."""
    page = await browser.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(error))  # noqa: PLW0108 - it is marked, a builtin cannot be
    await page.goto(site)
    yield page
    await page.close()
    # A script cannot be called off: sockjs-client's jsonp answers nobody after the end.
    assert not [p for p in problems if not re.search(r"_jp\.\w+ is not a function", str(p))]


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
    async with asyncio.timeout(TIMEOUT):
        while await clients_of(server, channel):
            await asyncio.sleep(0.05)


@pytest.fixture(scope="module")
def tls_server(config_file, tmp_path_factory):
    """A server with WebTransport, and the hash of its certificate."""
    certificate, key = self_signed()
    config = json.loads(config_file.read_text())
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

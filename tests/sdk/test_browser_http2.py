"""Many clients in one page over HTTPS: HTTP/2 carries them all on one connection.

Over HTTP/1.1 a browser opens six connections to a server; a seventh stream would wait for ever.
"""

import json
import uuid

import pytest
import pytest_asyncio
from certificates import self_signed
from sdk_browser import Client, chromium, publish
from sdk_gate import Gate
from sdk_server import ServerProcess, token

pytestmark = pytest.mark.asyncio(loop_scope="module")

COUNT = 20
MAX_CONNECTIONS = 2
"""Requests with and without credentials do not share one."""

START_MANY = """
({transport, endpoint, emulation, tokens, channel}) => {
  window.made = tokens.map((token, n) => {
    const options = { token, emulationEndpoint: emulation, timeout: 10000 };
    const client = new Centrifuge([{ transport, endpoint }], options);
    client.on("error", (c) => note("error", { n, message: `${c.type} ${c.error?.message}` }));
    client.on("connected", (c) => note("connected", { n, transport: c.transport }));
    client.on("connecting", (c) => c.code && note("dropped", { n, code: c.code }));
    const subscription = client.newSubscription(channel);
    subscription.on("subscribed", () => note("subscribed", { n }));
    subscription.on("publication", (c) => note("publication", { n, data: c.data }));
    subscription.subscribe();
    client.connect();
    return { client, subscription };
  });
}
"""


@pytest.fixture(scope="module")
def server(config_file, tmp_path_factory):
    """A server with TLS whose WebSocket connections may be streams of HTTP/2."""
    certificate, key = map(bytes.decode, self_signed())
    config = json.loads(config_file.read_text())
    config["client"]["allowed_origins"] = ["http://localhost:*"]
    config["http_server"] = {"tls": {"enabled": True, "cert_pem": certificate, "key_pem": key}}
    for section in ("http_stream", "sse", "init"):
        config[section] = {"enabled": True}
    file = tmp_path_factory.mktemp("http2") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file, tls=True, GODEBUG="http2xconnect=1") as process:
        yield process


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """A browser that takes any certificate, without trying twice."""
    async with chromium("--ignore-certificate-errors") as browser:
        yield browser


class Traffic:
    """Protocols of the answers that the page got, by path."""

    def __init__(self):
        self.protocols = {}

    def saw(self, event):
        response = event["response"]
        if response["url"].startswith("https:"):
            path = response["url"].split("/", 3)[3].split("?")[0]
            self.protocols.setdefault(path, set()).add(response.get("protocol"))


@pytest_asyncio.fixture(loop_scope="module")
async def page(browser, site):
    """The page, and what it gets."""
    context = await browser.new_context()
    page = await context.new_page()
    problems = []
    page.on("pageerror", lambda error: problems.append(error))  # noqa: PLW0108 - it is marked, a builtin cannot be
    traffic = Traffic()
    tap = await context.new_cdp_session(page)
    tap.on("Network.responseReceived", traffic.saw)
    await tap.send("Network.enable")
    await page.goto(site)
    yield page, traffic
    await context.close()
    assert not problems


async def open_connection(page, gate, credentials):
    """What /connection/init is for; without it a browser tries several connections at once."""
    url = f"https://localhost:{gate.port}/connection/init"
    await page.evaluate(f"fetch('{url}', {{credentials: '{credentials}'}}).then((r) => r.json())")


async def start(page, gate, transport, count):
    """Starts clients, and waits until all of them are in the channel that is returned."""
    channel = f"chat:{uuid.uuid4().hex}"
    scheme = "wss" if transport == "websocket" else "https"
    base = f"localhost:{gate.port}"
    options = {
        "transport": transport,
        "endpoint": f"{scheme}://{base}/connection/{transport}",
        "emulation": f"https://{base}/emulation",
        "tokens": [token(f"u{n}") for n in range(count)],
        "channel": channel,
    }
    await page.evaluate(START_MANY, options)
    await Client(page).until("subscribed", count)
    return channel


async def all_hear_all(page, server, channel):
    """Every client publishes, and gets what the others and the backend have published."""
    client = Client(page)
    await publish(server, channel, "backend")
    await client.until("publication", COUNT)
    await page.evaluate("Promise.all(made.map((m, n) => m.subscription.publish(n)))")
    seen = await client.until("publication", COUNT * (COUNT + 1))
    for n in range(COUNT):
        data = [e["data"] for e in seen if e["n"] == n]
        assert data[0] == "backend"
        assert sorted(data[1:]) == list(range(COUNT))
    assert not await client.events("dropped")
    assert not await client.events("error")


@pytest.mark.parametrize("transport", ["http_stream", "sse"])
async def test_many_streams_share_a_connection(page, server, transport):
    page, traffic = page
    async with Gate(server.port) as gate:
        await open_connection(page, gate, "omit")
        channel = await start(page, gate, transport, COUNT)
        assert {e["transport"] for e in await Client(page).events("connected")} == {transport}
        await all_hear_all(page, server, channel)
        assert gate.accepted <= MAX_CONNECTIONS
        paths = ("connection/init", f"connection/{transport}", "emulation")
        assert traffic.protocols == {path: {"h2"} for path in paths}
        await page.evaluate("made.forEach((m) => m.client.disconnect())")


async def test_websockets_are_streams_of_the_connection(page, server):
    """A browser takes the connection that it has, as the server said that it may (RFC 8441)."""
    page, _ = page
    async with Gate(server.port) as gate:
        await open_connection(page, gate, "include")
        channel = await start(page, gate, "websocket", COUNT)
        await all_hear_all(page, server, channel)
        assert gate.accepted <= MAX_CONNECTIONS
        await page.evaluate("made.forEach((m) => m.client.disconnect())")

"""The operators' page in a browser, beside clients whose life it shows."""

import asyncio
import json
import os
import re
from pathlib import Path
from urllib.parse import quote

import aiohttp
import centrifuge
import pytest
import pytest_asyncio
from playwright.async_api import expect
from sdk_browser import api_of, publish, watched_tab
from sdk_gate import Gate
from sdk_server import ServerProcess, token
from waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")

PASSWORD = "let me in"
SHOTS = Path(__file__).parents[2] / "docs" / "images"
HOSTILE = "chat:<img src=x onerror=alert(1)>"
TURNED = "chat:a\N{RIGHT-TO-LEFT OVERRIDE}b"
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="module")
def server(config_file, tmp_path_factory):
    config = json.loads(config_file.read_text())
    config["admin"] = {"enabled": True, "password": PASSWORD, "secret": "signs"}
    config["node"] = {"name": "node-1"}
    config["client"]["channel_limit"] = 2000
    file = tmp_path_factory.mktemp("admin") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser, server):
    """A tab that nobody has signed in to; every request and error of it is looked at."""
    home = f"http://127.0.0.1:{server.port}/"
    async with watched_tab(browser, home) as tab:
        tab.on("request", lambda r: "token=" in r.url and tab.problems.append(r.url))
        await tab.goto(home)
        yield tab
    # A refusal is an error to the console; any other line is one of ours.
    assert not [p for p in tab.problems if "Failed to load resource" not in p]


async def sign_in(tab, password=PASSWORD):
    await tab.get_by_label("Password", exact=True).fill(password)
    await tab.get_by_role("button", name="Sign in").click()


@pytest_asyncio.fixture(loop_scope="module")
async def operator(tab):
    """The same, signed in."""
    await sign_in(tab)
    await tab.get_by_role("heading", name="Status", level=1).wait_for()
    return tab


async def go(tab, page):
    await tab.get_by_role("link", name=page, exact=True).first.click()
    await tab.get_by_role("heading", name=page, level=1).wait_for()


async def picture(tab, name):
    """Keeps a screenshot for the docs, if asked to (FLYBALL_SCREENSHOTS=1)."""
    if os.environ.get("FLYBALL_SCREENSHOTS"):
        SHOTS.mkdir(exist_ok=True)
        await tab.evaluate(SHORT_PATHS)
        (SHOTS / f"admin-{name}.png").write_bytes(await tab.screenshot(animations="disabled"))


SHORT_PATHS = """
() => {
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode())
    walker.currentNode.nodeValue = walker.currentNode.nodeValue.replace(
      /[^ ]*[/]config[.]json/, "/etc/flyball/config.json");
}
"""
"""Pictures show no folders of the machine that they were made on."""


class Events(centrifuge.SubscriptionEventHandler):
    def __init__(self):
        self.publications = asyncio.Queue()

    async def on_publication(self, ctx):
        self.publications.put_nowait(ctx.pub.data)


class Lost(centrifuge.ClientEventHandler):
    def __init__(self):
        self.codes = asyncio.Queue()

    async def on_disconnected(self, ctx):
        self.codes.put_nowait(ctx.code)


@pytest_asyncio.fixture(loop_scope="module")
async def client(server):
    """A real client, subscribed to a channel with a hostile name."""
    lost, events = Lost(), Events()
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"
    client = centrifuge.Client(url, token=token("ann"), events=lost, name="python")
    await client.connect()
    await client.ready(PATIENCE)
    subscription = client.new_subscription(HOSTILE, events)
    await subscription.subscribe()
    await subscription.ready(PATIENCE)
    client.lost, client.got = lost.codes, events.publications
    yield client
    await client.disconnect()


# -- signing in


async def test_wrong_password(tab):
    await sign_in(tab, "guess")
    await expect(tab.get_by_role("alert")).to_have_text("This is not the password.")
    await picture(tab, "sign-in")
    await sign_in(tab)
    await tab.get_by_role("heading", name="Status", level=1).wait_for()


async def test_sign_out_and_expired_session(operator):
    token = await operator.evaluate("sessionStorage.getItem('flyball-admin-token')")
    await operator.get_by_role("button", name="Sign out").click()
    await operator.get_by_label("Password", exact=True).wait_for()
    # A token whose session has ended is no better than none.
    await operator.evaluate("t => sessionStorage.setItem('flyball-admin-token', t)", token)
    await operator.reload()
    await operator.get_by_label("Password", exact=True).wait_for()
    await sign_in(operator)
    await operator.get_by_role("heading", name="Status", level=1).wait_for()
    answer = await operator.evaluate(
        "fetch('admin/logout', {method: 'POST', headers: {Authorization: 'token '"
        " + sessionStorage.getItem('flyball-admin-token')}}).then(a => a.status)"
    )
    assert answer == 204
    await expect(operator.get_by_role("alert")).to_have_text(
        "Your session has ended. Sign in again."
    )


# -- pages


async def test_status(operator, client):
    await expect(operator.locator("[data-figure=Clients]")).to_have_text("1")
    await expect(operator.get_by_role("cell", name="node-1")).to_be_visible()
    charts = operator.get_by_role("img", name="Connections")
    await expect(charts).to_have_attribute("aria-label", "Connections: 1")
    for _ in range(2 if os.environ.get("FLYBALL_SCREENSHOTS") else 0):
        await asyncio.sleep(4)
    await picture(operator, "status")


async def test_action_reaches_a_client(operator, client):
    await go(operator, "Actions")
    await operator.get_by_label("channel", exact=True).fill(HOSTILE)
    await operator.get_by_label("data", exact=True).fill("{")
    await expect(operator.get_by_text("This is no JSON.")).to_be_visible()
    await operator.get_by_label("data", exact=True).fill('{"text": "hello"}')
    await picture(operator, "actions")
    await operator.get_by_role("button", name="Send").click()
    async with asyncio.timeout(PATIENCE):
        assert await client.got.get() == {"text": "hello"}
    await expect(operator.get_by_text('"offset": 1')).to_be_visible()
    await expect(operator.get_by_text("curl -X POST")).to_contain_text("/api/publish")


async def test_error_of_an_action_is_shown(operator):
    await go(operator, "Actions")
    await operator.get_by_label("Command", exact=True).select_option("history")
    await operator.get_by_label("channel", exact=True).fill("nowhere:1")
    await operator.get_by_role("button", name="Send").click()
    await expect(operator.get_by_role("alert")).to_have_text("102 unknown channel")


async def test_every_command_has_a_form(operator):
    await go(operator, "Actions")
    choice = operator.get_by_label("Command", exact=True)
    await choice.wait_for()
    names = await choice.locator("option").all_text_contents()
    assert {"publish", "batch", "connections", "explain", "map_publish"} <= set(names)
    for name in names:
        await choice.select_option(name)
        await operator.get_by_role("heading", name=name, exact=True).wait_for()


async def test_channels_with_a_live_tail(operator, client, server):
    await go(operator, "Channels")
    await operator.get_by_role("link", name=HOSTILE).click()
    await operator.get_by_role("heading", name="Live tail").wait_for()
    await expect(operator.get_by_role("cell", name="ann")).to_be_visible()
    await expect(operator.get_by_text("Nothing was published yet")).to_be_visible()
    await publish(server, HOSTILE, {"text": "<b>live</b>"})
    tail = operator.locator("[data-tail]")
    try:
        await expect(tail).to_contain_text('{"text":"<b>live</b>"}', timeout=5000)
    except AssertionError:  # published before the tail was open
        await publish(server, HOSTILE, {"text": "<b>live</b>"})
        await expect(tail).to_contain_text('{"text":"<b>live</b>"}')
    assert await operator.locator("b").count() == 0
    await picture(operator, "channel")


async def test_what_turns_text_round_is_spelled_out(operator):
    await operator.goto(f"{operator.home}#/channels?channel={quote(TURNED)}")
    await expect(operator.get_by_role("heading", name=r"chat:a\u202eb", exact=True)).to_be_visible()


async def stay(http, url, number, subscribed):
    """A plain client that subscribes, says so, and answers pings until it is cancelled."""
    commands = [
        {"id": 1, "connect": {"token": token(f"one-{number}")}},
        {"id": 2, "subscribe": {"channel": "chat:crowd"}},
    ]
    async with http.ws_connect(url) as socket:
        await socket.send_str("\n".join(map(json.dumps, commands)))
        async for message in socket:
            if '"id":2' in message.data:
                subscribed.release()
            elif message.data == "{}":
                await socket.send_str("{}")
        raise AssertionError(f"client {number} was disconnected with {socket.close_code}")


async def test_a_crowd_is_counted_but_not_listed(operator, server):
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"
    connector = aiohttp.TCPConnector(limit=0)
    async with aiohttp.ClientSession(connector=connector) as http, asyncio.TaskGroup() as tasks:
        subscribed = asyncio.Semaphore(0)
        crowd = [tasks.create_task(stay(http, url, n, subscribed)) for n in range(201)]
        for _ in crowd:
            await subscribed.acquire()
        await operator.goto(f"{operator.home}#/channels?channel=chat:crowd")
        await expect(
            operator.get_by_text("201 clients: too many to be listed here.")
        ).to_be_visible()
        await operator.get_by_role("link", name="Connections here").last.click()
        await expect(operator.get_by_text("201 connections")).to_be_visible()
        await expect(operator.get_by_role("row")).to_have_count(101)
        for client in crowd:
            client.cancel()


async def test_connections_and_disconnect(operator, client):
    await go(operator, "Connections")
    await operator.get_by_label("User", exact=True).fill("ann")
    row = operator.locator("tbody tr").filter(has_text="ann")
    await expect(row).to_contain_text("websocket")
    await expect(row).to_contain_text("python")
    await expect(row).to_contain_text("127.0.0.1:")
    await picture(operator, "connections")
    await row.get_by_role("button", name="Disconnect").click()
    await row.get_by_role("button", name="sure?").click()
    async with asyncio.timeout(PATIENCE):
        assert await client.lost.get() == 3503
    await expect(operator.get_by_text("Nobody is connected, or nobody fits.")).to_be_visible()


async def test_users(operator, client):
    await go(operator, "Users")
    await operator.get_by_label("User (* stands for anything)").fill("an*")
    row = operator.locator("tbody tr").filter(has_text="ann")
    await expect(row).to_have_text("ann1DisconnectWhy?")
    await picture(operator, "users")
    await operator.get_by_label("User (* stands for anything)").fill("nobody*")
    await expect(operator.get_by_text("No user is connected, or none fits.")).to_be_visible()
    await operator.get_by_label("User (* stands for anything)").fill("")
    await row.get_by_role("button", name="Disconnect").click()
    await row.get_by_role("button", name="sure?").click()
    async with asyncio.timeout(PATIENCE):
        assert await client.lost.get() == 3503
    await expect(operator.get_by_text("No user is connected, or none fits.")).to_be_visible()


async def test_why_of_claims(operator):
    await go(operator, "Why?")
    await operator.get_by_label("Channel").fill("chat:1")
    claims = operator.get_by_label("Or the claims of one, as JSON")
    await claims.fill("{")
    await operator.get_by_role("button", name="Explain").click()
    await expect(operator.get_by_text("The claims are no JSON.")).to_be_visible()
    await claims.fill('{"sub": "bob"}')
    await operator.get_by_role("button", name="Explain").click()
    rule = operator.get_by_role("row").filter(has_text="token of these claims")
    await expect(rule).to_contain_text("is valid, it is of user 'bob'")


async def test_why(operator):
    await go(operator, "Why?")
    await operator.get_by_label("Operation").select_option("publish")
    await operator.get_by_label("Channel").fill("chat:1")
    await operator.get_by_label("User (empty: anonymous)").fill("ann")
    await operator.get_by_role("button", name="Explain").click()
    await expect(operator.get_by_text("✕ Refused")).to_be_visible()
    rule = operator.get_by_role("row").filter(has_text="allow_publish_for_subscriber")
    await expect(rule).to_contain_text("is for subscribers only")
    await picture(operator, "why")
    await operator.get_by_label("Is subscribed now").check()
    await operator.get_by_role("button", name="Explain").click()
    await expect(operator.get_by_text("✓ Allowed")).to_be_visible()


async def test_config(operator):
    await go(operator, "Config")
    row = operator.get_by_role("row").filter(has_text="admin.password")
    await expect(row).to_contain_text("••••••")
    await expect(row).to_contain_text("config.json")
    assert PASSWORD not in await operator.content()
    await picture(operator, "config")


async def test_tools(operator):
    await go(operator, "Tools")
    await operator.get_by_label("User (empty: anonymous)").fill("ann")
    await operator.get_by_role("button", name="Make").click()
    made = await operator.locator("[data-token]").inner_text()
    await operator.get_by_label("Token", exact=True).fill(made)
    await operator.get_by_role("button", name="Check").click()
    await expect(operator.get_by_text("✓ Valid")).to_be_visible()
    await picture(operator, "tools")
    await operator.get_by_label("Token", exact=True).fill("rubbish")
    await operator.get_by_role("button", name="Check").click()
    await expect(operator.get_by_text("✕ Not valid")).to_be_visible()


async def test_a_thousand_channels_in_pages(operator, server):
    url = f"ws://127.0.0.1:{server.port}/connection/websocket"
    names = [f"chat:{number:04}" for number in range(1000)]
    client = centrifuge.Client(url, token=token("many"))
    await client.connect()
    await client.ready(PATIENCE)
    async with api_of(server) as http:
        for start in range(0, 100, 1):
            commands = [
                {"subscribe": {"user": "many", "channel": name}}
                for name in names[start * 10 : start * 10 + 10]
            ]
            async with http.post(f"{server.api}/batch", json={"commands": commands}) as answer:
                assert answer.status == 200
    await go(operator, "Channels")
    await operator.get_by_role("button", name="Refresh").click()
    await expect(operator.get_by_role("row")).to_have_count(201)
    await expect(operator.get_by_text(re.compile("200 of 1,00. channels"))).to_be_visible()
    await picture(operator, "channels")
    await operator.get_by_label("Order").select_option("By name")
    await expect(operator.get_by_role("link", name="chat:0000")).to_be_visible()
    await operator.get_by_role("button", name="Next page").click()
    await expect(operator.get_by_role("link", name="chat:0200")).to_be_visible()
    await expect(operator.get_by_role("row")).to_have_count(201)
    await operator.get_by_role("button", name="First page").click()
    await expect(operator.get_by_role("link", name="chat:0000")).to_be_visible()
    await operator.get_by_label("Pattern").fill("chat:099?")
    await expect(operator.get_by_role("row")).to_have_count(11)
    await expect(operator.get_by_text("10 channels")).to_be_visible()
    await client.disconnect()


async def test_narrow_and_dark(operator):
    await operator.set_viewport_size({"width": 390, "height": 800})
    await operator.emulate_media(color_scheme="dark")
    await operator.get_by_role("button", name="Menu").click()
    await go(operator, "Actions")
    await operator.get_by_role("heading", name="publish", exact=True).wait_for()
    width = await operator.evaluate("document.documentElement.scrollWidth")
    assert width <= 390
    await picture(operator, "narrow")


async def test_keyboard(tab):
    await expect(tab.get_by_label("Password", exact=True)).to_be_focused()
    await tab.keyboard.type(PASSWORD)
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Status", level=1).wait_for()
    await tab.get_by_role("link", name="Tools").focus()
    await tab.keyboard.press("Enter")
    await tab.get_by_role("heading", name="Tools", level=1).wait_for()


async def test_a_cut_connection_shows_itself_and_heals(browser, server):
    async with Gate(server.port) as gate:
        context = await browser.new_context()
        tab = await context.new_page()
        await tab.goto(f"http://127.0.0.1:{gate.port}/")
        await sign_in(tab)
        await tab.locator("[data-figure=Clients]").wait_for()
        gate.shut()
        await expect(tab.get_by_role("alert")).to_contain_text("The server does not answer.")
        gate.reopen()
        await expect(tab.get_by_role("alert")).to_have_count(0)
        await context.close()


async def test_insecure_shows_a_banner_and_asks_nobody(browser, config_file, tmp_path_factory):
    config = json.loads(config_file.read_text())
    config["admin"] = {"enabled": True, "insecure": True, "handler_prefix": "/ops"}
    file = tmp_path_factory.mktemp("insecure") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file) as server:
        context = await browser.new_context()
        tab = await context.new_page()
        await tab.goto(f"http://127.0.0.1:{server.port}/ops")
        await expect(tab.get_by_role("alert").first).to_contain_text("admin.insecure is on")
        await go(tab, "Tools")
        await expect(tab.get_by_role("alert").first).to_contain_text("admin.insecure is on")
        await context.close()


WATCH = """
const seen = name => { if (!(name in window.times)) window.times[name] = performance.now(); };
window.times = {};
new MutationObserver(() => {
  const password = document.querySelector("input[type=password]");
  if (password && !password.disabled && document.activeElement === password) seen("form");
  const figure = document.querySelector("[data-figure=Clients]");
  if (figure) seen("status");
}).observe(document, {childList: true, subtree: true, attributes: true});
"""
"""Notes when a page can be used, in milliseconds after the navigation began."""


async def test_page_can_be_used_within_a_second(browser, server):
    """Nothing is cached in a new context. The machine may be busy: the best of some tries counts."""
    best = {}
    for _ in range(10):
        context = await browser.new_context()
        tab = await context.new_page()
        await tab.add_init_script(WATCH)
        await tab.goto(f"http://127.0.0.1:{server.port}/")
        await expect(tab.get_by_label("Password", exact=True)).to_be_focused()
        taken = await tab.evaluate("window.times")
        await sign_in(tab)
        await tab.locator("[data-figure=Clients]").wait_for()
        await tab.reload()  # signed in: straight to the first page
        await tab.locator("[data-figure=Clients]").wait_for()
        taken |= await tab.evaluate("window.times")
        await context.close()
        assert set(taken) == {"form", "status"}
        best = {name: min(value, best.get(name, value)) for name, value in taken.items()}
        if max(best.values()) <= 1000:
            break
    assert max(best.values()) <= 1000, best
    print(f"usable after {best['form']:.0f} ms, status after {best['status']:.0f} ms")


async def test_first_page_is_small(browser, server):
    context = await browser.new_context()
    tab = await context.new_page()
    devtools = await context.new_cdp_session(tab)
    await devtools.send("Network.enable")
    sizes = []
    devtools.on("Network.loadingFinished", lambda done: sizes.append(done["encodedDataLength"]))
    await tab.goto(f"http://127.0.0.1:{server.port}/")
    await sign_in(tab)
    await tab.locator("[data-figure=Clients]").wait_for()
    assert 50_000 < sum(sizes) <= 200 * 1024
    await context.close()

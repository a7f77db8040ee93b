"""A browser, the page that tests drive in it, and where the page comes from.

Tests that use these fixtures run on the loop of their module.
"""

import contextlib
import http.server
import os
import re
import shutil
import threading
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio
from playwright.async_api import async_playwright
from sdk_server import API_KEY
from waiting import PATIENCE

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


@contextlib.asynccontextmanager
async def chromium(*arguments):
    """A headless Chromium."""
    path = os.environ.get("CHROMIUM") or next(filter(None, map(shutil.which, BROWSERS)), None)
    if path is None:
        pytest.fail(
            f"no browser: install one of {', '.join(BROWSERS)}, or set CHROMIUM to its path"
        )
    async with async_playwright() as playwright:
        browser = await playwright.chromium.launch(
            executable_path=path, args=[*ARGUMENTS, *arguments]
        )
        yield browser
        await browser.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser():
    """The browser of a module."""
    async with chromium() as browser:
        yield browser


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
                timeout=PATIENCE * 1000,
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


@contextlib.asynccontextmanager
async def watched_tab(browser, home, *, height=800, own=()):
    """A tab of the server at ``home``. What it complains of, and asks of others, is in ``problems``.

    ``own`` are starts of addresses that lead nowhere else.
    """
    context = await browser.new_context(viewport={"width": 1200, "height": height})
    tab = await context.new_page()
    tab.set_default_timeout(PATIENCE * 1000)
    tab.home, tab.problems = home, []
    note = tab.problems.append
    tab.on("pageerror", lambda error: note(str(error)))
    tab.on("console", lambda line: line.type == "error" and note(line.text))
    tab.on("dialog", lambda dialog: note(dialog.message))
    tab.on("request", lambda r: r.url.startswith((home, *own)) or note(r.url))
    yield tab
    await context.close()

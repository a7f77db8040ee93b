"""The page that documents the server API, in a browser: a method is tried there."""

import json

import pytest
import pytest_asyncio
from playwright.async_api import expect
from sdk_browser import watched_tab
from sdk_server import API_KEY, ServerProcess
from waiting import PATIENCE

pytestmark = pytest.mark.asyncio(loop_scope="module")
expect.set_options(timeout=PATIENCE * 1000)


@pytest.fixture(scope="module")
def server(config_file, tmp_path_factory):
    config = json.loads(config_file.read_text())
    config["swagger"] = {"enabled": True}
    file = tmp_path_factory.mktemp("swagger") / "config.json"
    file.write_text(json.dumps(config))
    with ServerProcess(file) as process:
        yield process


@pytest_asyncio.fixture(loop_scope="module")
async def tab(browser, server):
    """The page. Nothing is asked of another server, and nothing is refused by its policy."""
    home = f"http://127.0.0.1:{server.port}/"
    async with watched_tab(browser, home, height=900, own=("data:", "blob:")) as tab:
        await tab.goto(f"{home}swagger")
        yield tab
    assert not tab.problems


async def test_a_method_is_tried(tab):
    await expect(tab.get_by_role("heading", name="Flyball server API")).to_be_visible()
    await tab.get_by_role("button", name="Authorize").click()
    await tab.locator("#api_key_value").first.fill(API_KEY)
    await tab.get_by_role("button", name="Apply credentials").first.click()
    await tab.get_by_role("button", name="Close", exact=True).first.click()
    row = tab.locator("#operations-channels-info")
    await row.locator(".opblock-summary-control").click()
    await row.get_by_role("textbox").fill("{}")
    await row.get_by_role("button", name="Execute").click()
    answer = row.locator(".live-responses-table tbody .response-col_description")
    await expect(answer.first).to_contain_text('"nodes"')

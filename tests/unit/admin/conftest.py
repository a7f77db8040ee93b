import pytest
from admin_page import made


@pytest.fixture
async def page():
    page = await made()
    await page.server.node.start()
    yield page
    await page.server.node.shutdown()

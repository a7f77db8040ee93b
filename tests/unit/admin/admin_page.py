"""The operators' page of a server, asked without sockets."""

import asyncio
from collections.abc import Awaitable
from urllib.parse import urlencode

from asking import ask

from flyball.server.app import Server
from flyball.server.config import load_config
from flyball.testing import TestClock

PASSWORD, SECRET = "right & proper", "a secret"
BASE = {
    "FLYBALL_ADMIN_ENABLED": "true",
    "FLYBALL_ADMIN_PASSWORD": PASSWORD,
    "FLYBALL_ADMIN_SECRET": SECRET,
    "FLYBALL_HTTP_API_KEY": "the api key",
    "FLYBALL_CLIENT_TOKEN_HMAC_SECRET_KEY": "the secret of tokens",
}


class Page:
    """The page, and a session of an operator once signed in."""

    def __init__(self, **environ):
        loaded = load_config(environ={**BASE, **environ})
        self.clock = TestClock()
        self.server = Server(loaded.config, clock=self.clock, sources=loaded.sources)
        self.admin = self.server._admin
        self.token = ""
        self.host = "127.0.0.1"  # whom requests come from

    async def ask(self, method, path, body=b"", **headers):
        if self.token:
            headers.setdefault("authorization", f"token {self.token}")
        answer = ask(self.admin.routes(), method, path, headers=headers, body=body, host=self.host)
        return await answer if isinstance(answer, Awaitable) else answer

    async def sign_in(self, password=PASSWORD, **headers):
        form = urlencode({"password": password}).encode()
        return await self.ask("POST", "/admin/auth", form, **headers)


async def made(**environ):
    """A page with other settings: reading files blocks, so it is made beside the loop."""
    return await asyncio.to_thread(Page, **environ)

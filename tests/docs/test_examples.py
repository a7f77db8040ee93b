"""The examples, run as a user would run them."""

import asyncio
import json
import signal
import sys

import aiohttp
from ports import accepts, free_port
from processes import ROOT, Program
from waiting import PATIENCE, until


class Chatter:
    """A client of the chat, by hand."""

    def __init__(self, socket):
        self.socket = socket
        self.ids = 0
        self.pushes = asyncio.Queue()
        self.replies = {}

    async def read(self):
        async for message in self.socket:
            for line in message.data.split("\n"):
                reply = json.loads(line)
                if "push" in reply:
                    self.pushes.put_nowait(reply["push"])
                elif "id" in reply:
                    self.replies[reply["id"]].set_result(reply)

    async def ask(self, **request):
        self.ids += 1
        answer = self.replies[self.ids] = asyncio.get_running_loop().create_future()
        await self.socket.send_json({"id": self.ids, **request})
        async with asyncio.timeout(PATIENCE):
            return await answer

    async def pushed(self):
        async with asyncio.timeout(PATIENCE):
            return await self.pushes.get()


async def test_chat():
    port = free_port()
    with Program(sys.executable, ROOT / "examples/chat.py", "--port", str(port)) as chat:
        await until(lambda: accepts(port), "chat")
        url = f"ws://127.0.0.1:{port}/connection/websocket"
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as first:
            bob = Chatter(first)
            reading = asyncio.create_task(bob.read())
            assert "client" in (await bob.ask(connect={"token": "bob"}))["connect"]
            assert (await bob.ask(subscribe={"channel": "chat:1"}))["subscribe"]["recoverable"]
            assert (await bob.pushed())["join"]["info"]["conn_info"] == {"name": "Bob"}
            assert (await bob.ask(subscribe={"channel": "chat:staff"}))["error"]["code"] == 103
            refused = await bob.ask(publish={"channel": "chat:2", "data": {"text": "x"}})
            assert refused["error"]["code"] == 103
            assert (await bob.ask(publish={"channel": "chat:1", "data": {}}))["error"] == {
                "code": 400,
                "message": "a message needs a text",
            }
            assert "publish" in await bob.ask(publish={"channel": "chat:1", "data": {"text": "hi"}})
            assert (await bob.pushed())["pub"]["data"] == {"text": "hi"}
            stats = await bob.ask(presence_stats={"channel": "chat:1"})
            assert stats["presence_stats"] == {"num_clients": 1, "num_users": 1}
            votes = await bob.ask(rpc={"method": "vote", "data": {"option": "tea"}})
            assert votes["rpc"]["data"] == {"votes": 1}
            reading.cancel()
        async with aiohttp.ClientSession() as session, session.ws_connect(url) as nameless:
            await nameless.send_json({"id": 1, "connect": {}})
            assert (await nameless.receive(PATIENCE)).type is aiohttp.WSMsgType.CLOSE
            assert nameless.close_code == 4501
        code = chat.stop(signal.SIGINT)
    assert code == 0
    said = chat.output.splitlines()
    assert f" serves on http://127.0.0.1:{port}" in said[0]
    refused = [line for line in said if " is refused for user " in line]
    assert len(refused) == len(said) - 5 == 4

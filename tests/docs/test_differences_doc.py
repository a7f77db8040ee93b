"""What docs/differences.md says of corners of the protocol, on a server."""

import asyncio
import base64
import hashlib
import hmac
import json

import aiohttp
import pytest
from ports import accepts, free_port
from processes import FLYBALL, Program
from waiting import PATIENCE, wait_for

PERMISSIONS = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_anonymous": True,
    "allow_user_limited_channels": True,
}
CONFIG = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "token": {"hmac_secret_key": "secret"},
    },
    "channel": {"without_namespace": {**PERMISSIONS, "history_size": 10, "history_ttl": "300s"}},
    "http_api": {"key": "k"},
}
CONNECT = '{"id":1,"connect":{}}'
BAD_REQUEST = (3501, "bad request")


@pytest.fixture(scope="module")
def port(tmp_path_factory):
    file = tmp_path_factory.mktemp("flyball") / "config.json"
    file.write_text(json.dumps(CONFIG))
    port = free_port()
    with Program(FLYBALL, "-c", str(file), "--http_server.port", str(port)) as server:
        wait_for(lambda: accepts(port), lambda: f"server: {server.output}")
        yield port
    assert "Traceback" not in server.output, server.output


class Client:
    """A client that is told everything."""

    def __init__(self, port, socket, http):
        self._url = f"http://127.0.0.1:{port}/api/"
        self._socket = socket
        self._http = http

    async def send(self, text):
        await (
            self._socket.send_bytes(text) if type(text) is bytes else self._socket.send_str(text)
        )

    async def next(self):
        """The next message, as it came; the code and reason of a close."""
        message = await self._socket.receive()
        if message.type is aiohttp.WSMsgType.CLOSE:
            return message.data, message.extra
        return message.data

    async def ask(self, **command):
        await self.send(json.dumps(command))
        return json.loads(await self.next())

    async def api(self, method, **body):
        headers = {"X-API-Key": "k"}
        async with self._http.post(self._url + method, json=body, headers=headers) as answer:
            return await answer.json()


@pytest.fixture
async def dial(port):
    async with aiohttp.ClientSession() as http, asyncio.timeout(PATIENCE):

        async def dial(query=""):
            url = f"http://127.0.0.1:{port}/connection/websocket{query}"
            return Client(port, await http.ws_connect(url), http)

        yield dial


def token(claims, **header):
    parts = [json.dumps({"alg": "HS256", **header}).encode(), claims]
    signed = b".".join(base64.urlsafe_b64encode(part).rstrip(b"=") for part in parts)
    digest = hmac.new(b"secret", signed, hashlib.sha256).digest()
    return (signed + b"." + base64.urlsafe_b64encode(digest).rstrip(b"=")).decode()


@pytest.mark.parametrize("line", [f"{CONNECT} junk", f"{CONNECT}{CONNECT}"])
async def test_text_behind_a_command(dial, line):
    client = await dial()
    await client.send(line)
    assert await client.next() == BAD_REQUEST


@pytest.mark.parametrize(
    ("frame", "replies"),
    [
        (b"\x04\x08\x01\x22\x00\x7f", 1),
        (b"\x08\x08\x01\x22\x04\x0a\x02\xff\xfe", 0),
        (b"\x0f\x08" + b"\x81" * 11 + b"\x01\x22\x00", 0),
        (b"\xff" * 9 + b"\x01\x08\x01", 0),
        (b"\x80" * 9 + b"\x01\x08\x01", 0),
    ],
)
async def test_malformed_protobuf(dial, frame, replies):
    client = await dial("?cf_protocol=protobuf")
    await client.send(frame)
    for _ in range(replies):
        assert isinstance(await client.next(), bytes)
    assert await client.next() == BAD_REQUEST


async def test_nesting(dial):
    client = await dial()
    await client.ask(id=1, connect={})
    deep = '{"id":2,"publish":{"channel":"deep","data":%s}}'
    await client.send(deep % ("[" * 900 + "]" * 900))
    assert json.loads(await client.next()) == {"id": 2, "publish": {}}
    await client.send(deep % ("[" * 30000 + "]" * 30000))
    assert await client.next() == BAD_REQUEST


@pytest.mark.parametrize(
    ("asked", "closed"),
    [
        ({"code": 0, "reason": "x"}, (3503, "force disconnect")),
        ({"code": 4000, "reason": "x" * 200}, (4000, "x" * 123)),
    ],
)
async def test_disconnect_by_the_api(dial, asked, closed):
    client = await dial()
    user = f"user{asked['code']}"
    await client.ask(id=1, connect={"token": token(b'{"sub":"%b"}' % user.encode())})
    assert await client.api("disconnect", user=user, disconnect=asked) == {"result": {}}
    assert await client.next() == closed


async def test_unsubscribe_by_the_api_without_a_channel(dial):
    client = await dial()
    await client.ask(id=1, connect={"token": token(b'{"sub":"leaver"}')})
    await client.ask(id=2, subscribe={"channel": "one"})
    assert await client.api("unsubscribe", user="leaver", channel="") == {"result": {}}
    push = json.loads(await client.next())["push"]
    assert (push["channel"], push["unsubscribe"]["code"]) == ("one", 2000)


async def test_versions(dial):
    client = await dial()
    found = []
    for version in (0, 5, 0, 5, 6):
        answer = await client.api("publish", channel="versions", data=1, version=version)
        found.append(answer["result"]["offset"])
    assert found == [1, 2, 3, 3, 4]


async def test_history_from_outside_of_it(dial):
    client = await dial()
    for number in range(3):
        await client.api("publish", channel="short", data=number)

    async def read(offset, **query):
        since = {"offset": offset, "epoch": ""}
        answer = await client.api("history", channel="short", limit=-1, since=since, **query)
        return [found["offset"] for found in answer["result"].get("publications", [])]

    assert await read(10, reverse=True) == [3, 2, 1]
    assert await read(2**64 - 1) == await read(2**63) == []


async def test_a_channel_of_nobody(dial):
    client = await dial()
    await client.ask(id=1, connect={})
    assert (await client.ask(id=2, subscribe={"channel": "name#"}))["error"]["code"] == 103


@pytest.mark.parametrize("exp", [10**10, 10**18, 93 * 10**17, 10**30])
async def test_times_that_never_come(dial, exp):
    client = await dial()
    answer = await client.ask(id=1, connect={"token": token(b'{"sub":"u","exp":%d}' % exp)})
    assert answer["connect"]["expires"]


async def test_headers_that_must_be_understood(dial):
    client = await dial()
    told = token(b'{"sub":"u"}', crit=["x"], x=1)
    await client.send(json.dumps({"id": 1, "connect": {"token": told}}))
    assert await client.next() == (3500, "invalid token")


async def test_wishes_that_are_too_long(dial):
    client = await dial()
    answer = await client.ask(id=1, connect={"subs": {"a" * 256: {}}})
    assert "subs" not in answer["connect"]

"""The configurations of docs/reverse-proxies.md, run as they stand, and messages through them."""

import asyncio
import contextlib
import json
import os
import shutil
import subprocess

import aiohttp
import pytest
from pages import block
from ports import accepts, free_port
from processes import FLYBALL, ROOT, Program
from waiting import PATIENCE, wait_for

TEXT = (ROOT / "docs" / "reverse-proxies.md").read_text()
OFFERS_GZIP = {"Accept-Encoding": "gzip", "Origin": "http://page.example"}
PERMISSIONS = {
    "allow_subscribe_for_client": True,
    "allow_publish_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_anonymous": True,
}
CONFIG = {
    "client": {
        "allow_anonymous_connect_without_token": True,
        "allowed_origins": ["http://page.example"],
    },
    "channel": {"without_namespace": PERMISSIONS},
    "http_api": {"key": "k"},
    "http_stream": {"enabled": True},
    "sse": {"enabled": True},
    "sockjs": {"enabled": True},
    "uni_sse": {"enabled": True},
    "uni_http_stream": {"enabled": True},
}
COMMANDS = {
    "nginx": ("nginx", "-p", "{folder}", "-c", "{file}", "-e", "stderr", "-g", "{nginx}"),
    "haproxy": ("haproxy", "-db", "-f", "{file}"),
    "apache": (
        "apache2",
        "-X",
        "-d",
        "/usr/lib/apache2",
        "-f",
        "{file}",
        *("-C", "PidFile {folder}/pid"),
    ),
    "caddy": ("caddy", "run", "--adapter", "caddyfile", "--config", "{file}"),
}
NGINX = "daemon off; master_process off; pid {folder}/pid;"


@pytest.fixture(scope="module")
def backend(tmp_path_factory):
    file = tmp_path_factory.mktemp("flyball") / "config.json"
    file.write_text(json.dumps(CONFIG))
    port = free_port()
    with Program(FLYBALL, "-c", str(file), "--http_server.port", str(port)) as server:
        wait_for(lambda: accepts(port), lambda: f"server: {server.output}")
        yield port
    assert "Traceback" not in server.output, server.output


@pytest.fixture(scope="module", params=COMMANDS)
def proxy(request, backend, tmp_path_factory):
    """The port of a reverse proxy in front of the server."""
    command = COMMANDS[request.param]
    if shutil.which(command[0]) is None:
        if os.environ.get("CI"):
            pytest.fail(f"{command[0]} is not installed")
        pytest.skip(f"{command[0]} is not installed")
    folder = tmp_path_factory.mktemp(request.param)
    port, file = free_port(), folder / "proxy.conf"
    text = as_installed(request.param, block(TEXT, f"proxy: {request.param}"))
    assert "127.0.0.1:8000" in text
    text = text.replace("127.0.0.1:8000", f"127.0.0.1:{backend}").replace("8080", str(port))
    file.write_text(text + extra(request.param, folder))
    nginx = NGINX.format(folder=folder)
    words = [word.format(folder=folder, file=file, nginx=nginx) for word in command]
    environ = {**os.environ, "HOME": str(folder), "XDG_DATA_HOME": str(folder)}
    with Program(*words, env=environ, cwd=folder) as server:
        wait_for(lambda: accepts(port), lambda: f"{request.param}: {server.output}")
        yield port


def as_installed(name, text):
    """The configuration in the words of the version that is here: Caddy renamed an option in 2.7."""
    if name != "caddy" or not subprocess.check_output(["caddy", "version"]).startswith(b"2.6"):
        return text
    assert "request_buffers 64k" in text
    return text.replace("request_buffers 64k", "buffer_requests")


def extra(name, folder):
    """What a test's own Apache needs, and a system's has: places, and how it logs."""
    if name != "apache":
        return ""
    return f'\nErrorLog /dev/stderr\nDefaultRuntimeDir {folder}\nMutex "file:{folder}"\n'


@pytest.fixture
async def http():
    async with aiohttp.ClientSession(auto_decompress=False) as session:
        yield session


@contextlib.asynccontextmanager
async def opened(http, method, port, path, **options):
    url = f"http://127.0.0.1:{port}{path}"
    async with http.request(method, url, headers=OFFERS_GZIP, **options) as answer:
        assert answer.status == 200
        assert answer.headers.get("Content-Encoding", "identity") == "identity"
        yield answer.content


async def publish(http, backend, data):
    url = f"http://127.0.0.1:{backend}/api/publish"
    body = {"channel": "news", "data": data}
    async with http.post(url, json=body, headers={"X-API-Key": "k"}) as answer:
        assert await answer.json() == {"result": {}}


async def read_until(content, text):
    """Reads a stream until ``text`` is there: with the next message held back, it never would be."""
    found = b""
    async with asyncio.timeout(PATIENCE):
        while text not in found:
            chunk = await content.readany()
            assert chunk, f"the stream ended with {found!r}"
            found += chunk
    return found


async def test_websocket(proxy, backend, http):
    url = f"http://127.0.0.1:{proxy}/connection/websocket"
    async with asyncio.timeout(PATIENCE), http.ws_connect(url, headers=OFFERS_GZIP) as socket:
        await socket.send_str('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}')
        text = ""
        while '"id":2' not in text:
            text += await socket.receive_str()
        await publish(http, backend, "to sockets")
        assert "to sockets" in await socket.receive_str()


STREAMS = [
    ("POST", "/connection/http_stream", b'"id":2'),
    ("POST", "/connection/sse", b'"id":2'),
]


@pytest.mark.parametrize(("method", "path", "mark"), STREAMS)
async def test_streams_come_as_they_are_sent(proxy, backend, http, method, path, mark):
    body = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}'
    async with opened(http, method, proxy, path, data=body) as content:
        await read_until(content, mark)
        for number in range(3):
            await publish(http, backend, f"message {number}")
            await read_until(content, b"message %d" % number)


@pytest.mark.parametrize("name", ["uni_sse", "uni_http_stream"])
async def test_unidirectional_streams(proxy, backend, http, name):
    body = '{"subs":{"news":{}}}'
    async with opened(http, "POST", proxy, f"/connection/{name}", data=body) as content:
        await read_until(content, b'"client"')


async def test_commands_of_a_stream(proxy, backend, http):
    body = '{"id":1,"connect":{}}'
    async with opened(http, "POST", proxy, "/connection/http_stream", data=body) as content:
        reply = json.loads(await read_until(content, b"\n"))["connect"]
        command = '{"id":2,"publish":{"channel":"news","data":1}}'
        emulation = {"session": reply["session"], "node": reply["node"], "data": command}
        url = f"http://127.0.0.1:{proxy}/emulation"
        async with http.post(url, json=emulation, headers=OFFERS_GZIP) as answer:
            assert answer.status == 204
        await read_until(content, b'"id":2')


@pytest.mark.parametrize("kind", ["xhr_streaming", "eventsource", "htmlfile?c=callback"])
async def test_sockjs_streams(proxy, backend, http, kind):
    path = f"/connection/sockjs/000/{kind[:3]}{proxy}"
    method = "POST" if kind.startswith("xhr") else "GET"
    async with opened(http, method, proxy, f"{path}/{kind}") as content:
        await read_until(content, b"o")
        send = f"http://127.0.0.1:{proxy}{path}/xhr_send"
        commands = '{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"news"}}'
        async with http.post(send, data=json.dumps([commands]), headers=OFFERS_GZIP) as answer:
            assert answer.status == 204
        await read_until(content, b"subscribe")
        await publish(http, backend, "to sockjs")
        await read_until(content, b"to sockjs")

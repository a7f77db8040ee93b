"""flyball.serve: a node's endpoints from a program without an ASGI server."""

import aiohttp
import pytest

import flyball
from flyball.engines import MemoryBroker

CONNECT = '{"id":1,"connect":{}}'


@pytest.fixture
def node():
    node = flyball.Node()
    node.on_connecting(lambda event: flyball.Credentials(user="u"))
    return node


async def test_all_transports(node):
    every = ("websocket", "uni_websocket", "http_stream", "sse", "uni_sse", "sockjs")
    options = flyball.ServeOptions(port=0, transports=every, prefix="/live")
    async with flyball.serve(node, options) as listener, aiohttp.ClientSession() as web:
        url = f"http://127.0.0.1:{listener.port}/live"
        for path in ("websocket", "sockjs/0/x/websocket", "uni_websocket?cf_connect=%7B%7D"):
            async with web.ws_connect(f"{url}/{path}") as socket:
                if path == "websocket":
                    await socket.send_str(CONNECT)
                assert (await socket.receive_str(timeout=5))[0] in "{o"
        for path in ("http_stream", "sse", "uni_sse"):
            body = "{}" if path == "uni_sse" else CONNECT
            async with web.post(f"{url}/{path}", data=body) as stream:
                assert stream.status == 200
                assert b"connect" in await stream.content.readuntil(b"}}") or path == "uni_sse"
        for path, status in (
            ("init", 200),
            ("emulation", 405),
            ("sockjs/info", 200),
            ("uni_http_stream", 404),
        ):
            async with web.get(f"{url}/{path}") as answer:
                assert answer.status == status


async def test_a_node_can_be_served_again(node):
    options = flyball.ServeOptions(port=0)
    for _ in range(2):
        async with flyball.serve(node, options) as listener, aiohttp.ClientSession() as web:
            url = f"http://127.0.0.1:{listener.port}/connection/websocket"
            async with web.ws_connect(url) as socket:
                await socket.send_str(CONNECT)
                assert "connect" in await socket.receive_str(timeout=5)
                assert node.hub.num_clients == 1


async def test_the_listener_is_closed_whatever_becomes_of_the_node(node):
    class Broken(MemoryBroker):
        async def close(self):
            raise OSError("cannot close")

    node = flyball.Node(broker=Broken(), clients=False)
    with pytest.raises(OSError, match="cannot close"):
        async with flyball.serve(node, flyball.ServeOptions(port=0)) as listener:
            port = listener.port
    async with aiohttp.ClientSession() as web:
        with pytest.raises(aiohttp.ClientConnectionError):
            await web.get(f"http://127.0.0.1:{port}/")


async def test_default_transports_are_those_of_the_sdk(node):
    options = flyball.ServeOptions(port=0)
    async with flyball.serve(node, options) as listener, aiohttp.ClientSession() as web:
        for path, status in (("http_stream", 405), ("sse", 400), ("uni_sse", 404)):
            url = f"http://127.0.0.1:{listener.port}/connection/{path}"
            async with web.get(url) as answer:
                assert answer.status == status


def test_unknown_transports():
    with pytest.raises(ValueError, match=r"'carrier_pigeon' is not known; expected some of web"):
        flyball.ServeOptions(transports=("carrier_pigeon",))


@pytest.mark.parametrize("name", ["origins", "transports"])
def test_a_lone_text_is_not_taken_for_its_letters(node, name):
    # "https://*.example.com" holds a "*", which as an origin of its own lets everybody in.
    with pytest.raises(TypeError, match=rf"{name} must be several texts.*{name}=\('https://\*"):
        flyball.ServeOptions(**{name: "https://*.example.com"})
    with pytest.raises(TypeError, match=f"{name} must be several texts"):
        flyball.asgi.app(node, **{name: "https://*.example.com"})


def test_run_takes_options_and_single_fields(node, monkeypatch):
    def serve(_node, options):
        seen.append(options)
        raise InterruptedError

    seen = []
    monkeypatch.setattr("flyball.serving.serve", serve)
    with pytest.raises(InterruptedError):
        flyball.run(node, flyball.ServeOptions(port=1, prefix="/live"), port=2)
    assert (seen[0].port, seen[0].prefix) == (2, "/live")


async def test_a_number_that_is_no_port(node):
    with pytest.raises(OSError, match="70000 is no port; ports are 0 to 65535"):
        async with flyball.serve(node, flyball.ServeOptions(port=70000)):
            pass


async def test_every_option_has_its_class_where_one_looks(node):
    limits = flyball.ConnectionLimits(lambda: node.hub.num_clients, limit=1)
    options = flyball.ServeOptions(
        port=0,
        transports=("websocket", "uni_websocket", "sockjs"),
        websocket=flyball.WebSocketOptions(compression=True),
        uni_websocket=flyball.UniWebSocketOptions(join_push_messages=True),
        sockjs=flyball.SockJsOptions(url="/sockjs.js"),
        limits=limits,
    )
    assert isinstance(options, flyball.EndpointOptions)
    assert flyball.asgi.WebSocketOptions is flyball.WebSocketOptions
    async with flyball.serve(node, options) as listener, aiohttp.ClientSession() as web:
        assert isinstance(listener, flyball.Listener)
        url = f"http://127.0.0.1:{listener.port}/connection/websocket"
        async with web.ws_connect(url) as socket:
            await socket.send_str(CONNECT)
            await socket.receive_str(timeout=5)
            async with web.get(url) as answer:
                assert answer.status == 503

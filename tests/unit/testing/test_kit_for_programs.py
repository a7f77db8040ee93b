"""What the testing kit gives the authors of programs: several clients, failures, links, ports."""

import asyncio
import socket
import subprocess
import sys

import aiohttp
import pytest
from waiting import PATIENCE

import flyball
from flyball.testing import LiveServer, TestClient, settle

KEPT = {"history_size": 10, "history_ttl": 60}


@pytest.fixture
def chat(flyball_node):
    """Everybody may do everything; the token is the name."""
    flyball_node.on_connecting(lambda e: flyball.Credentials(e.token))
    flyball_node.on_subscribe(lambda e: flyball.SubscribeOptions(recoverable=True))
    flyball_node.on_publish(lambda e: flyball.PublishOptions(**KEPT))
    return flyball_node


async def test_several_clients(chat, flyball_connect):
    ann, bob = [await flyball_connect(name) for name in ("ann", "bob")]
    old = await flyball_connect("old", protocol="protobuf")
    for client in (ann, bob, old):
        await client.subscribe("room")
    await ann.publish("room", "hello")
    for client in (ann, bob, old):
        (said,) = client.take_publications()
        assert (said.json(), said.info.user) == ("hello", "ann")
    async with flyball.Node(clients=False) as other:
        other.on_connecting(lambda e: flyball.Credentials("x"))
        assert (await flyball_connect(node=other)).session.user == "x"


async def test_a_client_that_comes_back(chat, flyball_client, flyball_clock):
    await flyball_client.connect("ann")
    await flyball_client.subscribe("room")
    flyball_client.drop()
    flyball_clock.advance(30)
    await chat.publish("room", "missed", **KEPT)
    flyball_client.reopen()
    await flyball_client.connect("ann")
    result = await flyball_client.subscribe("room", recover=True)
    assert result.recovered
    assert [p.data for p in map(flyball.Publication.of, result.publications)] == [b'"missed"']


async def test_an_epoch_that_is_lost(chat, flyball_client, flyball_broker):
    await chat.publish("room", 1, **KEPT)
    await flyball_client.connect("ann")
    await flyball_client.subscribe("room")
    flyball_client.drop()
    flyball_broker.forget("room")
    flyball_client.reopen()
    await flyball_client.connect("ann")
    assert not (await flyball_client.subscribe("room", recover=True)).recovered


async def test_a_link_that_is_lost(chat, flyball_client, flyball_broker, flyball_clock):
    await chat.publish("room", 0, **KEPT)
    await flyball_client.connect("ann")
    await flyball_client.subscribe("room")
    flyball_broker.lose_link()
    await flyball_broker.publish_elsewhere("room", 1, **KEPT)
    with pytest.raises(ConnectionError, match="the link to the store is down"):
        await chat.publish("room", 2, **KEPT)
    assert not flyball_client.take_publications()
    flyball_broker.restore_link()
    for _ in range(5):
        flyball_clock.advance(2)
        await settle()
    (push,) = flyball_client.take()
    assert push.unsubscribe.code == 2500, "it is to recover what it has missed"
    assert [p.json() for p in (await chat.history("room")).publications] == [0, 1]


async def test_a_handler_that_fails_shows_its_traceback(chat, flyball_connect):
    @chat.on_rpc("divide")
    def divide(event):
        return 1 / event.json()

    client = await flyball_connect("ann")
    with pytest.raises(flyball.Error, match="100 internal server error") as refused:
        await client.rpc("divide", 0)
    assert isinstance(refused.value.__cause__, ZeroDivisionError)
    assert refused.traceback
    with pytest.raises(flyball.Error, match="108") as refused:
        await client.rpc("multiply", 0)
    assert refused.value.__cause__ is None


async def test_a_connect_that_fails_shows_its_traceback(flyball_node):
    flyball_node.on_connecting(lambda e: None)
    with pytest.raises(flyball.Disconnect, match="3004") as ended:
        await TestClient(flyball_node).connect()
    assert "must return Credentials, not None" in str(ended.value.__cause__)


async def test_failures_are_not_kept_without_end(flyball_node):
    flyball_node.on_connecting(lambda e: 1 / 0)
    for _ in range(300):
        TestClient(flyball_node).send(connect={})
    from flyball.testing.failures import FAILURES, MAX_KEPT

    assert 0 < len(FAILURES._last) <= MAX_KEPT


def answer(url, *commands):
    """What a socket of one's own gets for these commands."""

    async def ask():
        async with aiohttp.ClientSession() as web, web.ws_connect(url) as socket:
            got = []
            for command in commands:
                await socket.send_json(command)
                got.append(await socket.receive_json(timeout=PATIENCE))
            return got

    return asyncio.run(ask())


def served(**options):
    node = flyball.Node()
    node.on_connecting(lambda e: flyball.Credentials("ann"))
    return node


def test_a_node_on_a_real_port(flyball_live):
    node = served()
    server = flyball_live(node, origins=["*"])
    assert server.url == f"ws://127.0.0.1:{server.port}/connection/websocket"
    (reply,) = answer(server.url, {"id": 1, "connect": {}})
    assert reply["connect"]["client"]
    assert node.threadsafe.publish("news", 1, **KEPT).offset == 1
    assert server.run(node.history("news")).publications[0].json() == 1


def test_live_servers_one_after_the_other():
    node = served()
    server = LiveServer(node, prefix="/live", api_key="k")
    for _ in range(2):
        with server:
            assert node.running
            publisher = flyball.Publisher(f"{server.http_url}/api", key="k")
            assert publisher.publish("news", 1, **KEPT).offset == 1
            publisher.close()
        assert not node.running
    with pytest.raises(RuntimeError, match="use it in a `with` block"):
        server.run(node.publish("news", 1))


def test_what_keeps_it_from_starting_is_raised():
    with socket.create_server(("127.0.0.1", 0)) as taken:
        server = LiveServer(served(), port=taken.getsockname()[1])
        with pytest.raises(OSError, match="another program has it"):
            server.start()
    server.stop()
    with pytest.raises(flyball.ConfigError, match="no on_connecting handler"):
        LiveServer(flyball.Node()).start()


STRANGERS = """
import flyball

async def test_without_a_marker(flyball_node, flyball_connect):
    flyball_node.on_connecting(lambda event: flyball.Credentials("ann"))
    client = await flyball_connect()
    assert client.session.user == "ann"

def test_sync(flyball_live):
    node = flyball.Node(clients=False)
    flyball_live(node)
    assert node.threadsafe.presence_stats("x").num_clients == 0

async def test_a_handler_that_fails(flyball_node, flyball_connect):
    flyball_node.on_connecting(lambda event: flyball.Credentials("ann"))

    @flyball_node.on_rpc
    def fails(event):
        raise LookupError("no such article")

    client = await flyball_connect()
    await client.rpc("x")
"""


def test_no_setting_is_needed(tmp_path):
    """A suite of strangers: no configuration, no marker, and the traceback of what failed."""
    (tmp_path / "test_strangers.py").write_text(STRANGERS)
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 2 passed" in done.stdout, done.stdout
    assert 'raise LookupError("no such article")' in done.stdout
    assert "The above exception was the direct cause" in done.stdout

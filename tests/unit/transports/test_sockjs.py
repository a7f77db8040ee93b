"""SockJS over raw sockets: every receiver, and sessions between requests."""

import asyncio
import json
import re
import socket

import pytest
from sockjsclient import (
    ANOTHER,
    CONNECT,
    FROM_PAGE,
    INTERRUPTED,
    NO_CACHE,
    ORIGIN,
    SCRIPT,
    STREAMS,
    SUBSCRIBE,
    Asker,
    ask,
    connected,
    new_session,
    replies,
    running,
    say,
    stream,
    unwrap,
)
from waiting import PATIENCE, until
from wsclient import UPGRADE, RawClient, client_frame, request

from flyball.testing.clock import settle


@pytest.fixture(params=["here", "elsewhere"])
def folder(request, tmp_path):
    """Where another process has the sessions, if one has."""
    return tmp_path if request.param == "elsewhere" else None


@pytest.fixture
async def server(request, folder):
    async with running(getattr(request, "param", {}), folder) as server:
        yield server


# -- receivers


@pytest.mark.parametrize("name", STREAMS)
async def test_streams(server, name):
    session = new_session()
    client = await stream(server, session, name, FROM_PAGE)
    assert client.headers == {
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Origin": ORIGIN,
        "Cache-Control": NO_CACHE,
        "Connection": "keep-alive",
        "Content-Encoding": "identity",
        "Content-Type": STREAMS[name][2],
        "Transfer-Encoding": "chunked",
        "X-Accel-Buffering": "no",
        "X-Content-Type-Options": "nosniff",
    }
    assert unwrap(name, await client.chunk()) == "o"
    await say(server, session, CONNECT, SUBSCRIBE)
    connect, _ = replies(unwrap(name, await client.chunk()))
    assert set(connect["connect"]) == {"client"}
    data = {"x": "</script><!-- 100% \u2028\u200d\ufffd \U0001f600 'é' \"\\ \x00\x1f"}
    await server.node.publish("a", data)
    body = await client.chunk()
    if name == "htmlfile":
        assert "<!--" not in body
        assert body.count("</script>") == 1
    assert not re.search("[\u2028\u200d]", body)
    assert replies(unwrap(name, body)) == [{"push": {"channel": "a", "pub": {"data": data}}}]
    await server.node.disconnect_user("u")
    assert unwrap(name, await client.chunk()) == 'c[3503,"force disconnect"]'
    assert await client.chunk() == ""
    await client.ask("/s/info")  # the connection lives on
    assert client.status == 200


async def test_polls(server):
    session = new_session()
    poller = await ask(server, f"{session}/xhr", "", FROM_PAGE)
    assert poller.headers["Content-Type"] == SCRIPT
    assert poller.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert poller.headers["Cache-Control"] == NO_CACHE
    assert await poller.body() == "o\n"
    await say(server, session, CONNECT, SUBSCRIBE)
    assert "connect" in replies(await poller.poll(session))[0]
    await server.node.publish("a", 1)
    await server.node.publish("a", 2)
    assert server.transport.queued_bytes
    waited = replies(await poller.poll(session))
    assert [r["push"]["pub"]["data"] for r in waited] == [1, 2]
    waiting = asyncio.ensure_future(poller.poll(session))
    await until(lambda: server.transport.is_attached)
    await server.node.publish("a", 3)
    assert not server.transport.is_attached
    assert replies(await waiting)[0]["push"]["pub"]["data"] == 3
    await server.node.publish("a", 4)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 4


async def test_jsonp(server):
    session = new_session()
    form = "Content-Type: application/x-www-form-urlencoded\r\n"

    async def poll():
        await client.ask(f"{session}/jsonp?c=cb%2Eone")
        assert client.headers["Content-Type"] == SCRIPT
        assert client.headers["X-Content-Type-Options"] == "nosniff"
        assert client.headers["Cache-Control"] == NO_CACHE
        match = re.fullmatch(r'/\*\*/cb\.one\((".*")\);\r\n', await client.body())
        return json.loads(match[1])

    client = await Asker.open(server.port)
    assert await poll() == "o"
    await client.ask(f"{session}/jsonp_send", "d=" + quote_all(json.dumps([CONNECT])), form)
    assert client.status == 200
    assert await client.body() == "ok"
    assert "connect" in replies(await poll())[0]
    await client.ask(
        f"{session}/jsonp_send", json.dumps([SUBSCRIBE]), "Content-Type: text/plain\r\n"
    )
    assert await client.body() == "ok"
    assert replies(await poll()) == [{"id": 2, "subscribe": {}}]
    for body, text in (
        ("", "Payload expected."),
        ("d=", "Payload expected."),
        ("p=p", "Payload expected."),
        ("d=%5B%22x", "Broken JSON encoding."),
    ):
        await client.ask(f"{session}/jsonp_send", body, form)
        assert (client.status, await client.body()) == (400, text)


def quote_all(text):
    return "".join(f"%{byte:02X}" for byte in text.encode())


async def test_websocket(server):
    path = new_session() + "/websocket"
    client = await RawClient.websocket(server.port, path, {"Origin": ORIGIN})
    assert await client.frame() == (0x81, b"o")
    client.text("")
    client.text("[]")
    client.text(json.dumps([CONNECT]))
    _, frame = await client.frame()
    assert set(replies(frame.decode())[0]["connect"]) == {"client"}
    client.text(json.dumps([SUBSCRIBE, '{"id":3,"rpc":{"method":"m","data":1}}']))
    _, frame = await client.frame()
    assert replies(frame.decode()) == [{"id": 2, "subscribe": {}}, {"id": 3, "rpc": {"data": 1}}]
    await server.node.publish("a", {"x": "\u2028"})
    _, frame = await client.frame()
    assert replies(frame.decode())[0]["push"]["pub"]["data"] == {"x": "\u2028"}
    (session,) = server.node.hub.sessions.values()
    assert session.transport.name == "sockjs"
    await server.node.disconnect_user("u")
    assert await client.frame() == (0x81, b'c[3503,"force disconnect"]')
    first, payload = await client.frame()
    assert (first, payload[:2]) == (0x88, (3503).to_bytes(2, "big"))
    client.send(client_frame(payload[:2], 8))
    assert await client.rest() == b""


async def test_one_id_serves_many_websockets(server):
    path = new_session() + "/websocket"
    for _ in range(2):
        client = await RawClient.websocket(server.port, path)
        assert await client.frame() == (0x81, b"o")
    assert len(server.node.pending_sessions) == 2


@pytest.mark.parametrize("payload", ['["a', "1", '{"a":1}', "[1]", '"a"', "[" * 400])
async def test_broken_websocket_messages(server, payload):
    client = await RawClient.websocket(server.port, new_session() + "/websocket")
    await client.frame()
    client.text(payload)
    assert await client.frame() == (0x81, b'c[3501,"bad request"]')
    assert (await client.frame())[0] == 0x88


async def test_websocket_refusals(server):
    path = new_session() + "/websocket"
    for headers, status in (
        ({**UPGRADE, "Origin": "https://evil.example"}, 403),
        ({"Connection": "close"}, 400),
    ):
        client = await RawClient.open(server.port)
        client.send(request(path, headers))
        assert f" {status} " in (await client.response())[0]
    client = await Asker.open(server.port)
    await client.ask("/s/info")
    await client.body()
    client.send(request(path))  # a connection that has served a request may become one
    assert b" 101 " in await client.head()


async def test_errors_of_connect(server):
    session = new_session()
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == "o"
    await say(server, session, '{"id":1,"connect":{"token":"expired"}}')
    assert replies(await poller.poll(session))[0]["error"]["code"] == 109
    waiting = asyncio.ensure_future(poller.poll(session))
    await until(lambda: server.transport.is_attached)
    server.clock.advance(30)  # it polls, and so is not lost, but does not connect in time
    assert await waiting == 'c[3502,"stale"]'
    assert server.node.metrics.server_disconnects[3502] == 1


@pytest.mark.parametrize(
    "server", [{"node": {"ping_interval": 10.0, "pong_timeout": 3.0}}], indirect=True
)
async def test_pings_are_messages(server):
    session = new_session()
    client = await stream(server, session, "xhr_streaming")
    await client.chunk()
    await say(server, session, CONNECT)
    (reply,) = replies((await client.chunk())[:-1])
    assert (reply["connect"]["ping"], reply["connect"]["pong"]) == (10, True)
    for pings in (1, 2):
        while server.node.metrics.transport_sent["sockjs", "server_ping"] < pings:
            server.clock.advance(0.5)
        assert await client.chunk() == 'a["{}"]\n'
        if pings == 1:
            await say(server, session, "{}")
    server.clock.advance(4)
    assert await client.chunk() == 'c[3012,"no pong"]\n'


# -- several receivers, one after the other and at a time


@pytest.mark.parametrize("first", [*STREAMS, "xhr"])
async def test_a_second_receiver_is_refused(server, first):
    session = new_session()
    if first == "xhr":
        poller = await Asker.open(server.port)
        await connected(server, poller, session)
        waiting = asyncio.ensure_future(poller.poll(session))
        await until(lambda: server.transport.is_attached)
    else:
        client = await stream(server, session, first)
        assert unwrap(first, await client.chunk()) == "o"
        await say(server, session, CONNECT, SUBSCRIBE)
        await client.chunk()
    for name, (method, path, _) in STREAMS.items():
        other = await ask(server, f"{session}/{path}", "" if method == "POST" else None)
        body = await other.body()
        assert unwrap(name, tail(name, body)) == ANOTHER
    other = await Asker.open(server.port)
    assert await other.poll(session) == ANOTHER
    await server.node.publish("a", 1)  # the first is none the worse for it
    frame = await waiting if first == "xhr" else unwrap(first, await client.chunk())
    assert replies(frame)[0]["push"]["pub"]["data"] == 1


def tail(name, body):
    """A body without what a stream begins with."""
    start = {"xhr_streaming": "c[", "eventsource": "data: ", "htmlfile": "<script>\np("}[name]
    return body[body.rindex(start) :]


@pytest.mark.parametrize("name", STREAMS)
async def test_streams_end_after_a_while_and_lose_nothing(server, name):
    session = new_session()
    client = await stream(server, session, name)
    assert unwrap(name, await client.chunk()) == "o"
    await say(server, session, CONNECT, SUBSCRIBE)
    await client.chunk()
    sent, seen, streams = 0, [], 1
    while streams < 4:
        for _ in range(5):
            sent += 1
            await server.node.publish("a", {"n": sent, "x": "x" * 10_000})
        while len(seen) < sent:
            piece = await client.chunk()
            if piece:
                frame = unwrap(name, piece)
                seen += [r["push"]["pub"]["data"]["n"] for r in replies(frame)]
                continue
            streams += 1
            client.writer.close()
            client = await stream(server, session, name)
    assert seen == list(range(1, sent + 1))
    assert 28 < sent < 50, "three times 128 KiB"


async def test_receivers_of_a_session_may_change(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    await server.node.publish("a", 1)
    client = await stream(server, session, "eventsource")
    assert replies(unwrap("eventsource", await client.chunk()))[0]["push"]["pub"]["data"] == 1


@pytest.mark.parametrize("name", STREAMS)
async def test_http_1_0(server, name):
    session = new_session()
    method, path, _ = STREAMS[name]
    body = "" if method == "POST" else None
    client = await ask(server, f"{session}/{path}", body, version="1.0")
    assert client.headers["Connection"] == "close"
    assert "Transfer-Encoding" not in client.headers
    await say(server, session, "zz")
    body = (await client.rest()).decode()
    assert unwrap(name, tail(name, body)) == 'c[3501,"bad request"]'


async def test_polls_over_http_1_0(server):
    session = new_session()
    for expected in ("o\n", 'c[3501,"bad request"]\n'):
        client = await ask(server, f"{session}/xhr", "", version="1.0")
        assert (await client.rest()).decode() == expected
        if expected == "o\n":
            await say(server, session, "zz")


# -- the ends of sessions


async def test_sessions_without_receivers_end(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    server.clock.advance(4.9)
    await server.node.publish("a", 1)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1
    server.clock.advance(4.9)
    assert len(server.node.hub.sessions) == 1
    server.clock.advance(0.2)
    assert not server.node.hub.sessions
    assert not len(server.sessions)
    # The client went away: that is no close of ours.
    assert not server.node.metrics.transport_closes
    client = await ask(server, f"{session}/xhr_send", json.dumps([CONNECT]))
    assert client.status == 404
    assert await poller.poll(session) == "o"  # the id may begin anew


async def test_an_end_is_told_to_later_receivers(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    await server.node.publish("a", 1)
    await server.node.disconnect_user("u")
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1
    for _ in range(2):
        assert await poller.poll(session) == 'c[3503,"force disconnect"]'
    client = await ask(server, f"{session}/eventsource")
    assert await client.body() == '\r\ndata: c[3503,"force disconnect"]\r\n\r\n'
    client = await ask(server, f"{session}/xhr_send", json.dumps([CONNECT]))
    assert client.status == 404
    server.clock.advance(5.1)
    assert await poller.poll(session) == "o"


async def test_waiting_polls_are_told_the_end(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    waiting = asyncio.ensure_future(poller.poll(session))
    await until(lambda: server.transport.is_attached)
    await server.node.disconnect_user("u")
    assert await waiting == 'c[3503,"force disconnect"]'


@pytest.mark.parametrize("name", [*STREAMS, "xhr"])
async def test_clients_that_vanish_free_their_session(server, name):
    session = new_session()
    if name == "xhr":
        client = await Asker.open(server.port)
        await connected(server, client, session)
        client.send(f"POST {session}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode())
        await until(lambda: server.transport.is_attached)
    else:
        client = await stream(server, session, name)
        await client.chunk()
        await say(server, session, CONNECT)
        await client.chunk()
    assert len(server.node.hub.sessions) == 1
    client.writer.transport.abort()
    await until(lambda: not server.node.hub.sessions)
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == INTERRUPTED
    server.clock.advance(5.1)
    assert not len(server.sessions)


async def test_bytes_before_the_answer_cost_the_connection(server):
    session = new_session()
    client = await Asker.open(server.port)
    await connected(server, client, session)
    ask_again = f"POST {session}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    client.send(ask_again)
    await until(lambda: server.transport.is_attached)
    client.send(ask_again)
    await settle()
    await server.node.publish("a", 1)
    assert (await client.rest()).endswith(b"\n"), "the answer, and then the end"


async def test_bytes_behind_the_request_cost_the_connection(server):
    client = await Asker.open(server.port)
    poll = f"POST {new_session()}/xhr HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n".encode()
    client.send(poll + poll[:20])
    answer = await client.rest()
    assert answer.endswith(b"\r\n\r\no\n")
    assert b"Connection: close\r\n" in answer


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 10000}}], indirect=True)
@pytest.mark.parametrize("name", STREAMS)
async def test_slow_readers_are_cut_with_bounded_memory(server, name):
    session = new_session()
    client = await stream(server, session, name)
    client.writer.transport.pause_reading()
    await say(server, session, CONNECT, SUBSCRIBE)
    async with asyncio.timeout(PATIENCE):
        while server.node.hub.sessions:
            await server.node.publish("a", "x" * 5_000)
            assert server.transport.queued_bytes <= 10000
            await asyncio.sleep(0)
    assert server.node.metrics.server_disconnects[3008] == 1
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == 'c[3008,"slow"]'


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 10000}}], indirect=True)
async def test_what_waits_for_a_poll_is_bounded(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    for _ in range(200):
        await server.node.publish("a", "x" * 100)
        assert server.transport.queued_bytes <= 10000
    await until(lambda: not server.node.hub.sessions)
    assert await poller.poll(session) == 'c[3008,"slow"]'


async def small_pipe(server, session, name):
    """A stream whose reader has stopped, over sockets that hold little."""
    end = socket.socket()
    end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
    end.connect(("127.0.0.1", server.port))
    client = Asker(*await asyncio.open_connection(sock=end, limit=2**20))
    method, path, _ = STREAMS[name]
    client.send(f"{method} {session}/{path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    client.writer.transport.pause_reading()
    await until(lambda: len(server.sessions))
    wire = server.transport._receiver._wire
    wire.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 2048)
    await say(server, session, CONNECT, SUBSCRIBE)
    await until(lambda: server.node.hub.num_subscriptions)
    return client


@pytest.mark.parametrize("name", STREAMS)
async def test_readers_that_take_nothing_are_given_up(server, name):
    session = new_session()
    client = await small_pipe(server, session, name)
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    server.clock.advance(1.1)
    assert not server.node.hub.sessions
    assert server.node.metrics.server_disconnects[3009] == 1
    client.writer.transport.resume_reading()
    assert not (await client.rest()).endswith(b"0\r\n\r\n"), "it was dropped"


@pytest.mark.parametrize("server", [{"node": {"queue_max_size": 15_000}}], indirect=True)
async def test_streams_wait_for_slow_readers_within_bounds(server):
    session = new_session()
    client = await small_pipe(server, session, "xhr_streaming")
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    await server.node.publish("a", "x" * 10_000)
    await until(lambda: not server.node.hub.sessions)
    assert server.node.metrics.server_disconnects[3008] == 1
    client.writer.transport.resume_reading()
    assert b'\nc[3008,"slow"]\n\r\n0\r\n\r\n' in await client.rest_of_answer()


async def test_slow_readers_get_everything(server):
    session = new_session()
    client = await small_pipe(server, session, "xhr_streaming")
    while not server.transport.queued_bytes:
        await server.node.publish("a", "x" * 10_000)
    client.writer.transport.resume_reading()
    await until(lambda: not server.transport.queued_bytes)
    await server.node.disconnect_user("u")
    assert (await client.rest_of_answer()).endswith(b'c[3503,"force disconnect"]\n\r\n0\r\n\r\n')
    await client.ask("/s/info")
    assert client.status == 200


async def test_shutdown_says_so(server):
    sessions = [new_session() for _ in range(3)]
    client = await stream(server, sessions[0], "xhr_streaming")
    await client.chunk()
    poller = await Asker.open(server.port)
    await connected(server, poller, sessions[1])
    waiting = asyncio.ensure_future(poller.poll(sessions[1]))
    await until(lambda: server.sessions.get(sessions[1][7:]).is_attached)
    idle = await Asker.open(server.port)
    await connected(server, idle, sessions[2])
    await server.node.shutdown()
    assert await client.chunk() == 'c[3001,"shutdown"]\n'
    assert await client.chunk() == ""
    assert await waiting == 'c[3001,"shutdown"]'
    assert not len(server.sessions)

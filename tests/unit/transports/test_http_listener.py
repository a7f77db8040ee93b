"""HTTP on the one port: the API's fast path, the ASGI app, and connections between them."""

import asyncio
import contextlib
import re
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st
from waiting import PATIENCE, time_flies, until
from wsclient import RawClient, client_frame, request

from flyball.http.body import BadChunks, ChunkedBody
from flyball.http.head import BadRequestHead, parse_head
from flyball.http.http1 import ConnectionState
from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import HttpLimits, Response
from flyball.http.routes import Route, Routes
from flyball.http.streams import StreamingResponse
from flyball.testing.clock import TestClock

DATE = re.compile(r"Date: \w{3}, \d\d \w{3} \d{4} \d\d:\d\d:\d\d GMT")


def post(body=b"{}", path="/api/publish", headers="", version="1.1"):
    return (
        f"POST {path} HTTP/{version}\r\nHost: x\r\n{headers}Content-Length: {len(body)}\r\n\r\n"
    ).encode() + body


def echo(head, body):
    line = f"{head.method} {head.path}?{head.query} "
    return Response(line.encode() + body)


class Later:
    """A handler whose answers are given by the test, in any order."""

    def __init__(self):
        self.asked = []

    def __call__(self, head, body):
        future = asyncio.get_running_loop().create_future()
        self.asked.append((body, future))
        return future


async def app(scope, receive, send):
    body = b""
    more = True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    answer = f"asgi {scope['method']} {scope['path']} ".encode() + body
    headers = [(b"content-length", str(len(answer)).encode())]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": answer})


# -- the fast path


async def test_the_common_answer(serve):
    server = await serve(api=echo)
    client = await RawClient.open(server.port)
    for _ in range(3):  # parsed, then remembered
        client.send(post(b"abc", "/api/publish?a=b"))
        status, lines, body = await client.response()
        assert status == "HTTP/1.1 200 OK"
        assert lines[0] == "Content-Type: application/json"
        assert DATE.fullmatch(client.dates[0])
        assert body == b"POST /api/publish?a=b abc"


async def test_other_answers(serve):
    answers = [
        Response(b"", 401, ""),
        Response(b"no\n", 400, "text/plain", (("X-A", "1"),)),
        Response(b"gone", 204),
    ]
    server = await serve(api=lambda *_: answers.pop(0))
    client = await RawClient.open(server.port)
    client.send(post() * 3)
    status, lines, body = await client.response()
    assert (status, body) == ("HTTP/1.1 401 Unauthorized", b"")
    assert [line for line in lines if not line.startswith("Date: ")] == ["Content-Length: 0"]
    status, lines, body = await client.response()
    assert lines[:2] == ["Content-Type: text/plain", "X-A: 1"]
    assert body == b"no\n"
    status, lines, body = await client.response()
    assert status == "HTTP/1.1 204 No Content"
    assert not any("Content-Length" in line for line in lines)


@pytest.mark.parametrize("size", [1, 7, 64, 100000])
async def test_pipelined_requests_in_pieces(serve, size):
    server = await serve(api=echo)
    client = await RawClient.open(server.port)
    chunked = (
        b"POST /api/b HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
        b"3\r\nabc\r\n4;x=y\r\ndefg\r\n0\r\nTrailer: t\r\n\r\n"
    )
    data = post(b"one") + chunked + post(b"", "/api") + post(b"four") * 2
    for i in range(0, len(data), size):
        client.send(data[i : i + size])
        await asyncio.sleep(0)
    bodies = [(await client.response())[2] for _ in range(5)]
    assert bodies == [
        b"POST /api/publish? one",
        b"POST /api/b? abcdefg",
        b"POST /api? ",
        *[b"POST /api/publish? four"] * 2,
    ]


async def test_later_answers_are_in_order(serve):
    later = Later()
    server = await serve(api=later)
    client = await RawClient.open(server.port)
    client.send(post(b"1") + post(b"2"))
    other = await RawClient.open(server.port)
    other.send(post(b"3"))
    await until(lambda: len(later.asked) >= 2, "requests")
    asked = dict(later.asked)
    assert set(asked) == {b"1", b"3"}  # the second one waits for the first
    asked[b"3"].set_result(Response(b"three"))
    assert (await other.response())[2] == b"three"
    asked[b"1"].set_result(Response(b"one"))
    assert (await client.response())[2] == b"one"
    later.asked[-1][1].set_result(Response(b"two"))
    assert (await client.response())[2] == b"two"


async def test_coroutines_that_do_not_wait_answer_at_once(serve):
    async def handler(*_):
        return Response(b"now")

    server = await serve(api=handler)
    client = await RawClient.open(server.port)
    client.send(post())
    assert (await client.response())[2] == b"now"


@pytest.mark.parametrize("waits", [False, True])
async def test_failing_handlers_give_500_and_the_connection_lives(serve, waits):
    async def fail_later(*_):
        await asyncio.sleep(0)
        raise RuntimeError("broken")

    def fail(*_):
        raise RuntimeError("broken")

    server = await serve(api=fail_later if waits else fail)
    client = await RawClient.open(server.port)
    for _ in range(2):
        client.send(post())
        status, _, body = await client.response()
        assert (status, body) == ("HTTP/1.1 500 Internal Server Error", b"Internal Server Error\n")


async def test_connection_close_and_http10(serve):
    server = await serve(api=echo)
    client = await RawClient.open(server.port)
    client.send(post(headers="Connection: close\r\n") + post())
    _, lines, _ = await client.response()
    assert "Connection: close" in lines
    assert await client.rest() == b""
    client = await RawClient.open(server.port)
    client.send(post(version="1.0", headers="Connection: keep-alive\r\n"))
    assert "Connection: keep-alive" in (await client.response())[1]
    client.send(post(version="1.0"))
    assert "Connection: close" in (await client.response())[1]
    assert await client.rest() == b""


async def test_expect_continue(serve):
    server = await serve(api=echo)
    client = await RawClient.open(server.port)
    for _ in range(2):
        head, body = post(b"body", headers="Expect: 100-continue\r\n").split(b"\r\n\r\n")
        client.send(head + b"\r\n\r\n")
        assert await client.head() == b"HTTP/1.1 100 Continue\r\n\r\n"
        client.send(body)
        assert (await client.response())[2].endswith(b"body")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (post(b"x" * 101), 413),
        (
            b"POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n65\r\n"
            + b"x" * 101,
            413,
        ),
        (post(headers="Expect: coffee\r\n"), 417),
        (post(headers="X: " + "y" * 2000 + "\r\n"), 431),
        (post(headers="X: y\r\n" * 60), 431),
        (post(headers="Content-Length: 7\r\n"), 400),
        (post(headers="Transfer-Encoding: chunked\r\n"), 400),
        (post(headers="Transfer-Encoding: gzip\r\n").replace(b"Content-Length: 2\r\n", b""), 400),
        (post(headers=" folded: x\r\n"), 400),
        (post(headers="space : x\r\n"), 400),
        (b"POST /api HTTP/1.1\r\n\r\n", 400),
        (b"POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 400),
        (b"POST /api HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\nabc", 400),
        (b"POST /api \x00\r\n\r\n", 400),
        (post() + b"\x16\x03\x01 garbage \r\n\r\n", 200),
    ],
)
async def test_bad_requests_are_answered_and_end_the_connection(serve, data, status):
    limits = HttpLimits(max_head_size=1000, max_headers=50, max_body_size=100)
    server = await serve(api=echo, listener={"http": limits})
    client = await RawClient.open(server.port)
    client.send(data)
    answer, lines, _ = await client.response()
    assert answer.startswith(f"HTTP/1.1 {status} ")
    if status == 200:
        assert (await client.response())[0].startswith("HTTP/1.1 400 ")
    else:
        assert "Connection: close" in lines
    assert await client.rest() == b""


async def test_an_answer_is_read_even_if_the_client_is_still_sending(serve):
    limits = HttpLimits(max_body_size=100)
    server = await serve(api=echo, listener={"http": limits})
    client = await RawClient.open(server.port)
    client.send(post(b"x" * 3_000_000))
    assert (await client.response())[0].startswith("HTTP/1.1 413 ")


@pytest.mark.parametrize(
    ("data", "answer"),
    [
        (b"", b""),
        (b"POST /ap", b""),
        (b"POST /api HTTP/1.1\r\nHost", b""),
        (post(b"{}")[:-1], b"HTTP/1.1 408 Request Timeout\r\n"),
        (b"GET /connection/websocket HTTP/1.1\r\n", b""),
        (b"GET /other HTTP/1.1\r\nHost", b""),
    ],
)
async def test_timeouts(serve, data, answer):
    clock = TestClock()
    server = await serve(api=echo, app=app, clock=clock)
    client = await RawClient.open(server.port)
    client.send(data)
    async with time_flies(clock):
        try:
            assert (await client.rest()).startswith(answer)
        except ConnectionResetError:
            assert not answer


async def test_time_limits_are_those_of_the_options(serve):
    clock = TestClock()
    limits = HttpLimits(head_timeout=3, request_timeout=5, keep_alive_timeout=20)
    server = await serve(api=echo, listener={"http": limits}, clock=clock)
    client = await RawClient.open(server.port)
    (connection,) = await connections(server, 1)
    clock.advance(2.9)
    client.send(post(b"{}")[:-1])
    await until(lambda: connection._state is ConnectionState.BODY)
    clock.advance(4.9)
    client.send(b"}")
    await client.response()
    clock.advance(19.8)
    client.send(b"G")
    await until(lambda: connection._state is ConnectionState.HEAD)
    clock.advance(2.9)
    assert await connections(server, 1)
    clock.advance(0.2)
    with contextlib.suppress(ConnectionResetError):
        assert await client.rest() == b""
    await connections(server, 0)


async def test_idle_connections_are_closed(serve):
    clock = TestClock()
    server = await serve(api=echo, clock=clock)
    client = await RawClient.open(server.port)
    for _ in range(3):
        client.send(post())
        await client.response()
        clock.advance(59)
    assert await connections(server, 1)
    clock.advance(1.1)
    assert await client.rest() == b""


async def test_a_client_that_does_not_read_is_not_served_on(serve):
    clock = TestClock()
    calls = 0

    def handler(*_):
        nonlocal calls
        calls += 1
        return Response(b"x" * 100_000)

    server = await serve(api=handler, clock=clock)
    client = await RawClient.open(server.port)
    client.writer.transport.pause_reading()
    client.send(post() * 1000)
    (connection,) = await connections(server, 1)
    async with time_flies(clock):
        await connections(server, 0)
    assert calls < 1000
    assert connection._wire.is_closing()


@pytest.mark.parametrize(
    ("path", "has_app"), [("/connection/websocket", True), ("/nope", False), ("/big", True)]
)
async def test_a_client_that_reads_no_refusals_is_given_up(serve, path, has_app):
    clock = TestClock()
    server = await serve(app=big if has_app else None, clock=clock)
    client = await RawClient.open(server.port)
    client.writer.transport.pause_reading()
    client.send(request(path, headers={}) * 200_000)
    wires = []

    def are_gone():
        open_ones = opened(server)
        wires.extend(getattr(c, "_wire", None) or c.transport for c in open_ones)
        assert all(w.get_write_buffer_size() < 3_000_000 for w in wires)
        return wires and not open_ones

    async with time_flies(clock):
        await until(are_gone)
    assert wires[0].is_closing()


async def big(scope, receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"x" * 1_000_000})


class Owner(asyncio.Protocol):
    """Takes connections over, and writes to them."""

    taken = 0

    def __call__(self, head, body):
        return StreamingResponse(self.take) if head.path == "/api/take" else Response(b"x" * 60_000)

    def take(self, stream, head):
        self.taken += 1
        stream.wire.set_protocol(self)
        stream.answer(Response(b"taken"))
        stream.wire.close()


async def test_full_connections_are_not_taken_over(serve):
    owner = Owner()
    server = await serve(api=owner)
    asked = post() + post(path="/api/take")
    client = await RawClient.open(server.port)
    client.send(asked)
    assert len((await client.response())[2]) == 60_000
    assert (await client.response())[2] == b"taken"
    (listening,) = server.listener._server.sockets
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    small = socket.socket()
    small.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    small.setblocking(False)
    loop = asyncio.get_running_loop()
    await loop.sock_connect(small, ("127.0.0.1", server.port))
    try:
        await loop.sock_sendall(small, post())
        (connection,) = await connections(server, 1)
        await until(connection._wire.get_write_buffer_size, "what the client does not take")
        await loop.sock_sendall(small, asked)
        await connections(server, 0)
    finally:
        small.close()
    assert owner.taken == 1


async def test_full_connections_are_handed_on_when_they_are_read(serve):
    server = await serve(api=lambda *_: Response(b"x" * 100_000), app=app)
    client = await RawClient.open(server.port)
    client.writer.transport.pause_reading()
    client.send(post() * 100 + request("/other", headers={}))
    (connection,) = await connections(server, 1)
    await until(connection._wire.get_write_buffer_size, "what the client does not take")
    client.writer.transport.resume_reading()
    for _ in range(100):
        assert len((await client.response())[2]) == 100_000
    assert (await client.response())[2] == b"asgi GET /other "


def opened(server):
    """Connections that speak HTTP/1.1."""
    listener = server.listener
    guests = listener._asgi.state.connections if listener._asgi else ()
    return [*listener._http1.connections, *guests]


async def connections(server, count):
    await until(lambda: len(opened(server)) == count)
    return opened(server)


# -- from one protocol to another


async def test_one_connection_for_everything(serve):
    server = await serve(api=echo, app=app)
    client = await RawClient.open(server.port)
    client.send(post(b"1"))
    assert (await client.response())[2] == b"POST /api/publish? 1"
    client.send(request("/other", headers={}))
    assert (await client.response())[2] == b"asgi GET /other "
    client.send(post(b"2"))
    assert (await client.response())[2] == b"POST /api/publish? 2"
    client.send(post(b"3") + post(b"4", "/admin"))
    assert (await client.response())[2] == b"POST /api/publish? 3"
    assert (await client.response())[2] == b"asgi POST /admin 4"
    client.send(request(headers={}))
    assert (await client.response())[0] == "HTTP/1.1 400 Bad Request"
    client.send(request())
    assert (await client.head()).startswith(b"HTTP/1.1 101")
    client.send(client_frame(b'{"id":1,"connect":{}}'))
    assert b"connect" in (await client.frame())[1]
    assert not opened(server)


@pytest.mark.parametrize("path", ["/apix", "/ap", "/x/api", "/api/../x"])
async def test_only_paths_below_the_prefix_are_the_api(serve, path):
    server = await serve(api=echo, app=app)
    client = await RawClient.open(server.port)
    client.send(post(b"", path))
    assert (await client.response())[2].startswith(b"asgi") is not path.startswith("/api/")


async def test_asgi_heads_are_limited(serve):
    server = await serve(app=app, listener={"http": HttpLimits(max_head_size=1000)})
    client = await RawClient.open(server.port)
    client.send(request("/x", headers={"X": "y" * 2000}))
    assert (await client.response())[0].startswith("HTTP/1.1 431 ")
    assert await client.rest() == b""


async def test_garbage_with_and_without_an_app(serve):
    for options in ({}, {"app": app}):
        server = await serve(**options)
        client = await RawClient.open(server.port)
        client.send(b"\x16\x03\x01\x02\n\x00garbage\r\n\r\n")
        assert (await client.response())[0].startswith("HTTP/1.1 400 ")
        assert await client.rest() == b""


# -- the end


async def test_close_lets_requests_finish_and_ends_idle_connections(serve):
    later = Later()
    server = await serve(api=later, app=app)
    idle = await RawClient.open(server.port)
    idle.send(request("/x", headers={}))
    await idle.response()
    busy = await RawClient.open(server.port)
    busy.send(post(b"1"))
    await until(lambda: later.asked, "request")
    closing = asyncio.create_task(server.listener.close(grace=5))
    assert await idle.rest() == b""
    with pytest.raises(OSError, match=r"refused|Connect call failed"):
        await RawClient.open(server.port)
    later.asked[0][1].set_result(Response(b"done"))
    _, lines, body = await busy.response()
    assert body == b"done"
    assert "Connection: close" in lines
    assert await busy.rest() == b""
    await busy.close()
    await asyncio.wait_for(closing, PATIENCE)


async def test_listens_on_both_families_and_shares_the_port():
    from flyball.http.listener import Listener, ListenerOptions
    from flyball.http.routes import Routes

    first = Listener(ListenerOptions(reuse_port=True), Routes())
    await first.start()
    second = Listener(ListenerOptions(reuse_port=True, port=first.port), Routes())
    await second.start()
    _, writer = await asyncio.open_connection("127.0.0.1", first.port)
    writer.close()
    await writer.wait_closed()
    await first.close(0.1)
    await second.close(0.1)


# -- parsing


@given(st.binary(max_size=200))
def test_random_heads_are_parsed_or_refused(data):
    for raw in (data, b"GET / HTTP/1.1\r\nHost: x\r\n" + data, b"POST /" + data):
        try:
            parse_head(raw + b"\r\n\r\n")
        except BadRequestHead as error:
            assert error.status in (400, 431, 501, 505)  # noqa: PT017 - or nothing is raised


@given(st.lists(st.binary(min_size=1, max_size=50), max_size=5), st.integers(1, 20))
def test_chunked_bodies_in_pieces(chunks, size):
    wire = b"".join(b"%x\r\n%b\r\n" % (len(c), c) for c in chunks) + b"0\r\n\r\nnext"
    body, buffer, is_complete = ChunkedBody(), bytearray(), False
    for i in range(0, len(wire), size):
        buffer += wire[i : i + size]
        while buffer and not is_complete:
            is_complete = body.feed(buffer)
    assert is_complete
    assert body.content == b"".join(chunks)
    assert buffer == b"next"


@given(st.binary(max_size=100))
def test_random_chunks_never_raise_anything_else(data):
    body, buffer = ChunkedBody(), bytearray(data)
    with contextlib.suppress(BadChunks):
        while buffer and not body.feed(buffer):
            pass


async def test_a_connection_at_rest_does_not_hold_up_the_end():
    rows = [Route("/echo", lambda head, body: Response(b"hello"))]
    listener = Listener(ListenerOptions("127.0.0.1"), Routes(rows))
    await listener.start()
    reader, writer = await asyncio.open_connection("127.0.0.1", listener.port)
    writer.write(b"GET /echo HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(PATIENCE):
        assert (await reader.readuntil(b"hello")).startswith(b"HTTP/1.1 200")
        await listener.close(grace=1000)  # the peer stays where it is
        assert await reader.read() == b""
    writer.close()

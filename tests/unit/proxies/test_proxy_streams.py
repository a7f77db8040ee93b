"""Streams of a backend into subscriptions, in one direction and in both."""

import asyncio
import contextlib
import json

import pytest
from proxy_facts import message_class, wire
from proxy_world import GrpcBackend, world
from structlog.testing import capture_logs
from waiting import until

from flyball.server.proxies import kinds
from flyball.server.proxies import messages as m
from flyball.server.proxies.errors import BackendError
from flyball.server.proxies.http import HttpCaller
from flyball.server.proxies.options import HttpOptions
from flyball.server.proxies.streams import BackendStream

TEMPORARY = {"code": 100, "message": "internal server error", "temporary": True}
YES = {"subscribe_response": {"result": {"data": {"hello": 1}}}}
METHODS = {False: kinds.SUBSCRIBE_UNIDIRECTIONAL.method, True: kinds.SUBSCRIBE_BIDIRECTIONAL.method}
LABELS = {"protocol": "grpc", "type": "subscribe_stream", "name": "default"}


class Abort(Exception):
    """The backend breaks the stream off."""


class StreamBackend(GrpcBackend):
    """Streams what ``script`` gives, made from the recorded schema; ``got`` has what came in."""

    def __init__(self):
        super().__init__()
        self.script = None
        """An async generator function of the messages that come in (bytes, then parsed)."""
        self.got = []
        """Method, metadata and first message of each stream."""
        self.open = 0

    def handlers(self):
        import grpc

        async def one_way(message, context):
            async for reply in self._play(METHODS[False], message, [], context):
                yield reply

        async def both_ways(messages, context):
            async for reply in self._play(METHODS[True], await anext(messages), messages, context):
                yield reply

        return super().handlers() | {
            METHODS[False]: grpc.unary_stream_rpc_method_handler(one_way),
            METHODS[True]: grpc.stream_stream_rpc_method_handler(both_ways),
        }

    async def _play(self, method, first, messages, context):
        import grpc

        self.got.append((method, dict(context.invocation_metadata()), first))
        self.open += 1
        try:
            async for reply in self.script(messages):
                raw = isinstance(reply, bytes)
                yield reply if raw else wire("StreamSubscribeResponse", reply)
        except Abort:
            await context.abort(grpc.StatusCode.INTERNAL, "as told")
        finally:
            self.open -= 1


async def for_ever(*messages):
    """A stream that goes on."""
    for message in messages:
        yield message
    await asyncio.Event().wait()


@pytest.fixture
def backend():
    made = StreamBackend()
    made.script = lambda _messages: for_ever(YES)
    return made


@contextlib.asynccontextmanager
async def streaming(folder, backend, *, both=False, namespace=(), **options):
    """A server whose namespace ``p`` streams, and a client."""

    def change(config):
        config["channel"]["proxy"]["subscribe_stream"] = {
            "endpoint": backend.endpoint("stream"),
            "timeout": "5s",
            **options,
        }
        config["channel"]["namespaces"][0] |= {
            "subscribe_stream_proxy_enabled": True,
            "subscribe_stream_proxy_bidirectional": both,
            **dict(namespace),
        }

    async with world(folder, backend, change=change) as w:
        client = await w.client()
        await client.connect()
        yield w, client


def publication(data, **fields):
    return {"publication": {"data": data, **fields}}


def stream_of(w):
    """The server's side of the only backend."""
    (found,) = {id(b): b for b in w.backends.values()}.values()
    return found


# -- one direction


async def test_what_the_backend_streams(tmp_path, backend):
    backend.script = lambda _: for_ever(YES, publication({"n": 1}), publication(2, tags={"t": "x"}))
    async with streaming(tmp_path, backend) as (w, client):
        reply = await client.call("subscribe", channel="p:x", data={"q": 1})
        assert reply == {"data": {"hello": 1}}
        assert (await client.push())["pub"] == {"data": {"n": 1}}
        assert (await client.push())["pub"] == {"data": 2, "tags": {"t": "x"}}
        ((method, _, first),) = backend.got
        assert method == "SubscribeUnidirectional"
        about = {"client": client.id, "transport": "websocket", "protocol": "json"}
        asked = about | {"encoding": "json", "user": "", "channel": "p:x", "data": {"q": 1}}
        assert first == wire("SubscribeRequest", asked)
        assert w.metric("centrifugo_proxy_duration_seconds_count", **LABELS) == 1
        assert w.metric("centrifugo_proxy_errors", **LABELS) == 0
        assert stream_of(w).streams == 1


async def test_each_subscription_has_its_own(tmp_path, backend):
    numbers = iter(range(2))
    backend.script = lambda _: for_ever(YES, publication(next(numbers)))
    async with streaming(tmp_path, backend) as (w, client):
        other = await w.client()
        await other.connect()
        for n, each in enumerate((client, other)):
            await each.call("subscribe", channel="p:x")
            assert (await each.push())["pub"] == {"data": n}
        assert len(backend.got) == 2


async def test_subscribers_cannot_publish_into_one_direction(tmp_path, backend):
    async with streaming(tmp_path, backend) as (_, client):
        await client.call("subscribe", channel="p:x")
        assert (await client.call("publish", channel="p:x", data=1))["code"] == 108


async def test_what_is_passed_on(tmp_path, backend):
    given = {"grpc": {"static_metadata": {"X-Static": "s1"}}, "binary_encoding": True}
    async with streaming(tmp_path, backend, **given) as (_, client):
        await client.call("subscribe", channel="p:x", data={"q": 1})
        ((_, metadata, first),) = backend.got
        assert metadata["x-static"] == "s1"
        request = message_class("SubscribeRequest").FromString(first)
        assert (request.encoding, request.data, request.b64data) == ("binary", b"", "eyJxIjoxfQ==")


async def test_options_that_hold_for_streams(tmp_path, backend):
    switched = {"presence": True, "join_leave": True, "force_push_join_leave": True}
    override = {name: {"value": True} for name in (*switched, "force_recovery")}
    answer = {"result": {"override": override, "info": {"ci": 1}}}
    backend.script = lambda _: for_ever({"subscribe_response": answer})
    forced = {"force_recovery": True, "force_positioning": True, "allow_recovery": True}
    async with streaming(tmp_path, backend, namespace=forced) as (w, client):
        wishes = {"recoverable": True, "positioned": True}
        assert await client.call("subscribe", channel="p:x", **wishes) == {}
        assert (await client.push())["join"]["info"]["client"] == client.id
        (entry,) = (await w.server.node.presence("p:x")).values()
        assert bytes(entry.chan_info) == b'{"ci":1}'


# -- both directions


async def test_both_directions(tmp_path, backend):
    async def echo(messages):
        yield YES
        async for message in messages:
            came = message_class("StreamSubscribeRequest").FromString(message)
            yield publication({"echo": json.loads(came.publication.data)})

    backend.script = echo
    async with streaming(tmp_path, backend, both=True) as (_, client):
        assert (await client.call("publish", channel="p:x", data=1))["code"] == 108
        assert await client.call("subscribe", channel="p:x") == {"data": {"hello": 1}}
        ((method, _, first),) = backend.got
        assert method == "SubscribeBidirectional"
        about = {"client": client.id, "transport": "websocket", "protocol": "json"}
        request = about | {"encoding": "json", "user": "", "channel": "p:x"}
        assert first == wire("StreamSubscribeRequest", {"subscribe_request": request})
        for n in range(3):
            assert await client.call("publish", channel="p:x", data={"n": n}) == {}
            assert (await client.push())["pub"] == {"data": {"echo": {"n": n}}}


# -- refusals


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize(
    ("first", "heard"),
    [
        (
            {"subscribe_response": {"error": {"code": 1000, "message": "no"}}},
            {"code": 1000, "message": "no"},
        ),
        ({"subscribe_response": {"disconnect": {"code": 4501, "reason": "go"}}}, 4501),
        ({"subscribe_response": {"disconnect": {"code": 70000}}}, TEMPORARY),
        ({"subscribe_response": {"result": {"b64data": "?"}}}, TEMPORARY),
        (publication(1), TEMPORARY),
        (None, TEMPORARY),
    ],
)
async def test_a_stream_that_is_refused(tmp_path, backend, both, first, heard):
    backend.script = lambda _: for_ever(first) if first else nothing()
    async with streaming(tmp_path, backend, both=both) as (w, client):
        assert await client.call("subscribe", channel="p:x") == heard
        await until(lambda: not backend.open)
        assert stream_of(w).streams == 0


async def nothing():
    return
    yield


@pytest.mark.parametrize("both", [False, True])
async def test_a_backend_that_says_nothing(tmp_path, backend, both):
    backend.script = lambda _: for_ever()
    with capture_logs() as lines:
        async with streaming(tmp_path, backend, both=both, timeout="50ms") as (w, client):
            assert await client.call("subscribe", channel="p:x") == TEMPORARY
            await until(lambda: not backend.open)
            assert w.metric("centrifugo_proxy_errors", **LABELS) == 1
    (line,) = [line for line in lines if line["event"] == "backend gives no answer"]
    assert line["type"] == "subscribe_stream"
    assert line["reason"] == "no answer within 0.05 s"


@pytest.mark.parametrize("both", [False, True])
async def test_a_backend_that_is_down(tmp_path, backend, both):
    async with streaming(tmp_path, backend, both=both) as (w, client):
        await backend.stop()
        assert await client.call("subscribe", channel="p:x") == TEMPORARY
        assert stream_of(w).streams == 0


async def test_so_many_streams_and_no_more(tmp_path, backend):
    async with streaming(tmp_path, backend) as (w, client):
        found = stream_of(w)
        found.streams = found.options.max_streams
        assert await client.call("subscribe", channel="p:x") == TEMPORARY
        assert not backend.got
        found.streams = 0
        assert await client.call("subscribe", channel="p:x") == {"data": {"hello": 1}}


# -- ends


@pytest.mark.parametrize("both", [False, True])
async def test_the_backend_ends_it(tmp_path, backend, both):
    async def short(_messages):
        yield YES
        yield publication(1)

    backend.script = short
    async with streaming(tmp_path, backend, both=both) as (w, client):
        await client.call("subscribe", channel="p:x")
        assert (await client.push())["pub"] == {"data": 1}
        ended = {"code": 2000, "reason": "server unsubscribe"}
        assert (await client.push())["unsubscribe"] == ended
        assert stream_of(w).streams == 0
        assert w.metric("centrifugo_proxy_errors", **LABELS) == 0


@pytest.mark.parametrize("both", [False, True])
async def test_the_stream_breaks(tmp_path, backend, both):
    async def broken(_messages):
        yield YES
        raise Abort

    backend.script = broken
    with capture_logs() as lines:
        async with streaming(tmp_path, backend, both=both) as (w, client):
            await client.call("subscribe", channel="p:x")
            ended = {"code": 2500, "reason": "insufficient state"}
            assert (await client.push())["unsubscribe"] == ended
            assert stream_of(w).streams == 0
            assert w.metric("centrifugo_proxy_errors", **LABELS) == 1
            backend.script = lambda _: for_ever(YES)
            assert await client.call("subscribe", channel="p:x") == {"data": {"hello": 1}}
    (line,) = [line for line in lines if line["event"] == "backend gives no answer"]
    assert line["reason"] == "INTERNAL: as told"


async def test_a_message_that_cannot_be_read_breaks_it(tmp_path, backend):
    backend.script = lambda _: for_ever(YES, b"\xff")
    async with streaming(tmp_path, backend) as (_, client):
        await client.call("subscribe", channel="p:x")
        assert (await client.push())["unsubscribe"]["code"] == 2500


async def test_what_is_no_publication_is_passed_over(tmp_path, backend):
    backend.script = lambda _: for_ever(YES, {}, YES, publication(1))
    async with streaming(tmp_path, backend) as (_, client):
        await client.call("subscribe", channel="p:x")
        assert (await client.push())["pub"] == {"data": 1}


@pytest.mark.parametrize("both", [False, True])
@pytest.mark.parametrize("leaves", [False, True])
async def test_the_client_ends_it(tmp_path, backend, both, leaves):
    async with streaming(tmp_path, backend, both=both) as (w, client):
        await client.call("subscribe", channel="p:x")
        assert backend.open == 1
        if leaves:
            await client.socket.close()
        else:
            assert await client.call("unsubscribe", channel="p:x") == {}
        await until(lambda: not backend.open)
        await until(lambda: stream_of(w).streams == 0)
        assert w.metric("centrifugo_proxy_errors", **LABELS) == 0


async def test_a_client_that_leaves_while_the_backend_thinks(tmp_path, backend):
    answers = asyncio.Event()

    async def slow(_messages):
        await answers.wait()
        yield YES
        await asyncio.Event().wait()

    backend.script = slow
    async with streaming(tmp_path, backend) as (w, client):
        await client.send("subscribe", channel="p:x")
        await until(lambda: backend.open)
        await client.socket.close()
        await until(lambda: w.server.node.hub.num_clients == 0)
        answers.set()
        await until(lambda: not backend.open)
        assert stream_of(w).streams == 0


# -- what cannot be seen from outside


class Call:
    def __init__(self):
        self.cancelled = False

    async def write(self, message):
        await asyncio.Event().wait()

    def cancel(self):
        self.cancelled = True


async def test_a_backend_that_takes_no_publication():
    call, told, closed = Call(), [], []
    stream = BackendStream(
        call,
        bidirectional=True,
        timeout=0.01,
        on_failure=told.append,
        on_closed=lambda: closed.append(1),
    )
    with pytest.raises(BackendError, match=r"takes no publication within 0\.01 s"):
        await stream.send(m.NO_DATA)
    assert call.cancelled
    await stream.aclose()
    await stream.aclose()
    assert closed == [1]


async def test_a_publication_into_a_stream_that_has_ended(tmp_path, backend):
    async with streaming(tmp_path, backend, both=True) as (w, client):
        await client.call("subscribe", channel="p:x")
        (session,) = w.server.node.hub.sessions.values()
        session.subscriptions["p:x"].options.feed._call.cancel()
        assert await client.call("publish", channel="p:x", data=1) == TEMPORARY


async def test_there_are_none_over_http():
    caller = HttpCaller(HttpOptions(url="http://127.0.0.1:1/"))
    with pytest.raises(BackendError, match="streams need a GRPC endpoint"):
        await caller.stream(kinds.SUBSCRIBE_UNIDIRECTIONAL, m.SubscribeRequest(user=""), {})

"""What a backend is asked, and what its answers do: over HTTP and over GRPC alike."""

import base64
import contextlib
import json
import time

import aiohttp
import pytest
from msgspec import Raw
from proxy_world import GrpcBackend, HttpBackend, world
from waiting import until

from flyball.protocol import codes, messages
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.server.proxies import messages as m
from flyball.server.proxies.schema import PROXY

TEMPORARY = {"code": 100, "message": "internal server error", "temporary": True}
KINDS = ("connect", "refresh", "subscribe", "publish", "sub_refresh", "rpc")
USER = {"result": {"user": "u1", "meta": {"m": 1}}}


@pytest.fixture(params=[HttpBackend, GrpcBackend])
def backend(request):
    made = request.param()
    made.answers["connect"] = USER
    return made


def seen(backend, value):
    """A payload as the test's backend sees it: the JSON form of Protobuf has bytes in base64."""
    text = json.dumps(value, separators=(",", ":")).encode()
    return base64.b64encode(text).decode() if backend.protocol == "grpc" else value


def about(client, **more):
    """What every question says of the client."""
    return {
        "client": client.id,
        "transport": "websocket",
        "protocol": "json",
        "encoding": "json",
        **more,
    }


# -- right answers


async def test_connect(tmp_path, backend):
    backend.answers["connect"] = {
        "result": {
            "user": "u1",
            "info": {"n": 1},
            "data": {"hello": True},
            "meta": {"m": 1},
            "channels": ["p:a"],
            "subs": {"p:b": {"info": {"ci": 1}, "data": {"d": 1}}},
        }
    }
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        result = await client.connect(data={"x": 1}, name="js", version="1.0")
        (asked,) = backend.questions("connect")
        expected = about(client, data=seen(backend, {"x": 1}), name="js", version="1.0")
        assert asked == expected
        assert result["data"] == {"hello": True}
        assert set(result["subs"]) == {"p:a", "p:b"}
        assert result["subs"]["p:b"]["data"] == {"d": 1}
        (session,) = w.server.node.hub.sessions.values()
        assert (session.user, json.loads(bytes(session.meta))) == ("u1", {"m": 1})
        assert json.loads(bytes(session.info)) == {"n": 1}


async def test_a_channel_without_a_name_is_left_out(tmp_path, backend):
    result = {"user": "u1", "channels": ["", "p:a"], "subs": {"": {}, "p:b": {}}}
    backend.answers["connect"] = {"result": result}
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        assert set((await client.connect())["subs"]) == {"p:a", "p:b"}


async def test_connect_tells_of_the_wished_channels(tmp_path, backend):
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        await client.connect(subs={"p:a": {}, "p:b": {}})
        (asked,) = backend.questions("connect")
        assert asked["channels"] == ["p:a", "p:b"]


async def test_an_empty_result_is_an_anonymous_connection(tmp_path, backend):
    backend.answers["connect"] = {"result": {}}
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        await client.connect()
        (session,) = w.server.node.hub.sessions.values()
        assert session.user == ""


async def test_no_opinion_leaves_it_to_the_next_method(tmp_path, backend):
    backend.answers["connect"] = {}

    def change(config):
        config["client"]["allow_anonymous_connect_without_token"] = False

    async with world(tmp_path, backend, "connect", change=change) as w:
        client = await w.client()
        assert await client.connect() == codes.DISCONNECT_BAD_REQUEST.code


async def test_a_channel_of_an_unknown_namespace_refuses_connect(tmp_path, backend):
    backend.answers["connect"] = {"result": {"channels": ["nope:1"]}}
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        assert (await client.connect())["code"] == codes.UNKNOWN_CHANNEL.code


async def test_an_expiry_that_is_past_refuses_connect(tmp_path, backend):
    backend.answers["connect"] = {"result": {"user": "u", "expire_at": 1}}
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        assert (await client.connect())["code"] == codes.EXPIRED.code


async def test_subscribe(tmp_path, backend):
    backend.answers["subscribe"] = {
        "result": {
            "info": {"ci": 1},
            "data": {"sd": 1},
            "override": {"presence": {"value": True}, "force_recovery": {"value": True}},
        }
    }
    meta = {"include_connection_meta": True}
    async with world(tmp_path, backend, "connect", "subscribe", **meta) as w:
        client = await w.client()
        await client.connect()
        result = await client.call("subscribe", channel="p:x", data={"q": 1})
        (asked,) = backend.questions("subscribe")
        known = asked.pop("meta")
        assert known == {"m": 1} or json.loads(base64.b64decode(known)) == {"m": 1}
        data = seen(backend, {"q": 1})
        assert asked == about(client, user="u1", channel="p:x", data=data)
        assert result["data"] == {"sd": 1}
        assert result["recoverable"]
        (entry,) = (await w.server.node.presence("p:x")).values()
        assert bytes(entry.chan_info).replace(b" ", b"") == b'{"ci":1}'


async def test_subscribe_without_an_opinion_takes_the_namespace(tmp_path, backend):
    async with world(tmp_path, backend, "connect", "subscribe") as w:
        client = await w.client()
        await client.connect()
        assert await client.call("subscribe", channel="p:x") == {}
        (asked,) = backend.questions("subscribe")
        assert asked == about(client, user="u1", channel="p:x")


async def test_publish_changes_what_is_published(tmp_path, backend):
    backend.answers["publish"] = {"result": {"data": {"mod": 1}, "tags": {"t": "1"}}}
    async with world(tmp_path, backend, "connect", "publish") as w:
        client = await w.client()
        await client.connect()
        await client.call("subscribe", channel="p:x")
        assert await client.call("publish", channel="p:x", data={"orig": 1}) == {}
        (asked,) = backend.questions("publish")
        data = seen(backend, {"orig": 1})
        assert asked == about(client, user="u1", channel="p:x", data=data)
        publication = (await client.push())["pub"]
        assert publication["data"] == {"mod": 1}
        assert publication["tags"] == {"t": "1"}
        assert publication["offset"] == 1
        assert publication["info"]["user"] == "u1"


async def test_publish_as_it_is_and_past_history(tmp_path, backend):
    async with world(tmp_path, backend, "connect", "publish") as w:
        client = await w.client()
        await client.connect()
        await client.call("subscribe", channel="p:x")
        assert await client.call("publish", channel="p:x", data={"a": 1}) == {}
        assert (await client.push())["pub"]["offset"] == 1
        backend.answers["publish"] = {"result": {"skip_history": True}}
        assert await client.call("publish", channel="p:x", data={"b": 1}) == {}
        publication = (await client.push())["pub"]
        assert publication["data"] == {"b": 1}
        assert "offset" not in publication


async def test_rpc(tmp_path, backend):
    backend.answers["rpc"] = {"result": {"data": {"r": 1}}}
    async with world(tmp_path, backend, "connect", "rpc") as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="m1", data={"z": 1}) == {"data": {"r": 1}}
        (asked,) = backend.questions("rpc")
        assert asked == about(client, user="u1", method="m1", data=seen(backend, {"z": 1}))


async def test_rpc_without_data_is_answered_without(tmp_path, backend):
    async with world(tmp_path, backend, "connect", "rpc") as w:
        client = await w.client()
        await client.connect()
        for answer in ({}, {"result": {}}):
            backend.answers["rpc"] = answer
            assert await client.call("rpc", method="m1") == {}


async def test_calls_of_one_client_are_answered_side_by_side_with_other_clients(tmp_path, backend):
    arrived = []

    async def wait_for_both(_message):
        arrived.append(1)
        await until(lambda: len(arrived) == 2)
        return {"result": {"data": 1}}

    backend.answers["rpc"] = wait_for_both
    async with world(tmp_path, backend, "rpc") as w:
        clients = [await w.client(), await w.client()]
        for client in clients:
            await client.connect()
            await client.send("rpc", method="m")
        for client in clients:
            assert (await client.read())["rpc"] == {"data": 1}


# -- binary


async def test_payloads_in_base64(tmp_path, backend):
    encoded = base64.b64encode(b'{"n":1}').decode()
    backend.answers["rpc"] = {"result": {"b64data": encoded}}
    async with world(tmp_path, backend, "rpc", binary_encoding=True) as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="m", data={"z": 1}) == {"data": {"n": 1}}
        (asked,) = backend.questions("rpc")
        assert asked["b64data"] == base64.b64encode(b'{"z":1}').decode()
        assert asked["encoding"] == "binary"
        assert "data" not in asked


async def test_the_encoded_form_wins_but_for_publish(tmp_path, backend):
    both = {"data": {"plain": 1}, "b64data": base64.b64encode(b'{"b64":1}').decode()}
    backend.answers["rpc"] = backend.answers["publish"] = {"result": both}
    async with world(tmp_path, backend, "publish", "rpc") as w:
        client = await w.client()
        await client.connect()
        await client.call("subscribe", channel="p:x")
        assert await client.call("rpc", method="m") == {"data": {"b64": 1}}
        await client.call("publish", channel="p:x", data=1)
        assert (await client.push())["pub"]["data"] == {"plain": 1}


async def test_base64_that_is_none_is_an_error(tmp_path, backend):
    backend.answers["rpc"] = {"result": {"b64data": "?"}}
    async with world(tmp_path, backend, "rpc") as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="m") == TEMPORARY


async def test_a_meta_that_is_no_json_is_an_error(tmp_path):
    backend = GrpcBackend()  # over HTTP it is part of the answer's own text
    encode = PROXY.protobuf.write
    answer = m.ConnectResponse(result=m.ConnectResult(user="u", meta=Raw(b"\xff")))
    backend.answers["connect"] = encode(answer)
    async with world(tmp_path, backend, "connect") as w:
        client = await w.client()
        assert await client.connect() == TEMPORARY


# -- refusals


@pytest.mark.parametrize("kind", ["connect", "subscribe", "publish", "rpc"])
async def test_an_error_of_the_backend_is_the_clients(tmp_path, backend, kind):
    backend.answers[kind] = {"error": {"code": 1000, "message": "no", "temporary": True}}
    async with world(tmp_path, backend, kind) as w:
        client = await w.client()
        error = await attempt(client, kind)
        assert error == {"code": 1000, "message": "no", "temporary": True}


@pytest.mark.parametrize("kind", ["connect", "subscribe", "publish", "rpc"])
async def test_a_disconnect_of_the_backend_wins_over_its_error(tmp_path, backend, kind):
    backend.answers[kind] = {
        "result": {},
        "error": {"code": 1000},
        "disconnect": {"code": 4501, "reason": "bye"},
    }
    async with world(tmp_path, backend, kind) as w:
        client = await w.client()
        assert await attempt(client, kind) == 4501


@pytest.mark.parametrize("kind", ["connect", "subscribe", "publish", "rpc"])
async def test_a_backend_that_fails_is_error_100(tmp_path, backend, kind):
    backend.answers[kind] = (500, "")
    async with world(tmp_path, backend, kind) as w:
        client = await w.client()
        assert await attempt(client, kind) == TEMPORARY
        labels = {"protocol": backend.protocol, "type": kind, "name": "default"}
        assert w.metric("centrifugo_proxy_errors", **labels) == 1
        assert w.metric("centrifugo_proxy_inflight_requests", **labels) == 0
        assert w.metric("centrifugo_proxy_duration_seconds_count", **labels) == 1


async def test_a_disconnect_code_that_is_none_is_a_failure(tmp_path, backend):
    backend.answers["rpc"] = {"disconnect": {"code": 65536, "reason": "?"}}
    async with world(tmp_path, backend, "rpc") as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="m") == TEMPORARY


async def attempt(client, kind):
    """What a client is told that asks for something of this kind."""
    if kind == "connect":
        return await client.connect()
    await client.connect()
    fields = {"channel": "p:x", "data": 1} if kind != "rpc" else {"method": "m"}
    return await client.call(kind, **fields)


# -- life of connections and subscriptions


async def test_refresh_prolongs(tmp_path, backend):
    soon = int(time.time()) + 2
    backend.answers["connect"] = {"result": {"user": "u1", "expire_at": soon}}
    backend.answers["refresh"] = {"result": {"expire_at": soon + 3600, "meta": {"m": 2}}}
    async with world(tmp_path, backend, "connect", "refresh", include_connection_meta=True) as w:
        client = await w.client()
        assert "expires" not in await client.connect()
        await until(lambda: backend.questions("refresh"))
        (asked,) = backend.questions("refresh")
        assert asked == about(client, user="u1")
        (session,) = w.server.node.hub.sessions.values()
        await until(lambda: session.expire_at == soon + 3600)
        assert json.loads(bytes(session.meta)) == {"m": 2}


EXPIRED, SERVER_ERROR = codes.DISCONNECT_EXPIRED.code, codes.DISCONNECT_SERVER_ERROR.code


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"result": {"expired": True}}, EXPIRED),
        ({}, EXPIRED),
        ({"error": {"code": 1000}}, EXPIRED),
        ({"result": {"info": 1}}, EXPIRED),  # no new time
        ({"result": {"b64info": "!", "expire_at": 4102444800}}, SERVER_ERROR),
    ],
)
async def test_refresh_ends(tmp_path, backend, answer, code):
    backend.answers["connect"] = {"result": {"user": "u1", "expire_at": int(time.time()) + 2}}
    backend.answers["refresh"] = answer
    async with world(tmp_path, backend, "connect", "refresh") as w:
        client = await w.client()
        await client.connect()
        assert await client.end() == code


async def test_a_connection_lives_on_if_nobody_can_be_asked(tmp_path, backend):
    soon = int(time.time()) + 2
    backend.answers["connect"] = {"result": {"user": "u1", "expire_at": soon}}
    backend.answers["refresh"] = (500, "")
    async with world(tmp_path, backend, "connect", "refresh") as w:
        client = await w.client()
        await client.connect()
        (session,) = w.server.node.hub.sessions.values()
        await until(lambda: session.expire_at > soon + 50)
        assert backend.questions("refresh")


def at_once(config):
    """Subscriptions are looked after each second."""
    config["client"] |= {"presence_update_interval": "1s", "expired_sub_close_delay": "1ms"}


@pytest.mark.parametrize("works", [True, False])
async def test_sub_refresh_prolongs(tmp_path, backend, works):
    soon = int(time.time()) + 2
    backend.answers["subscribe"] = {"result": {"expire_at": soon}}
    later = {"result": {"expire_at": soon + 3600, "info": {"i": 1}}}
    backend.answers["sub_refresh"] = later if works else (500, "")
    kinds = ("connect", "subscribe", "sub_refresh")
    async with world(tmp_path, backend, *kinds, change=at_once) as w:
        client = await w.client()
        await client.connect()
        assert await client.call("subscribe", channel="p:x") == {}
        (session,) = w.server.node.hub.sessions.values()
        sub = session.subscriptions["p:x"]
        await until(lambda: sub.expire_at > soon + 50)
        asked = backend.questions("sub_refresh")[0]
        assert asked == about(client, user="u1", channel="p:x")
        assert bool(sub.info.chan_info) is works


@pytest.mark.parametrize(
    "answer",
    [{"result": {"expired": True}}, {"error": {"code": 1000}}, {"result": {"b64info": "!"}}],
)
async def test_sub_refresh_ends_the_subscription(tmp_path, backend, answer):
    backend.answers["subscribe"] = {"result": {"expire_at": int(time.time()) + 2}}
    backend.answers["sub_refresh"] = answer
    kinds = ("connect", "subscribe", "sub_refresh")
    async with world(tmp_path, backend, *kinds, change=at_once) as w:
        client = await w.client()
        await client.connect()
        await client.call("subscribe", channel="p:x")
        assert (await client.push())["unsubscribe"]["code"] == codes.UNSUBSCRIBE_EXPIRED.code


# -- named backends


async def test_several_backends_by_name(tmp_path, backend):
    def change(config):
        config["proxies"] = [
            {"name": "other", "endpoint": backend.endpoint("subscribe"), "timeout": "5s"}
        ]
        namespace = config["channel"]["namespaces"][0]
        namespace |= {"subscribe_proxy_enabled": True, "subscribe_proxy_name": "other"}

    async with world(tmp_path, backend, "rpc", change=change) as w:
        client = await w.client()
        await client.connect()
        assert await client.call("subscribe", channel="p:x") == {}
        assert len(backend.questions("subscribe")) == 1
        labels = {"type": "subscribe", "name": "other"}
        assert w.metric("centrifugo_proxy_duration_seconds_count", **labels) == 1


# -- what is passed on


async def test_what_is_passed_on(tmp_path, backend):
    def change(config):
        proxy = config["client"]["proxy"]["connect"]
        proxy["http_headers"] = ["X-Real", "X-Both", "Host"]
        proxy["emulated_headers"] = ["Authorization", "X-Both"]
        proxy["http"] = {"static_headers": {"X-Static": "s1", "authorization": "nobody"}}
        proxy["grpc"] = {
            "static_metadata": {"X-Static": "s1"},
            "credentials_key": "X-Key",
            "credentials_value": "secret",
        }

    async with world(tmp_path, backend, "connect", change=change) as w:
        client = await w.client(headers={"X-Real": "1.2.3.4", "X-Both": "real", "X-Other": "no"})
        given = {"authorization": "emul", "X-BOTH": "emul", "x-other": "no"}
        await client.connect(headers=given)
        (headers,) = backend.headers("connect")
        headers = {name.lower(): value for name, value in headers.items()}
        assert headers["x-real"] == "1.2.3.4"
        assert headers["x-both"] == "real"
        assert headers["authorization"] == "emul"
        assert headers["x-static"] == "s1"
        assert "x-other" not in headers
        if backend.protocol == "grpc":
            assert headers["x-key"] == "secret"
            assert "host" not in headers


async def test_a_header_that_none_may_send_is_the_clients_fault(tmp_path, backend):
    def change(config):
        config["client"]["proxy"]["connect"]["emulated_headers"] = ["X-A"]

    async with world(tmp_path, backend, "connect", change=change) as w:
        client = await w.client()
        refused = await client.connect(headers={"x-a": "1\r\nX-Admin: yes"})
        assert refused["code"] == codes.BAD_REQUEST.code
        assert not backend.asked


@pytest.mark.parametrize("value", ["a\tb", "é", "\x7f"])
async def test_a_value_that_grpc_cannot_carry_is_the_clients_fault(tmp_path, value):
    def change(config):
        config["client"]["proxy"]["connect"]["emulated_headers"] = ["X-A"]

    backend = GrpcBackend()
    async with world(tmp_path, backend, "connect", change=change) as w:
        refused = await (await w.client()).connect(headers={"x-a": value})
        assert refused["code"] == codes.BAD_REQUEST.code
        assert not backend.asked


async def test_binary_metadata_of_the_configuration(tmp_path):
    def change(config):
        config["client"]["proxy"]["connect"] |= {
            "emulated_headers": ["A-Bin"],
            "grpc": {
                "static_metadata": {"S-Bin": "é"},
                "credentials_key": "C-Bin",
                "credentials_value": "secret",
            },
        }

    backend = GrpcBackend()
    async with world(tmp_path, backend, "connect", change=change) as w:
        await (await w.client()).connect(headers={"a-bin": "x"})
        (headers,) = backend.headers("connect")
        assert headers["s-bin"] == "é".encode()
        assert headers["c-bin"] == b"secret"
        assert "a-bin" not in headers, "those of clients are not passed on"


# -- binary data


class ProtobufClient:
    """Just enough of one."""

    def __init__(self, socket):
        self.socket = socket

    async def ask(self, command):
        await self.socket.send_bytes(PROTOBUF.encode_command(command))
        message = await self.socket.receive()
        if message.type is not aiohttp.WSMsgType.BINARY:
            return self.socket.close_code
        return PROTOBUF.decode_replies(message.data)[0]


@contextlib.asynccontextmanager
async def protobuf_client(w):
    async with (
        aiohttp.ClientSession() as http,
        http.ws_connect(w.url, protocols=["centrifuge-protobuf"]) as socket,
    ):
        client = ProtobufClient(socket)
        await client.ask(messages.Command(id=1, connect=messages.ConnectRequest()))
        yield client


BINARY = messages.Command(id=2, rpc=messages.RPCRequest(data=Raw(b"\xff\x00"), method="m"))


async def test_binary_data_goes_in_base64_over_http(tmp_path, backend):
    encoded = base64.b64encode(b"\xff\x00").decode()
    backend.answers["rpc"] = {"result": {"b64data": encoded}}
    async with (
        world(tmp_path, backend, "rpc", binary_encoding=True) as w,
        protobuf_client(w) as client,
    ):
        reply = await client.ask(BINARY)
        assert bytes(reply.rpc.data) == b"\xff\x00"
        (asked,) = backend.questions("rpc")
        assert (asked["protocol"], asked["encoding"]) == ("protobuf", "binary")
        assert asked["b64data"] == encoded


async def test_binary_data_without_base64(tmp_path, backend):
    backend.answers["rpc"] = {"result": {"data": 1}}
    async with world(tmp_path, backend, "rpc") as w, protobuf_client(w) as client:
        reply = await client.ask(BINARY)
        if backend.protocol == "grpc":  # bytes are bytes there
            assert bytes(reply.rpc.data) == b"1"
        else:
            assert reply.error.code == 100
            assert not backend.asked


async def test_a_binary_answer_for_a_client_that_reads_json(tmp_path, backend):
    encoded = base64.b64encode(b"\xff\x00").decode()
    backend.answers["rpc"] = {"result": {"b64data": encoded}}
    async with world(tmp_path, backend, "rpc") as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="m") == 3506


# -- RPC


async def test_methods_have_namespaces_and_those_have_backends(tmp_path, backend):
    backend.answers["rpc"] = {"result": {"data": 1}}

    def change(config):
        config["proxies"] = [
            {"name": "maths", "endpoint": backend.endpoint("rpc"), "timeout": "5s"}
        ]
        config["rpc"] = {
            "ping": {"enabled": True},
            "namespaces": [
                {"name": "math", "proxy_enabled": True, "proxy_name": "maths"},
                {"name": "off"},
            ],
        }

    async with world(tmp_path, backend, change=change) as w:
        client = await w.client()
        await client.connect()
        assert await client.call("rpc", method="math:add") == {"data": 1}
        assert await client.call("rpc", method="ping") == {}
        assert (await client.call("rpc", method="nope:add"))["code"] == 104
        assert (await client.call("rpc", method="off:add"))["code"] == 108
        assert (await client.call("rpc", method="plain"))["code"] == 108
        (asked,) = backend.questions("rpc")
        assert asked["method"] == "math:add"
        labels = {"type": "rpc", "name": "maths"}
        assert w.metric("centrifugo_proxy_duration_seconds_count", **labels) == 1


async def test_a_reload_cannot_name_another_backend(tmp_path, backend):
    async with world(tmp_path, backend, "subscribe") as w:
        client = await w.client()
        await client.connect()
        w.backends.clear()
        assert await client.call("subscribe", channel="p:x") == TEMPORARY

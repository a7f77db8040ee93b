"""The server API over GRPC, called with stubs made from the published schema."""

import asyncio
import json
import logging

import grpc
import pytest
from certificates import self_signed
from factproto import FACTS, compiled
from google.protobuf.descriptor_pool import DescriptorPool
from google.rpc.status_pb2 import Status
from grpc import aio
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from waiting import PATIENCE

from flyball.http.grpc_port import GrpcTls
from flyball.server.api.grpc import SERVICE, GrpcApi, GrpcApiOptions
from flyball.server.api.methods import METHODS
from flyball.server.api.schema import API

KEY = (("authorization", "apikey secret"),)
TRANSPORT = ("x-centrifugo-error-mode", "transport")


@pytest.fixture(scope="module")
def stubs(tmp_path_factory):
    return compiled(tmp_path_factory.mktemp("stubs"))


@pytest.fixture
async def serve(api):
    """Opens the API's port; gives a channel to it."""
    ports, channels = [], []

    async def start(credentials=None, **options):
        port = GrpcApi(api.service.over("grpc"), GrpcApiOptions("127.0.0.1", 0, **options))
        await port.start()
        ports.append(port)
        return dial(port, credentials)

    def dial(port, credentials=None, **options):
        if credentials is None:
            channel = aio.insecure_channel(f"127.0.0.1:{port.port}", **options)
        else:
            channel = aio.secure_channel(f"localhost:{port.port}", credentials, **options)
        channels.append(channel)
        return channel

    start.dial, start.ports = dial, ports
    yield start
    for channel in channels:
        await channel.close()
    for port in ports:
        await port.close(grace=0)


@pytest.fixture
async def stub(serve, stubs):
    return stubs[1].CentrifugoApiStub(await serve(key="secret"))


async def refusal(call):
    with pytest.raises(aio.AioRpcError) as error:
        await call
    return error.value


async def test_publish_and_history(stub, stubs, api):
    client = api.connect("hist:a")
    m = stubs[0]
    request = m.PublishRequest(channel="hist:a", data=b'{"n":1}', tags={"k": "v"})
    answer = await stub.Publish(request, metadata=KEY)
    assert not answer.HasField("error")
    assert answer.result.offset == 1
    assert b'{"n":1}' in client.frames[-1]
    history = await stub.History(m.HistoryRequest(channel="hist:a", limit=5), metadata=KEY)
    (publication,) = history.result.publications
    assert (publication.data, publication.tags) == (b'{"n":1}', {"k": "v"})
    assert history.result.epoch == answer.result.epoch


async def test_a_large_answer(stub, stubs):
    """Its length takes more than one byte."""
    m = stubs[0]
    for _ in range(5):
        request = m.PublishRequest(channel="hist:b", data=json.dumps("x" * 100_000).encode())
        await stub.Publish(request, metadata=KEY)
    history = await stub.History(m.HistoryRequest(channel="hist:b", limit=-1), metadata=KEY)
    assert [len(p.data) for p in history.result.publications] == [100_002] * 5


@pytest.mark.parametrize(
    ("method", "fields"),
    [
        ("info", {}),
        ("channels", {"pattern": "hist:*"}),
        ("presence", {"channel": "hist:a"}),
        ("presence_stats", {"channel": "hist:a"}),
        ("presence", {"channel": "json:x"}),
        ("history", {"channel": "nosuch:a"}),
        ("history", {"channel": "hist:a", "since": {"offset": 1, "epoch": "wrong"}}),
        ("subscribe", {"channel": "hist:a", "user": "nobody"}),
        ("unsubscribe", {"channel": "hist:a", "user": "nobody"}),
        ("disconnect", {"user": "nobody"}),
        ("refresh", {"user": "nobody", "expire_at": 1}),
        ("history_remove", {"channel": "hist:a"}),
        ("rpc", {"method": "x"}),
        ("broadcast", {"channels": ["plain:a", "nosuch:b"], "data": {}}),
        ("map_publish", {"channel": "hist:a", "key": "k", "data": {}}),
        ("shared_poll_publish", {"channel": "spnp:a", "key": "k", "data": {}, "version": 1}),
        ("users", {}),
        ("connections", {}),
        ("explain", {"operation": "subscribe", "channel": "hist:a", "user": "u"}),
        ("channel_state", {"channel": "hist:a"}),
    ],
)
async def test_both_doors_say_the_same(serve, stubs, api, method, fields):
    """The answer over HTTP and that over GRPC are the same message."""
    api.connect("hist:a")
    row = METHODS[method]
    body = json.dumps(fields)
    over_http = json.loads(await api.text(f"/api/{method}", body))
    channel = await serve(key="secret")
    call = channel.unary_unary(f"/{SERVICE}/{row.grpc_name}")
    request = API.protobuf.write(API.json_decoder(row.request).decode(body.encode()))
    answer = API.protobuf.pool.FindMessageTypeByName(
        f"centrifugal.centrifugo.api.{row.grpc_name}Response"
    )
    parsed = grpc_message(answer).FromString(await call(request, metadata=KEY))
    if "error" in over_http:
        assert {"code": parsed.error.code, "message": parsed.error.message} == over_http["error"]
        return
    result = API.protobuf.read(row.result, parsed.result.SerializeToString())
    over_grpc = json.loads(API.json_writer.encode(result))
    assert without_times(over_grpc) == without_times(over_http["result"])


def grpc_message(descriptor):
    from google.protobuf.message_factory import GetMessageClass

    return GetMessageClass(descriptor)


def without_times(value):
    if isinstance(value, dict):
        return {k: without_times(v) for k, v in value.items() if k not in ("metrics", "uptime")}
    return value


async def test_a_batch_is_not_wrapped(stub, stubs):
    m = stubs[0]
    commands = [
        m.Command(publish=m.PublishRequest(channel="plain:a", data=b"{}")),
        m.Command(publish=m.PublishRequest(channel="nosuch:a", data=b"{}")),
    ]
    answer = await stub.Batch(m.BatchRequest(commands=commands), metadata=KEY)
    first, second = answer.replies
    assert first.HasField("publish")
    assert (second.error.code, second.error.message) == (102, "unknown channel")


async def test_errors_inside_the_answer_and_as_a_status(serve, stub, stubs):
    m = stubs[0]
    request = m.PublishRequest(channel="nosuch:a", data=b"{}")
    answer = await stub.Publish(request, metadata=KEY)
    assert (answer.error.code, answer.error.message) == (102, "unknown channel")
    by_metadata = await refusal(stub.Publish(request, metadata=(*KEY, TRANSPORT)))
    strict = stubs[1].CentrifugoApiStub(await serve(key="secret", transport_errors=True))
    by_option = await refusal(strict.Publish(request, metadata=KEY))
    for error in (by_metadata, by_option):
        assert error.code() is grpc.StatusCode.NOT_FOUND
        assert error.details() == "unknown channel"
        status = Status.FromString(dict(error.trailing_metadata())["grpc-status-details-bin"])
        detail = m.Error()
        assert status.details[0].Unpack(detail)
        assert (status.code, detail.code, detail.message) == (5, 102, "unknown channel")


@pytest.mark.parametrize(
    ("metadata", "why"),
    [
        ((), "no API key"),
        ((("authorization", "apikey wrong"),), "a wrong API key"),
        ((("authorization", "Apikey secret"),), "a wrong API key"),
        ((("authorization", "apikey wrong"), *KEY), "a wrong API key"),
    ],
)
async def test_without_the_key(stub, stubs, metadata, why, caplog):
    caplog.set_level(logging.INFO)
    for _ in range(3):
        call = stub.Publish(stubs[0].PublishRequest(channel="a", data=b"{}"), metadata=metadata)
        error = await refusal(call)
        assert error.code() is grpc.StatusCode.UNAUTHENTICATED
    (line,) = [r.getMessage() for r in caplog.records if "UNAUTHENTICATED" in r.getMessage()]
    assert why in line
    assert "127.0.0.1" in line
    assert "secret" not in line.replace("apikey KEY", "")


async def test_strangers_bodies_are_not_read(stub, stubs, api):
    """One that could not be read either is refused for its key."""
    call = stub.Publish(stubs[0].PublishRequest(data=b"x" * 5_000_000))
    assert (await refusal(call)).code() is grpc.StatusCode.UNAUTHENTICATED


async def test_no_key_is_open_and_loud(serve, stubs, capsys):
    open_ = stubs[1].CentrifugoApiStub(await serve())
    assert (await open_.Info(stubs[0].InfoRequest())).result.nodes
    assert "INSECURE server API over GRPC" in capsys.readouterr().out


async def test_a_message_over_the_limit(serve, stubs):
    stub = stubs[1].CentrifugoApiStub(await serve(key="secret", max_receive_message_size=1000))
    request = stubs[0].PublishRequest(channel="plain:a", data=b"[" + b"1," * 1000 + b"1]")
    error = await refusal(stub.Publish(request, metadata=KEY))
    assert error.code() is grpc.StatusCode.RESOURCE_EXHAUSTED


async def test_bytes_that_are_no_message(serve, api):
    channel = await serve(key="secret")
    call = channel.unary_unary(f"/{SERVICE}/Publish")
    error = await refusal(call(b"\xff\xff", metadata=KEY))
    assert error.code() is grpc.StatusCode.INTERNAL
    assert "PublishRequest" in error.details()
    assert api.service.metrics.errors["grpc", "publish", "unmarshal"] == 1


async def test_what_is_not_there(serve, stub, stubs):
    error = await refusal(stub.BlockUser(stubs[0].BlockUserRequest(user="u"), metadata=KEY))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED
    unknown = (await serve(key="secret")).unary_unary(f"/{SERVICE}/NoSuch")
    assert (await refusal(unknown(b"", metadata=KEY))).code() is grpc.StatusCode.UNIMPLEMENTED


def test_every_call_of_the_facts_is_in_the_table():
    known = {method.grpc_name: method for method in METHODS.values()}
    for call in FACTS["service"]["rpcs"]:
        assert known[call["name"]].available or not call["oss"], call["name"]


async def test_gzip(serve, stubs):
    channel = await serve(key="secret")
    compressed = serve.dial(serve.ports[0], compression=grpc.Compression.Gzip)
    for each in (channel, compressed):
        stub = stubs[1].CentrifugoApiStub(each)
        request = stubs[0].PublishRequest(channel="hist:z", data=json.dumps("a" * 9000).encode())
        assert (await stub.Publish(request, metadata=KEY)).result.offset


async def test_it_is_counted_apart(stub, stubs, api):
    await stub.Info(stubs[0].InfoRequest(), metadata=KEY)
    assert api.service.metrics.durations["grpc", "info"].count == 1
    assert ("http", "info") not in api.service.metrics.durations


async def test_new_rules_after_a_reload(serve, stubs, api):
    from flyball.server.channels.options import ChannelOptions
    from flyball.server.channels.rules import ChannelRules, ChannelRulesOptions

    stub = stubs[1].CentrifugoApiStub(await serve(key="secret"))
    request = stubs[0].PublishRequest(channel="fresh:a", data=b"{}")
    assert (await stub.Publish(request, metadata=KEY)).error.code == 102
    rules = ChannelRules(ChannelRulesOptions(namespaces={"fresh": ChannelOptions()}))
    api.service.reload(rules, api.service.policy)
    assert not (await stub.Publish(request, metadata=KEY)).HasField("error")


# -- the port


async def test_tls(serve, stubs):
    certificate, key = self_signed()
    channel = await serve(
        grpc.ssl_channel_credentials(certificate), key="secret", tls=GrpcTls(key, certificate)
    )
    answer = await stubs[1].CentrifugoApiStub(channel).Info(stubs[0].InfoRequest(), metadata=KEY)
    assert answer.result.nodes


async def test_callers_must_show_a_certificate(serve, stubs):
    certificate, key = self_signed()
    without = await serve(
        grpc.ssl_channel_credentials(certificate),
        key="secret",
        tls=GrpcTls(key, certificate, certificate),
    )
    call = stubs[1].CentrifugoApiStub(without).Info(stubs[0].InfoRequest(), metadata=KEY)
    assert (await refusal(call)).code() is grpc.StatusCode.UNAVAILABLE
    shown = grpc.ssl_channel_credentials(certificate, key, certificate)
    stub = stubs[1].CentrifugoApiStub(serve.dial(serve.ports[0], shown))
    assert (await stub.Info(stubs[0].InfoRequest(), metadata=KEY)).result.nodes


async def test_the_end(serve, stubs, api):
    stub = stubs[1].CentrifugoApiStub(await serve(key="secret"))
    serve.ports[0].stop_accepting()
    error = await refusal(stub.Info(stubs[0].InfoRequest(), metadata=KEY))
    assert error.code() is grpc.StatusCode.UNAVAILABLE
    assert "shutting down" in error.details()


async def test_a_port_in_use(serve, api):
    await serve(key="secret")
    taken = GrpcApiOptions("127.0.0.1", serve.ports[0].port, key="secret")
    second = GrpcApi(api.service.over("grpc"), taken)
    with pytest.raises(OSError, match="in use"):
        await second.start()


# -- reflection


async def reflected(channel, **request):
    stub = reflection_pb2_grpc.ServerReflectionStub(channel)
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]))
    return await asyncio.wait_for(call.read(), PATIENCE)


async def test_reflection(serve):
    """As grpcurl does: the list of services, then the descriptors; without a key."""
    channel = await serve(key="secret", reflection=True)
    answer = await reflected(channel, list_services="")
    assert SERVICE in [s.name for s in answer.list_services_response.service]
    answer = await reflected(channel, file_containing_symbol=SERVICE)
    pool = DescriptorPool()
    for file in answer.file_descriptor_response.file_descriptor_proto:
        pool.AddSerializedFile(file)
    service = pool.FindServiceByName(SERVICE)
    calls = {m.name: (m.input_type.name, m.output_type.name) for m in service.methods}
    for call in FACTS["service"]["rpcs"]:
        if call["oss"]:
            assert calls[call["name"]] == (call["request"], call["response"])


async def test_no_reflection_unless_asked_for(serve):
    channel = await serve(key="secret")
    error = await refusal(reflected(channel, list_services=""))
    assert error.code() is grpc.StatusCode.UNIMPLEMENTED

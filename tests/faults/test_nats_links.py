"""What the link of one NATS engine does when its server, or the way to it, is in trouble."""

import asyncio
import contextlib
import ssl
import tempfile
import time

import pytest
from contract_engines import Recorder
from fault_world import Toxic
from natsjwt import Realm
from natsserver import NatsCluster, NatsServer
from redisservers import certificate
from waiting import until

from flyball.core.errors import ConfigError, EngineError, EngineRefusal
from flyball.core.types import ClientInfo, HistoryFilter, PublishOptions, payload
from flyball.engines.nats import (
    NatsEngine,
    NatsOptions,
    RawMode,
    Server,
    ServerOptions,
    parse_servers,
)
from flyball.engines.nats.link import NatsLink

NOW = PublishOptions()


@pytest.fixture
def nats():
    server = NatsServer()
    yield server
    server.stop()


@pytest.fixture
async def toxic(nats):
    found = await Toxic(nats.port).start()
    yield found
    await found.stop()


@pytest.fixture
async def events():
    return Recorder()


def engine_at(port, options=None, **changes):
    servers = ServerOptions(
        servers=(Server("127.0.0.1", port),),
        **{"write_timeout": 0.5, "dial_timeout": 0.5, **changes},
    )
    return NatsEngine(servers, options=options)


@pytest.fixture
async def broker(toxic, events):
    broker = engine_at(toxic.port).broker
    await broker.start(events)
    await broker.subscribe("ch")
    yield broker
    await broker.close()


async def publish(broker, *values, channel="ch"):
    for value in values:
        await broker.publish(channel, payload(str(value).encode()), NOW)


class Stranger:
    """Another program on the same server."""

    def __init__(self, port):
        self.link = NatsLink(ServerOptions(servers=(Server("127.0.0.1", port),)))
        self.got = []

    async def __aenter__(self):
        await self.link.acquire()
        return self

    async def __aexit__(self, *_):
        await self.link.release()

    async def listen(self, subject):
        await self.link.subscribe(subject, lambda _, *message: self.got.append(message))

    async def send(self, subject, data):
        await self.link.publish(subject, data)


async def test_a_lost_link_comes_back_with_all_subscriptions(toxic, events, broker):
    for number in range(300):
        await broker.subscribe(f"more:{number}")
    toxic.refuse = True
    toxic.cut()
    await until(lambda: broker.problem)
    assert events.lost
    with pytest.raises(EngineError, match="nats 127"):
        await publish(broker, 1)
    with pytest.raises(EngineError):
        await broker.subscribe("other")
    await broker.unsubscribe("more:1")  # it is not asked for again
    toxic.refuse = False
    await until(lambda: events.restored == 1)
    assert broker.problem == ""
    for number in range(300):
        await publish(broker, number, channel=f"more:{number}")
    await publish(broker, "last")
    await until(events.data)
    assert len(events.publications) == 300
    assert not events.data("more:1")
    assert len(broker._delivery.link._subscriptions) == 300


async def test_a_server_that_stands_still_gives_errors_in_time(nats, events):
    broker = engine_at(nats.port).broker
    await broker.start(events)
    nats.pause()
    try:
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"no answer within 0\.5 s"):
            await publish(broker, 1)
        assert time.monotonic() - started < 0.7
        with pytest.raises(EngineError):
            await broker.subscribe("ch")
        assert "no answer" in broker.problem
    finally:
        nats.resume()
    await until(lambda: not broker.problem)
    await broker.subscribe("ch")
    await publish(broker, 1)
    await until(events.data)
    await broker.close()


async def test_an_idle_link_finds_out_as_well(nats, events):
    broker = engine_at(nats.port).broker
    await broker.start(events)
    nats.pause()
    await until(lambda: events.lost)
    nats.resume()
    await until(lambda: events.restored)
    await broker.close()


async def test_a_server_that_is_not_there_refuses_the_start(toxic):
    await toxic.stop()
    engine = engine_at(toxic.port)
    with pytest.raises(ConfigError, match=r"cannot use NATS at 127\.0\.0\.1.*Connect call failed"):
        await engine.broker.start(Recorder())
    await engine.broker.close()
    with pytest.raises(ConfigError, match="cannot use NATS"):
        await engine.controller.start(Recorder(), "n")


@contextlib.asynccontextmanager
async def impostor(says):
    """A server that says something else to each connection, and waits for its end; its port."""

    answers = []

    async def answer(reader, writer):
        answers.append(asyncio.current_task())
        writer.write(says)
        with contextlib.suppress(ConnectionError):
            await reader.read()
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        yield server.sockets[0].getsockname()[1]
        await asyncio.gather(*answers)


@pytest.mark.parametrize(
    ("says", "complaint"),
    [
        (b"220 mail.example\r\n", "does not speak the NATS protocol"),
        (b"", r"no connection within 0\.2 s"),
        (b"INFO {}\r\n", r"no connection within 0\.2 s"),
    ],
)
async def test_what_is_no_nats_refuses_the_start(says, complaint):
    async with impostor(says) as port:
        with pytest.raises(ConfigError, match=complaint):
            await engine_at(port, dial_timeout=0.2).broker.start(Recorder())


async def test_a_cluster_goes_on_without_the_server(events):
    cluster = await asyncio.to_thread(NatsCluster)
    try:
        first = cluster.nodes[0]
        engine = engine_at(first.port)
        await engine.broker.start(events)
        await engine.broker.subscribe("ch")
        # The others are known from the one that was named.
        await until(lambda: len(engine.link._known) >= 3)
        first.kill()
        await until(lambda: events.restored)
        await publish(engine.broker, 1)
        await until(events.data)
        await engine.broker.close()
    finally:
        cluster.stop()


async def test_fifty_nodes_come_back_at_once(nats, toxic):
    ends = []
    for _ in range(50):
        engine, events = engine_at(toxic.port, write_timeout=5.0), Recorder()
        await engine.broker.start(events)
        await engine.broker.subscribe("ch")
        ends.append((engine.broker, events))
    toxic.cut()
    await until(lambda: all(events.restored for _, events in ends))
    await publish(ends[0][0], 1)
    await until(lambda: all(events.data() for _, events in ends))
    for broker, _ in ends:
        await broker.close()


async def test_commands_of_one_turn_leave_in_one_write(nats, events):
    engine = engine_at(nats.port)
    await engine.broker.start(events)
    connection = engine.link._connection
    transport, writes = connection._transport, []

    class Counting:
        def __getattr__(self, name):
            return getattr(transport, name)

        def write(self, data):
            writes.append(data)
            transport.write(data)

    connection._transport = Counting()
    await asyncio.gather(*(publish(engine.broker, n) for n in range(100)))
    assert len(writes) == 1
    assert writes[0].count(b"PING") == 1
    await engine.broker.close()


async def test_more_than_is_kept_is_refused(nats, events):
    engine = engine_at(nats.port, write_timeout=30.0)
    await engine.broker.start(events)
    nats.pause()
    big = payload(b"x" * 1_000_000)
    waiting = []
    try:
        while not any(task.done() for task in waiting):
            waiting.append(asyncio.ensure_future(engine.broker.publish("ch", big, NOW)))
            await asyncio.sleep(0)
        with pytest.raises(EngineError, match="wait to be sent"):
            await waiting.pop()
    finally:
        nats.resume()
    assert len(await asyncio.gather(*waiting)) > 20
    await engine.broker.close()


async def test_a_message_over_the_servers_limit_is_a_clear_error(events):
    server = NatsServer("max_payload: 1000")
    broker = engine_at(server.port).broker
    await broker.start(events)
    await broker.subscribe("ch")
    with pytest.raises(EngineRefusal, match=r"the server takes 1000 \(max_payload\)"):
        await publish(broker, "x" * 1000)
    await publish(broker, "x" * 900)
    await until(events.data)
    assert events.lost == []
    await broker.close()
    server.stop()


async def test_what_others_send_is_no_trouble(nats, events, caplog):
    broker = engine_at(nats.port).broker
    await broker.start(events)
    await broker.subscribe("ch")
    async with Stranger(nats.port) as stranger:
        for data in (b"", b"\xff\xff", b"hello", b"\x12\x05other\x22\x02\x22\x00", b"\x12\x02ch"):
            await stranger.send(b"centrifugo.client.ch", data)
        await stranger.send(b"centrifugo.client.ch", b"\x12\x02ch\x22\x03\x22\x011")
    await until(lambda: events.data() == [b"1"])
    assert caplog.text.count("WARNING") == 1
    assert not [r for r in caplog.records if r.exc_info]
    await broker.close()


async def test_bytes_are_the_originals(nats, events):
    """Push of the client protocol in Protobuf: channel 2, pub 4, join 5, leave 6."""
    broker = engine_at(nats.port).broker
    await broker.start(events)
    async with Stranger(nats.port) as stranger:
        await stranger.listen(b"centrifugo.client.a.b")
        await broker.publish("a.b", payload(b"[1]"), PublishOptions(tags={"k": "v"}))
        info = ClientInfo("ann", "c")
        await broker.publish_join_leave("a.b", info, joined=True)
        await broker.publish_join_leave("a.b", info, joined=False)
        await until(lambda: len(stranger.got) == 3)
    bodies = [message[2] for message in stranger.got]
    assert bodies[0].startswith(b"\x12\x03a.b\x22")
    assert b"\x22\x03[1]" in bodies[0]
    event = b"\x0a\x08\x0a\x03ann\x12\x01c"
    assert bodies[1:] == [b"\x12\x03a.b\x2a\x0a" + event, b"\x12\x03a.b\x32\x0a" + event]
    await broker.close()


async def test_names_that_are_no_subjects_work(nats, events):
    broker = engine_at(nats.port).broker
    await broker.start(events)
    names = ["a b", "a..b", ".", "ü\u2028", "x" * 5000, "\r\nPING\r\n", "~=YQ=="]
    for name in names:
        await broker.subscribe(name)
        await publish(broker, len(name), channel=name)
    await until(lambda: len(events.publications) == len(names))
    assert [channel for channel, *_ in events.publications] == names
    await broker.close()


async def test_wildcards(nats, events):
    broker = engine_at(nats.port, NatsOptions(allow_wildcards=True)).broker
    await broker.start(events)
    await broker.subscribe("news.*")
    await broker.subscribe("news.a")
    await publish(broker, 1, channel="news.a")
    await publish(broker, 2, channel="news.a.b")
    await publish(broker, 3, channel="news.b")
    with pytest.raises(EngineRefusal, match="pattern"):
        await publish(broker, 4, channel="news.*")
    await broker.publish_join_leave("news.*", ClientInfo("u", "c"), joined=True)
    await until(lambda: b"3" in events.data("news.*"))
    assert events.data("news.*") == [b"1", b"3"]
    assert events.data("news.a") == [b"1"]
    found = [(c, p.channel) for c, p, *_ in events.publications]
    assert sorted(found) == [("news.*", "news.a"), ("news.*", "news.b"), ("news.a", "")]
    await broker.close()


async def test_raw_mode(nats, events):
    raw = RawMode(prefix="app.", channel_replacements=((":", "."),))
    broker = engine_at(nats.port, NatsOptions(raw_mode=raw, allow_wildcards=True)).broker
    await broker.start(events)
    await broker.subscribe("news:a")
    await broker.subscribe("news:*")
    async with Stranger(nats.port) as stranger:
        await stranger.listen(b"app.>")
        await stranger.send(b"app.news.a", b"{}")
        await until(lambda: events.data("news:a") == [b"{}"])
        await broker.publish_join_leave("news:a", ClientInfo("u", "c"), joined=True)
        await publish(broker, 5, channel="news:b")
        await until(lambda: events.data("news:*") == [b"{}", b"5"])
        await until(lambda: len(stranger.got) == 2)  # on a connection of its own
        assert [m[::2] for m in stranger.got] == [(b"app.news.a", b"{}"), (b"app.news.b", b"5")]
    assert [p.channel for c, p, *_ in events.publications if c == "news:*"] == ["news.a", "news.b"]
    assert events.joins == []
    await broker.close()


async def test_there_is_no_history(nats, events):
    broker = engine_at(nats.port).broker
    await broker.start(events)
    for work in (broker.history("ch", HistoryFilter()), broker.remove_history("ch")):
        with pytest.raises(EngineRefusal, match="108 not available"):
            await work
    await broker.close()


LOGINS = """authorization {
  users = [{
    user: ann, password: secret
    permissions { publish: ["centrifugo.>"], subscribe: ["centrifugo.>", "_INBOX.>"] }
  }]
}"""


class TestLogin:
    async def test_user_and_password(self, events):
        server = NatsServer(LOGINS)
        try:
            engine = engine_at(server.port, user="ann", password="secret")
            await engine.broker.start(events)
            await engine.broker.subscribe("ch")
            await publish(engine.broker, 1)
            await until(events.data)
            # What it may not do is an error, and no end of the link.
            other = engine_at(
                server.port, NatsOptions(prefix="other"), user="ann", password="secret"
            )
            await other.broker.start(Recorder())
            with pytest.raises(EngineError, match="Permissions Violation for Subscription"):
                await other.broker.subscribe("ch")
            with pytest.raises(EngineError, match="Permissions Violation for Publish"):
                await publish(other.broker, 1)
            assert other.broker.problem == ""
            assert other.link._subscriptions == {}
            await other.broker.close()
            await engine.broker.close()
            for login in ({"user": "ann", "password": "hunter2"}, {}):
                with pytest.raises(ConfigError, match="Authorization Violation") as refused:
                    await engine_at(server.port, **login).broker.start(events)
                assert "hunter2" not in str(refused.value)
        finally:
            server.stop()

    async def test_token(self, events):
        server = NatsServer("authorization { token: secret }")
        try:
            url = f"nats://secret@127.0.0.1:{server.port}"
            broker = NatsEngine(url).broker
            await broker.start(events)
            await broker.close()
            with pytest.raises(ConfigError, match="Authorization Violation"):
                await engine_at(server.port, token="wrong").broker.start(events)
        finally:
            server.stop()

    async def test_a_password_that_changes(self, events):
        server = NatsServer(LOGINS)
        try:
            broker = engine_at(server.port, user="ann", password="secret").broker
            await broker.start(events)
            server.config = LOGINS.replace("secret", "other")
            server.kill()
            await asyncio.to_thread(server.start)
            await until(lambda: "Authorization Violation" in broker.problem)
            assert "secret" not in broker.problem
            server.config = LOGINS
            server.kill()
            await asyncio.to_thread(server.start)
            await until(lambda: events.restored)
            await broker.close()
        finally:
            server.stop()

    async def test_credentials_file(self, events, tmp_path):
        realm, path = Realm(), tmp_path / "user.creds"
        realm.write(path)
        server = NatsServer(realm.config)
        try:
            broker = engine_at(server.port, credentials_file=str(path)).broker
            await broker.start(events)
            await broker.subscribe("ch")
            await publish(broker, 1)
            await until(events.data)
            await broker.close()
            Realm().write(path)
            with pytest.raises(ConfigError, match="Authorization Violation"):
                await engine_at(server.port, credentials_file=str(path)).broker.start(events)
            path.write_text("x")
            with pytest.raises(ConfigError, match="two blocks"):
                await engine_at(server.port, credentials_file=str(path)).broker.start(events)
        finally:
            server.stop()


@pytest.fixture
def secured():
    with tempfile.TemporaryDirectory(prefix="flyball-tls-") as folder:
        names = certificate(folder)
        server = NatsServer(
            f'tls {{ cert_file: "{names["server"]}", key_file: "{names["server_key"]}",'
            f' ca_file: "{names["ca"]}", verify: true }}'
        )
        yield server, names
        server.stop()


def tls(names, *, client=True):
    context = ssl.create_default_context(cafile=names["ca"])
    if client:
        context.load_cert_chain(names["client"], names["client_key"])
    return context


async def test_tls_with_client_certificates(secured, events):
    server, names = secured
    broker = engine_at(server.port, tls=tls(names), dial_timeout=5.0).broker
    await broker.start(events)
    await broker.subscribe("ch")
    await publish(broker, 1, "x" * 300_000)
    await until(lambda: len(events.data()) == 2)
    await broker.close()
    strange = ssl.create_default_context()
    for context, complaint in (
        (strange, "certificate verify failed"),
        (tls(names, client=False), "cannot use NATS"),
        (None, "the server demands TLS"),
    ):
        with pytest.raises(ConfigError, match=complaint):
            await engine_at(server.port, tls=context, dial_timeout=5.0).broker.start(events)


async def test_tls_is_not_given_up(nats, events):
    for changes in ({"tls": ssl.create_default_context()}, {}):
        servers = ServerOptions(
            servers=parse_servers(f"{'nats' if changes else 'tls'}://127.0.0.1:{nats.port}"),
            **changes,
        )
        with pytest.raises(ConfigError, match="TLS is wanted, and the server has none"):
            await NatsEngine(servers).broker.start(events)

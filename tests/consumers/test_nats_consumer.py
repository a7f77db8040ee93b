"""NATS JetStream: what belongs to it alone, and to no other source."""

import asyncio
import contextlib
import json
import ssl
from pathlib import Path

import pytest
from consumer_sources import NatsSource
from consumer_world import publish, told, world
from nats.js.errors import ServerError
from natsjwt import Realm
from natsserver import NatsCluster, NatsServer
from redisservers import certificate
from structlog.testing import capture_logs
from toxic import Toxic
from waiting import PATIENCE, until, wait_for

from flyball.core.errors import FlyballError
from flyball.engines.nats import ServerOptions, parse_servers
from flyball.engines.nats.jetstream.api import JetStream
from flyball.engines.nats.link import NatsLink
from flyball.server.config import ConfigProblems
from flyball.server.consumers import in_hand
from flyball.server.consumers.nats import consumer as consumer_module
from flyball.server.consumers.nats import durable as durable_module

STREAM, DURABLE = NatsSource.stream, NatsSource.durable
BIG = 900_000
SECOND = 1_000_000_000


@pytest.fixture(scope="module")
def running():
    source = NatsSource("wheel")
    yield source
    source.stop()


@pytest.fixture(scope="module")
def old():
    """The server that Debian has."""
    source = NatsSource("path")
    yield source
    source.stop()


@pytest.fixture
def nats(running):
    running.clear()
    return running


@pytest.fixture
def soon(monkeypatch):
    """What nobody speaks of is given out again soon, and we look often how far all have come."""
    monkeypatch.setattr(durable_module, "ACK_WAIT", 2)
    monkeypatch.setattr(durable_module, "LONGEST_WAIT", 0.3)
    monkeypatch.setattr(consumer_module, "LOOK_INTERVAL", 0.0)


def reasons(lines):
    """What the log was told of failures."""
    return " | ".join(str(line.get("reason")) for line in lines)


def info(nats):
    return nats.js(lambda js: js.consumer_info(STREAM, DURABLE))


def is_there(nats):
    """Whether somebody has made the consumer."""
    with contextlib.suppress(Exception):
        return info(nats) is not None
    return False


def all_done(nats):
    wait_for(lambda: nats.left() == 0, "end")


def mode(nats, **options):
    return nats.entry(publication_data_mode={"enabled": True}, **options)


def command(n):
    """A message whose body names its method."""
    request = {"channel": "ch", "data": {"n": n}}
    return json.dumps({"method": "publish", "payload": request}).encode()


# -- what a message says


async def test_the_body_names_the_method_if_no_header_does(nats, tmp_path):
    async with world(tmp_path, nats.entry()) as w:
        await asyncio.to_thread(nats.add, command(1))
        assert await w.seen("ch", 1) == [1]


async def test_the_header_of_the_method_may_have_another_name(nats, tmp_path):
    async with world(tmp_path, nats.entry(method_header="do")) as w:
        body = json.dumps({"channel": "ch", "data": {"n": 1}}).encode()
        await asyncio.to_thread(nats.add, body, {"do": "publish"})
        assert await w.seen("ch", 1) == [1]


async def test_headers_of_a_publication(nats, tmp_path):
    headers = {
        "centrifugo-channels": "a,b",
        "centrifugo-idempotency-key": "k",
        "centrifugo-delta": "true",
        "centrifugo-version": "7",
        "centrifugo-version-epoch": "e",
        "centrifugo-tag-Kind": "news",
        "Other": "x",
    }
    async with world(tmp_path, mode(nats)) as w:
        await asyncio.to_thread(nats.add, b'{"n":1}', headers)
        await until(lambda: w.broker.channels() == ["a", "b"])
        for _, data, options in w.broker.published:
            assert data == b'{"n":1}'
            assert options.tags == {"Kind": "news"}
            assert (options.idempotency_key, options.version) == ("k", 7)


@pytest.mark.parametrize(
    ("data", "headers"),
    [
        (b"{}", None),
        (b"{}", {"centrifugo-channels": ","}),
        (b"{}", {"centrifugo-channels": "a", "centrifugo-version": "x"}),
        (b"{}", {"centrifugo-channels": "a", "centrifugo-delta": "maybe"}),
        (b"", {"centrifugo-channels": "a"}),
    ],
)
async def test_messages_that_are_no_publication_are_dropped(nats, tmp_path, data, headers):
    with capture_logs() as lines:
        async with world(tmp_path, mode(nats)) as w:
            await asyncio.to_thread(nats.add, data, headers)
            await asyncio.to_thread(nats.add, b'{"n":1}', {"centrifugo-channels": "ch"})
            assert await w.seen("ch", 1) == [1]
            await until(lambda: w.processed == 2)
            assert w.errors == 1
    (line,) = [line for line in lines if line["event"] == "message dropped"]
    assert line["place"] == f"stream {STREAM}, sequence 1, subject commands.a"


async def test_large_messages_are_asked_for_a_few_at_a_time(nats, tmp_path):
    async def put(js):
        for n in range(30):
            data = {"n": n, "more": "x" * BIG}
            request = {"method": "publish", "payload": {"channel": "ch", "data": data}}
            await js.publish("commands.a", json.dumps(request).encode())

    await asyncio.to_thread(nats.js, put)
    async with world(tmp_path, nats.entry()) as w:
        assert await w.seen("ch", 30) == list(range(30))
        await asyncio.to_thread(all_done, nats)


# -- the durable consumer


async def test_it_is_made_as_the_options_say(nats, tmp_path):
    options = {"subjects": ["commands.a"], "max_ack_pending": 7}
    async with world(tmp_path, nats.entry(**options)) as w:
        await asyncio.to_thread(nats.add, command(0), subject="commands.b")
        await asyncio.to_thread(nats.add, command(1))
        assert await w.seen("ch", 1) == [1]
        config = (await asyncio.to_thread(info, nats)).config
        assert (config.ack_policy, config.ack_wait, config.max_ack_pending) == ("explicit", 30, 7)
        assert (config.filter_subject, config.deliver_policy) == ("commands.a", "all")


async def test_it_is_changed_when_the_options_are(nats, tmp_path):
    async with world(tmp_path, nats.entry()):
        await asyncio.to_thread(wait_for, lambda: is_there(nats), "consumer")
    changed = {"subjects": ["commands.a", "commands.b"], "max_ack_pending": 3}
    for subjects, limit in ((changed["subjects"], 3), (["commands.b"], -1), ([], 0)):
        options = {"subjects": subjects, "max_ack_pending": limit, "deliver_policy": "new"}
        async with world(tmp_path, nats.entry(**options)) as w:
            await asyncio.to_thread(nats.add, command(limit), subject="commands.b")
            await w.seen("ch", 1)
            config = (await asyncio.to_thread(info, nats)).config
            several = config.filter_subjects or []
            assert set(several or filter(None, [config.filter_subject])) == set(subjects)
            assert config.max_ack_pending == (limit or 100), "0 is the default"
            assert config.deliver_policy == "all", "it began already"


async def test_a_new_one_begins_with_what_comes(nats, tmp_path):
    await asyncio.to_thread(nats.add, command(0))
    async with world(tmp_path, nats.entry(deliver_policy="new")) as w:
        await asyncio.to_thread(wait_for, lambda: is_there(nats), "consumer")
        await asyncio.to_thread(nats.add, command(1))
        assert await w.seen("ch", 1) == [1]


async def test_one_message_at_a_time(nats, tmp_path):
    entry = nats.entry(max_ack_pending=1)
    async with world(tmp_path, entry) as a, world(tmp_path, entry) as b:
        await asyncio.to_thread(nats.put, *(publish(n) for n in range(100)))
        await until(lambda: a.processed + b.processed == 100)
        done = sorted(a.broker.numbers("ch") + b.broker.numbers("ch"))
        assert done == list(range(100))


async def test_nodes_share_a_consumer(nats, tmp_path):
    async with world(tmp_path, nats.entry()) as a, world(tmp_path, nats.entry()) as b:
        await asyncio.to_thread(nats.put, *(publish(n) for n in range(300)))
        await until(lambda: a.processed + b.processed == 300)
        done = sorted(a.broker.numbers("ch") + b.broker.numbers("ch"))
        assert done == list(range(300))


@pytest.mark.parametrize("policy", ["new", "all"])
async def test_one_that_is_removed_loses_nothing(nats, tmp_path, policy):
    async with world(tmp_path, nats.entry(deliver_policy=policy)) as w:
        await asyncio.to_thread(wait_for, lambda: is_there(nats), "consumer")
        for n in range(0, 15, 3):
            await asyncio.to_thread(nats.put, publish(n))
            await w.seen("ch", n + 1)
            await asyncio.to_thread(nats.js, lambda js: js.delete_consumer(STREAM, DURABLE))
            await asyncio.to_thread(nats.put, publish(n + 1), publish(n + 2))
            assert await w.seen("ch", n + 3) == list(range(n + 3))


async def test_one_that_is_removed_while_messages_fail_loses_none(nats, tmp_path):
    async with world(tmp_path, nats.entry(deliver_policy="new")) as w:
        await asyncio.to_thread(wait_for, lambda: is_there(nats), "consumer")
        w.broker.down = True
        await asyncio.to_thread(nats.put, *(publish(n) for n in range(50)))
        await until(lambda: w.broker.failures >= 2)
        await asyncio.to_thread(nats.js, lambda js: js.delete_consumer(STREAM, DURABLE))
        await asyncio.to_thread(nats.put, publish(50))
        w.broker.down = False
        assert await w.seen("ch", 51) == list(range(51))
        await asyncio.to_thread(all_done, nats)


async def test_a_stream_that_is_removed_and_made_anew(nats, tmp_path):
    async with world(tmp_path, nats.entry(deliver_policy="new")) as w:
        await asyncio.to_thread(wait_for, lambda: is_there(nats), "consumer")
        await asyncio.to_thread(nats.put, publish(0), publish(1))
        await w.seen("ch", 2)
        await asyncio.to_thread(nats.js, lambda js: js.delete_stream(STREAM))
        await until(lambda: w.errors >= 2)
        await asyncio.to_thread(nats.clear)
        await asyncio.to_thread(nats.put, publish(2))
        assert await w.seen("ch", 3) == [0, 1, 2]


async def test_a_stream_that_is_missing_is_told(nats, tmp_path):
    await asyncio.to_thread(nats.js, lambda js: js.delete_stream(STREAM))
    with capture_logs() as lines:
        async with world(tmp_path, nats.entry()) as w:
            await until(lambda: w.errors >= 3)
            await asyncio.to_thread(nats.clear)
            await asyncio.to_thread(nats.put, publish(0))
            assert await w.seen("ch", 1) == [0]
    assert "there is no stream 'commands'; make it" in reasons(lines)


# -- a consumer of others


def made(nats, **config):
    """Makes the consumer as somebody else would."""
    wanted = {"durable_name": DURABLE, "ack_policy": "explicit", **config}
    request = json.dumps({"stream_name": STREAM, "config": wanted}).encode()
    subject = f"$JS.API.CONSUMER.DURABLE.CREATE.{STREAM}.{DURABLE}"
    answer = nats.js(lambda js: js._nc.request(subject, request))
    assert "error" not in json.loads(answer.data), answer.data


async def test_one_that_exists_is_used_as_it_is(nats, tmp_path):
    await asyncio.to_thread(
        made, nats, ack_wait=7 * SECOND, max_ack_pending=9, max_batch=4, max_expires=SECOND
    )
    before = (await asyncio.to_thread(info, nats)).config
    entry = nats.entry(use_existing_consumer=True, max_ack_pending=50, subjects=["x"])
    with capture_logs() as lines:
        async with world(tmp_path, entry) as w:
            await asyncio.to_thread(nats.put, *(publish(n) for n in range(50)))
            assert await w.seen("ch", 50) == list(range(50))
            await asyncio.to_thread(all_done, nats)
            assert w.errors == 0
    assert (await asyncio.to_thread(info, nats)).config == before
    assert any("these subjects have no effect" in line["event"] for line in lines)


async def test_one_that_should_exist_is_waited_for(nats, tmp_path):
    with capture_logs() as lines:
        async with world(tmp_path, nats.entry(use_existing_consumer=True)) as w:
            await until(lambda: w.errors >= 3)
            await asyncio.to_thread(nats.put, publish(0))
            await asyncio.to_thread(made, nats)
            assert await w.seen("ch", 1) == [0]
    assert "has no consumer 'flyball'; make it, or" in reasons(lines)


@pytest.mark.parametrize(
    ("config", "told"),
    [
        ({"deliver_subject": "there"}, "pushes messages; a pull consumer is needed"),
        ({"ack_policy": "none"}, "wants no acknowledgement"),
    ],
)
async def test_one_that_cannot_be_used_is_told(nats, tmp_path, config, told):
    await asyncio.to_thread(made, nats, **config)
    with capture_logs() as lines:
        async with world(tmp_path, nats.entry(use_existing_consumer=True)) as w:
            await until(lambda: w.errors >= 2)
    assert told in reasons(lines)


async def test_one_of_another_kind_is_not_changed(nats, tmp_path):
    await asyncio.to_thread(made, nats, ack_policy="none")
    with capture_logs() as lines:
        async with world(tmp_path, nats.entry()) as w:
            await until(lambda: w.errors >= 2)
    assert "consumer 'flyball': JetStream: " in reasons(lines)


# -- several nodes, and links that are lost


async def test_what_is_in_hand_is_given_to_nobody_else(nats, tmp_path, soon):
    async with world(tmp_path, nats.entry()) as slow:
        slow.broker.down = True
        await asyncio.to_thread(nats.put, publish(0), publish(1))
        await until(lambda: slow.broker.failures >= 1)
        async with world(tmp_path, nats.entry()) as other:
            await until(lambda: slow.broker.failures >= 9)  # seconds, as the waits grow
            assert (await asyncio.to_thread(info, nats)).num_redelivered == 0
            slow.broker.down = False
            await until(lambda: slow.processed + other.processed == 2)
            assert slow.broker.numbers("ch")[0] == 0


async def test_a_node_that_said_nothing_for_too_long_gives_up_what_it_has(
    nats, tmp_path, soon, monkeypatch
):
    monkeypatch.setattr(in_hand, "RENEWALS", 0.001)
    async with world(tmp_path, nats.entry()) as w:
        w.broker.down = True
        await asyncio.to_thread(nats.put, *(publish(n) for n in range(5)))
        await until(lambda: w.errors > w.broker.failures)
        w.broker.down = False
        await w.seen("ch", 5)
        assert sorted(w.broker.numbers("ch")) == list(range(5))
        await asyncio.to_thread(all_done, nats)


async def test_what_a_dead_consumer_left_is_given_out_again(nats, tmp_path, soon):
    async def take(js):
        for n in range(20):
            await js.publish("commands.a", command(n))
        pull = await js.pull_subscribe_bind(DURABLE, STREAM)
        return len(await pull.fetch(10))

    await asyncio.to_thread(made, nats, ack_wait=SECOND)
    assert await asyncio.to_thread(nats.js, take) == 10
    async with world(tmp_path, nats.entry()) as w:
        await w.seen("ch", 20)
        assert sorted(w.broker.numbers("ch")) == list(range(20))
        await asyncio.to_thread(all_done, nats)


async def test_what_is_not_done_is_handed_back(nats, tmp_path):
    async with world(tmp_path, nats.entry()) as w:
        w.broker.down = True
        await asyncio.to_thread(nats.put, *(publish(n) for n in range(150)))
        await until(lambda: w.broker.failures >= 1)
    async with world(tmp_path, nats.entry()) as w:
        assert await w.seen("ch", 150) == list(range(150))


async def test_links_that_are_cut_again_and_again(nats, tmp_path, soon):
    toxic = await Toxic(nats.server.port).start()
    try:
        async with world(tmp_path, nats.entry(url=f"nats://127.0.0.1:{toxic.port}")) as w:
            for n in range(0, 200, 20):
                await asyncio.to_thread(nats.put, *(publish(i) for i in range(n, n + 20)))
                toxic.cut()
            await w.seen("ch", 200)
            assert sorted(w.broker.numbers("ch")) == list(range(200))
            await asyncio.to_thread(all_done, nats)
    finally:
        await toxic.stop()


async def test_a_link_that_is_lost_while_messages_are_in_hand(nats, tmp_path):
    toxic = await Toxic(nats.server.port).start()
    try:
        async with world(tmp_path, nats.entry(url=f"nats://127.0.0.1:{toxic.port}")) as w:
            await asyncio.to_thread(nats.put, publish(-1))
            await w.seen("ch", 1)
            w.broker.down = True
            await asyncio.to_thread(nats.put, *(publish(n) for n in range(50)))
            in_hand = lambda: info(nats).num_ack_pending  # noqa: E731
            await asyncio.to_thread(wait_for, lambda: in_hand() >= 20, "messages in hand")
            toxic.cut()
            w.broker.down = False
            await w.seen("ch", 51)
            assert w.broker.numbers("ch") == list(range(-1, 50)), "those in hand go on first"
            await asyncio.to_thread(all_done, nats)
    finally:
        await toxic.stop()


async def test_a_server_that_stands_still(nats, tmp_path):
    async with world(tmp_path, nats.entry()) as w:
        await asyncio.to_thread(nats.put, publish(0))
        await w.seen("ch", 1)
        await asyncio.to_thread(nats.server.pause)
        try:
            await until(lambda: w.errors >= 1)
        finally:
            nats.server.resume()
        await asyncio.to_thread(nats.put, publish(1))
        assert await w.seen("ch", 2) == [0, 1]


async def test_who_stops_does_not_wait_for_a_server_that_stands_still(nats, tmp_path):
    with capture_logs() as lines:
        async with world(tmp_path, nats.entry()) as w:
            w.broker.down = True
            await asyncio.to_thread(nats.put, publish(0), publish(1))
            await until(lambda: w.broker.failures >= 1)
            await asyncio.to_thread(nats.server.pause)
    nats.server.resume()
    assert any("were not handed back" in line["event"] for line in lines)


async def test_a_cluster_whose_servers_go_one_by_one(tmp_path):
    cluster = await asyncio.to_thread(NatsCluster)
    section = {"url": cluster.url, "stream_name": STREAM, "durable_consumer_name": DURABLE}
    entry = {"type": "nats_jetstream", "nats_jetstream": {**section, "deliver_policy": "all"}}
    stream = {"name": STREAM, "subjects": ["commands.>"], "num_replicas": 3}
    try:
        async with asked(ServerOptions(servers=parse_servers(cluster.url))) as api:
            await in_the_end(lambda: api.call(f"STREAM.CREATE.{STREAM}", stream))
            async with world(tmp_path, entry) as w:
                await put(api, range(20))
                await w.seen("ch", 20)
                for number, node in enumerate(cluster.nodes, 1):
                    await asyncio.to_thread(node.kill)
                    await put(api, range(20 * number, 20 * number + 20))
                    all_of_them = set(range(20 * number + 20))
                    await until(lambda all_=all_of_them: set(w.broker.numbers("ch")) == all_)
                    await asyncio.to_thread(node.start)
    finally:
        cluster.stop()


@contextlib.asynccontextmanager
async def asked(servers):
    """JetStream there."""
    link = NatsLink(servers)
    await link.acquire()
    try:
        yield JetStream(link, (), leader=False)
    finally:
        await link.release()


async def in_the_end(work):
    """What ``await work()`` gives when all servers are ready for it."""
    async with asyncio.timeout(PATIENCE):
        while True:
            try:
                return await work()
            except FlyballError:
                await asyncio.sleep(0.05)


async def put(api, numbers):
    """Stores messages, each at least once."""
    for n in numbers:
        await in_the_end(lambda n=n: api.publish(b"commands.a", command(n), {}))


# -- ways there


@pytest.mark.parametrize("way", ["user", "token", "url", "credentials", "tls"])
async def test_ways_to_a_server(tmp_path, way):
    files = certificate(tmp_path)
    realm, path = Realm(jetstream=True), tmp_path / "user.creds"
    realm.write(path)
    config = {
        "user": "authorization { user: u, password: secret }",
        "token": "authorization { token: secret }",
        "url": "authorization { user: u, password: secret }",
        "credentials": realm.config,
        "tls": f'tls {{ cert_file: "{files["server"]}", key_file: "{files["server_key"]}",'
        f' ca_file: "{files["ca"]}", verify: true }}',
    }[way]
    named = {"server_ca_pem": "ca", "cert_pem": "client", "key_pem": "client_key"}
    tls = {option: Path(files[name]).read_text() for option, name in named.items()}
    more = {
        "user": {"username": "u", "password": "secret", "token": "other"},
        "token": {"token": "secret"},
        "url": {},
        "credentials": {"credentials_file": str(path), "username": "u", "token": "t"},
        "tls": {"tls": {**tls, "enabled": True}},
    }[way]
    login = {
        "user": {"user": "u", "password": "secret"},
        "token": {"token": "secret"},
        "url": {},
        "credentials": {"credentials_file": str(path)},
        "tls": {"tls": client_context(files)},
    }[way]
    server = NatsServer(config, jetstream=True)
    url = server.url.replace("//", "//u:secret@") if way == "url" else server.url
    section = {"url": url, "stream_name": STREAM, "durable_consumer_name": DURABLE, **more}

    entry = {"type": "nats_jetstream", "nats_jetstream": {**section, "deliver_policy": "all"}}
    try:
        async with world(tmp_path, entry) as w:
            async with asked(ServerOptions(servers=parse_servers(url), **login)) as api:
                stream = {"name": STREAM, "subjects": ["commands.>"]}
                await api.call(f"STREAM.CREATE.{STREAM}", stream)
                await put(api, [1])
            assert await w.seen("ch", 1) == [1]
    finally:
        server.stop()


def client_context(files):
    context = ssl.create_default_context(cafile=files["ca"])
    context.load_cert_chain(files["client"], files["client_key"])
    return context


async def test_a_wrong_password_is_told_and_tried_again(tmp_path):
    server = NatsServer("authorization { user: u, password: right }", jetstream=True)
    section = {"url": server.url, "stream_name": STREAM, "durable_consumer_name": DURABLE}
    section |= {"username": "u", "password": "guess"}
    try:
        with capture_logs() as lines:
            async with world(tmp_path, {"type": "nats_jetstream", "nats_jetstream": section}) as w:
                await until(lambda: w.errors >= 3)
        assert "Authorization Violation" in reasons(lines)
        assert "guess" not in reasons(lines)
    finally:
        server.stop()


async def test_a_server_without_jetstream_is_told(tmp_path):
    server = NatsServer()
    section = {"url": server.url, "stream_name": STREAM, "durable_consumer_name": DURABLE}
    try:
        with capture_logs() as lines:
            async with world(tmp_path, {"type": "nats_jetstream", "nats_jetstream": section}) as w:
                await until(lambda: w.errors >= 2)
        assert "JetStream is not switched on" in reasons(lines)
    finally:
        server.stop()


# -- the server that Debian has


async def test_an_old_server(old, tmp_path):
    await asyncio.to_thread(old.clear)
    async with world(tmp_path, old.entry()) as first:
        await asyncio.to_thread(old.put, *(publish(n) for n in range(400)))
        await first.seen("ch", 1)
    done = first.broker.numbers("ch")
    async with world(tmp_path, old.entry()) as second:
        await second.seen("ch", 400 - len(done))
        assert done + second.broker.numbers("ch") == list(range(400))
        with contextlib.suppress(ServerError):  # it writes into the folder that it removes
            await asyncio.to_thread(old.js, lambda js: js.delete_consumer(STREAM, DURABLE))
        await asyncio.to_thread(old.put, publish(400))
        await until(lambda: 400 in second.broker.numbers("ch"))


async def test_an_old_server_cannot_read_some_subjects(old, tmp_path):
    await asyncio.to_thread(old.clear)
    with capture_logs() as lines:
        async with world(tmp_path, old.entry(subjects=["commands.a", "commands.b"])) as w:
            await until(lambda: w.errors >= 2)
    assert "needs NATS 2.10 or newer; the server is '2.9" in reasons(lines)
    assert not await asyncio.to_thread(is_there, old), (
        "one without them would give out what nobody wants"
    )


# -- refused at the start


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"url": "http://a"}, "nats_jetstream.url: NATS address 'http://a': scheme 'http'"),
        ({"stream_name": "a.b"}, "nats_jetstream.stream_name: 'a.b' is no name"),
        ({"durable_consumer_name": "a b"}, "nats_jetstream.durable_consumer_name: 'a b' is no"),
        ({"subjects": ["a..b"]}, "nats_jetstream.subjects: 'a..b' is no subject"),
        ({"subjects": [">.a"]}, "nats_jetstream.subjects: '>.a' is no subject"),
        ({"subjects": ["a", "a"]}, "nats_jetstream.subjects: 'a' is there more than once"),
        ({"max_ack_pending": -2}, "nats_jetstream.max_ack_pending: -2 is not allowed; -1"),
        ({"credentials_file": "/nowhere"}, "nats_jetstream.credentials_file: credentials"),
        ({"tls": {"enabled": True, "server_ca_pem": "x"}}, "nats_jetstream.tls.server_ca_pem"),
    ],
)
async def test_options_that_cannot_be_used(nats, tmp_path, options, named):
    with pytest.raises(ConfigProblems) as caught:
        async with world(tmp_path, nats.entry(**options)):
            pass
    assert named in told(caught.value)
    assert "consumers[0]" in str(caught.value)

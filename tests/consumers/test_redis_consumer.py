"""Redis streams: what belongs to them alone, and to no other source."""

import asyncio
import json
from pathlib import Path

import pytest
from consumer_sources import RedisSource
from consumer_world import NAME, publish, told, world
from ports import free_port
from redisservers import RedisCluster, RedisServer, Sentinel, certificate, synced
from structlog.testing import capture_logs
from waiting import until, wait_for

from flyball.server.config import ConfigProblems
from flyball.server.consumers import in_hand
from flyball.server.consumers.redis import consumer as consumer_module

STREAM = RedisSource.streams[0]
GROUP = RedisSource.group
BIG = 1 << 20


@pytest.fixture(scope="module")
def running():
    source = RedisSource()
    yield source
    source.stop()


@pytest.fixture
def redis(running):
    running.clear()
    return running


@pytest.fixture
def often(monkeypatch):
    """Entries that others left are looked for all the time."""
    monkeypatch.setattr(consumer_module, "CLAIM_INTERVAL", 0.05)


def reasons(lines):
    """What the log was told of failures."""
    return " | ".join(str(line.get("reason")) for line in lines)


def consumers(redis, stream=STREAM):
    """Names of the consumers of the group, and how many entries each has."""
    found = redis.server.ask("XINFO", "CONSUMERS", stream, GROUP)
    maps = (dict(zip(item[::2], item[1::2], strict=True)) for item in found)
    return {item[b"name"].decode(): item[b"pending"] for item in maps}


def calls(redis, command):
    """How often a command was called."""
    lines = redis.server.ask("INFO", "commandstats").decode().splitlines()
    found = [line for line in lines if line.startswith(f"cmdstat_{command}:")]
    return int(found[0].partition("calls=")[2].partition(",")[0]) if found else 0


def mode(redis, **options):
    return redis.entry(publication_data_mode={"enabled": True}, **options)


# -- what an entry says


async def test_the_body_names_the_method_if_nothing_else_does(redis, tmp_path):
    body = {"method": "publish", "payload": {"channel": "ch", "data": {"n": 1}}}
    async with world(tmp_path, redis.entry()) as w:
        redis.add("payload", json.dumps(body))
        assert await w.seen("ch", 1) == [1]


async def test_values_may_have_other_names(redis, tmp_path):
    async with world(tmp_path, redis.entry(payload_value="p", method_value="m")) as w:
        redis.add("m", "publish", "p", json.dumps({"channel": "ch", "data": {"n": 1}}))
        assert await w.seen("ch", 1) == [1]


async def test_values_beside_a_publication(redis, tmp_path):
    async with world(tmp_path, mode(redis)) as w:
        redis.add(
            *("payload", '{"n":1}', "centrifugo-channels", "a,b"),
            *("centrifugo-idempotency-key", "k", "centrifugo-delta", "true"),
            *("centrifugo-version", "7", "centrifugo-version-epoch", "e"),
            *("centrifugo-tag-Kind", "news", "other", "x"),
        )
        await until(lambda: w.broker.channels() == ["a", "b"])
        for _, data, options in w.broker.published:
            assert data == b'{"n":1}'
            assert options.tags == {"Kind": "news"}
            assert (options.idempotency_key, options.version) == ("k", 7)


@pytest.mark.parametrize(
    "fields",
    [
        ("payload", "{}"),
        ("payload", "{}", "centrifugo-channels", ""),
        ("payload", "{}", "centrifugo-channels", "a", "centrifugo-version", "x"),
        ("payload", "{}", "centrifugo-channels", "a", "centrifugo-delta", "maybe"),
        ("centrifugo-channels", "a"),
        (b"\xff\xfe", b"\xff", "payload", b"\x00\xff"),
    ],
)
async def test_entries_that_are_no_publication_are_dropped(redis, tmp_path, fields):
    with capture_logs() as lines:
        async with world(tmp_path, mode(redis)) as w:
            await asyncio.to_thread(redis.add, *fields)
            await asyncio.to_thread(redis.add, "payload", '{"n":1}', "centrifugo-channels", "ch")
            assert await w.seen("ch", 1) == [1]
            await until(lambda: w.processed == 2)
            assert w.errors == 1
    (line,) = [line for line in lines if line["event"] == "message dropped"]
    assert line["place"].startswith(f"stream {STREAM}, id ")


@pytest.mark.parametrize("fields", [("method", "publish"), ("x", "y"), ("payload", b"\xff")])
async def test_entries_that_are_no_command_are_dropped(redis, tmp_path, fields):
    async with world(tmp_path, redis.entry()) as w:
        await asyncio.to_thread(redis.add, *fields)
        await asyncio.to_thread(redis.put, publish(1))
        assert await w.seen("ch", 1) == [1]
        await until(lambda: w.processed == 2)


async def test_large_entries_are_read_a_few_at_a_time(redis, tmp_path):
    fields = ("method", "publish")
    bodies = [json.dumps({"channel": "ch", "data": {"n": n, "more": "x" * BIG}}) for n in range(30)]
    for body in bodies:
        await asyncio.to_thread(redis.add, *fields, "payload", body)
    async with world(tmp_path, redis.entry()) as w:
        assert await w.seen("ch", 30) == list(range(30))
        await until(lambda: w.processed == 30)
    reads = await asyncio.to_thread(calls, redis, "xreadgroup")
    assert reads >= 30 * BIG // (8 << 20)


# -- the group


async def test_a_group_that_is_made_begins_with_what_comes(redis, tmp_path):
    redis.server.ask("DEL", STREAM)
    redis.put(publish(0))
    async with world(tmp_path, redis.entry(streams=[STREAM, "new"])) as w:
        await asyncio.to_thread(wait_for, lambda: redis.server.ask("EXISTS", "new"), "stream")
        await asyncio.to_thread(wait_for, lambda: groups(redis) == [GROUP], "group")
        await asyncio.to_thread(redis.put, publish(1))
        assert await w.seen("ch", 1) == [1]


def groups(redis):
    return [item[1].decode() for item in redis.server.ask("XINFO", "GROUPS", STREAM)]


async def test_a_group_that_is_removed_loses_nothing(redis, tmp_path):
    async with world(tmp_path, redis.entry()) as w:
        for n in range(0, 30, 3):
            await asyncio.to_thread(redis.put, publish(n))
            await w.seen("ch", n + 1)
            await asyncio.to_thread(redis.server.ask, "XGROUP", "DESTROY", STREAM, GROUP)
            await asyncio.to_thread(redis.put, publish(n + 1), publish(n + 2))
            assert await w.seen("ch", n + 3) == list(range(n + 3))


async def test_a_group_that_is_removed_while_entries_fail_loses_none(redis, tmp_path):
    async with world(tmp_path, redis.entry()) as w:
        w.broker.down = True
        await asyncio.to_thread(redis.put, *(publish(n) for n in range(50)))
        await until(lambda: w.broker.failures >= 2)
        await asyncio.to_thread(redis.server.ask, "XGROUP", "DESTROY", STREAM, GROUP)
        await asyncio.to_thread(redis.put, publish(50))
        w.broker.down = False
        await until(lambda: 50 in w.broker.numbers("ch"))
        assert sorted(set(w.broker.numbers("ch"))) == list(range(51))


@pytest.mark.parametrize("how", [("DEL", STREAM), ("FLUSHALL",)])
async def test_a_stream_that_is_made_anew_is_read_from_its_beginning(redis, tmp_path, how):
    async with world(tmp_path, redis.entry()) as w:
        await asyncio.to_thread(redis.put, publish(0))
        await w.seen("ch", 1)
        await asyncio.to_thread(redis.server.ask, *how)
        body = json.dumps({"channel": "ch", "data": {"n": 1}})
        fields = ("method", "publish", "payload", body)
        await asyncio.to_thread(redis.server.ask, "XADD", STREAM, "1-1", *fields)
        assert await w.seen("ch", 2) == [0, 1]


async def test_a_key_that_is_no_stream_is_told(redis, tmp_path):
    redis.server.ask("DEL", STREAM)
    redis.server.ask("SET", STREAM, "x")
    with capture_logs() as lines:
        async with world(tmp_path, redis.entry()) as w:
            await until(lambda: w.errors >= 3)
            await asyncio.to_thread(redis.put, publish(0, "second"), partition=1)
            assert await w.seen("second", 1) == [0], "the other stream is read"
            await asyncio.to_thread(redis.server.ask, "DEL", STREAM)
            await asyncio.to_thread(wait_for, lambda: redis.server.ask("EXISTS", STREAM), "stream")
            await asyncio.to_thread(redis.put, publish(1))
            assert await w.seen("ch", 1) == [1]
    assert f"the key '{STREAM}' holds no stream" in reasons(lines)


async def test_entries_that_were_removed_while_they_waited(redis, tmp_path):
    with capture_logs() as lines:
        async with world(tmp_path, redis.entry()) as w:
            w.broker.down = True
            await asyncio.to_thread(redis.put, publish(-2), publish(-1), publish(0), publish(1))
            await until(lambda: w.broker.failures >= 2)
            ids = [item[0] for item in redis.server.ask("XRANGE", STREAM, "-", "+")]
            await asyncio.to_thread(redis.server.ask, "XDEL", STREAM, *ids[:2])
            await asyncio.to_thread(cut, redis)
            await until(lambda: "removed from its stream" in str(lines))
            w.broker.down = False
            await until(lambda: w.broker.numbers("ch")[-2:] == [0, 1])
            await asyncio.to_thread(wait_for, lambda: redis.left() == 0, "end")


def cut(redis):
    """Ends all connections."""
    redis.server.ask("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")


async def test_connections_that_are_cut_again_and_again(redis, tmp_path):
    async with world(tmp_path, redis.entry()) as w:
        for n in range(0, 400, 20):
            await asyncio.to_thread(redis.put, *(publish(i) for i in range(n, n + 20)))
            await asyncio.to_thread(cut, redis)
        assert await w.seen("ch", 400) == list(range(400))
        await asyncio.to_thread(wait_for, lambda: redis.left() == 0, "end")


# -- several consumers


async def test_what_a_dead_consumer_left_is_taken_over(redis, tmp_path, often):
    redis.put(*(publish(n) for n in range(250)))
    who = ("GROUP", GROUP, "dead", "COUNT", "230")
    redis.server.ask("XREADGROUP", *who, "STREAMS", STREAM, ">")
    async with world(tmp_path, redis.entry(visibility_timeout="300ms")) as w:
        await w.seen("ch", 250)
        assert sorted(w.broker.numbers("ch")) == list(range(250))
        await asyncio.to_thread(wait_for, lambda: redis.left() == 0, "end")


async def test_what_a_dead_consumer_left_may_be_removed_meanwhile(redis, tmp_path, often):
    redis.put(publish(0), publish(1))
    who = ("GROUP", GROUP, "dead", "COUNT", "2")
    redis.server.ask("XREADGROUP", *who, "STREAMS", STREAM, ">")
    (first, _), _ = redis.server.ask("XRANGE", STREAM, "-", "+")
    redis.server.ask("XDEL", STREAM, first)
    with capture_logs() as lines:
        async with world(tmp_path, redis.entry(visibility_timeout="100ms")) as w:
            assert await w.seen("ch", 1) == [1]
            await asyncio.to_thread(wait_for, lambda: redis.left() == 0, "end")
    (line,) = [line for line in lines if "removed from its stream" in line["event"]]
    assert line["id"] == first.decode()


async def test_what_is_in_hand_is_taken_over_by_nobody(redis, tmp_path, often):
    entry = redis.entry(visibility_timeout="2s")
    async with world(tmp_path, entry) as slow:
        slow.broker.down = True
        await asyncio.to_thread(redis.put, publish(0))
        await until(lambda: slow.broker.failures >= 1)
        async with world(tmp_path, entry) as other:
            await until(lambda: slow.broker.failures >= 9)  # seconds, as the waits grow
            assert await asyncio.to_thread(calls, redis, "xautoclaim") > 9
            assert other.broker.published == []
            slow.broker.down = False
            assert await slow.seen("ch", 1) == [0]
        assert other.broker.published == []


async def test_what_others_took_over_is_theirs(redis, tmp_path, monkeypatch):
    monkeypatch.setattr(in_hand, "RENEWALS", 0.001)  # it says nothing of what it has
    async with world(tmp_path, redis.entry(visibility_timeout="300s")) as slow:
        slow.broker.down = True
        await asyncio.to_thread(redis.put, publish(0))
        await until(lambda: slow.broker.failures >= 1)
        ((entry, _),) = redis.server.ask("XRANGE", STREAM, "-", "+")
        who = (STREAM, GROUP, "other")
        await asyncio.to_thread(redis.server.ask, "XCLAIM", *who, "0", entry, "JUSTID")
        await asyncio.to_thread(cut, redis)
        slow.broker.down = False
        await asyncio.to_thread(redis.put, publish(1))
        assert await slow.seen("ch", 1) == [1]
    assert consumers(redis) == {"other": 1}


async def test_a_node_that_said_nothing_for_too_long_asks_what_is_its_own(
    redis, tmp_path, monkeypatch
):
    monkeypatch.setattr(in_hand, "RENEWALS", 0.001)
    async with world(tmp_path, redis.entry(visibility_timeout="200ms")) as w:
        w.broker.down = True
        await asyncio.to_thread(redis.put, publish(0), publish(1))
        await until(lambda: w.errors > w.broker.failures)
        w.broker.down = False
        assert await w.seen("ch", 2) == [0, 1]


async def test_nodes_share_a_stream(redis, tmp_path):
    async with world(tmp_path, redis.entry()) as a, world(tmp_path, redis.entry()) as b:
        await asyncio.to_thread(redis.put, *(publish(n) for n in range(200)))
        both = lambda: a.broker.numbers("ch") + b.broker.numbers("ch")  # noqa: E731
        await until(lambda: len(both()) >= 200)
        assert sorted(both()) == list(range(200))


async def test_workers_of_a_stream(redis, tmp_path):
    async with world(tmp_path, redis.entry(num_workers=3)) as w:
        await asyncio.to_thread(wait_for, lambda: len(consumers(redis)) == 3, "consumers")
        await asyncio.to_thread(redis.put, publish(0, "broken"))
        await until(lambda: w.broker.failures >= 1)
        await asyncio.to_thread(redis.put, *(publish(n) for n in range(100)))
        await w.seen("ch", 100)
        assert sorted(w.broker.numbers("ch")) == list(range(100))
        names = await asyncio.to_thread(consumers, redis)
        assert set(names) == {f"{w.node.id}-{NAME}-{n}" for n in (1, 2, 3)}


async def test_a_consumer_that_stops_leaves_nothing_of_itself(redis, tmp_path):
    async with world(tmp_path, redis.entry()) as w:
        await asyncio.to_thread(redis.put, publish(0))
        await w.seen("ch", 1)
        # It is published before it is acknowledged.
        left = {f"{w.node.id}-{NAME}": 0}
        await asyncio.to_thread(wait_for, lambda: consumers(redis) == left, "acknowledgement")
    assert consumers(redis) == {}


async def test_a_user_that_may_not_wake_us_stops_all_the_same(redis, tmp_path):
    redis.server.ask(
        *("ACL", "SETUSER", "few", "on", ">secret", "~*", "+xreadgroup", "+xack", "+xclaim"),
        *("+xautoclaim", "+xgroup|create", "+hello", "+auth", "+ping"),
    )
    async with world(tmp_path, redis.entry(user="few", password="secret")) as w:
        await asyncio.to_thread(redis.put, publish(0))
        assert await w.seen("ch", 1) == [0]
        await asyncio.to_thread(redis.server.ask, "XGROUP", "DESTROY", STREAM, GROUP)
        await asyncio.to_thread(redis.put, publish(1))
        assert await w.seen("ch", 2) == [0, 1]


# -- ways there


async def test_a_wrong_password_is_told_and_tried_again(tmp_path):
    server = RedisServer("redis", "--requirepass", "right")
    try:
        section = {"address": [server.url], "streams": ["s"], "consumer_group": "g"}
        entry = {"type": "redis_stream", "redis_stream": {**section, "password": "wrong"}}
        with capture_logs() as lines:
            async with world(tmp_path, entry) as w:
                await until(lambda: w.errors >= 3)
                server.stop()
                server.options = ("--requirepass", "wrong")
                server.folder.mkdir()
                await asyncio.to_thread(server.start)
                await until(lambda: "consumer works again" in str(lines))
        assert "WRONGPASS" in reasons(lines)
        assert "wrong" not in reasons(lines).replace("WRONGPASS", "")
    finally:
        server.stop()


@pytest.mark.parametrize("way", ["unix", "resp2", "db", "user", "tls", "valkey"])
async def test_ways_to_a_server(tmp_path, way):
    files = certificate(tmp_path)
    options = {
        "user": ("--user", "u", "on", ">secret", "~*", "+@all"),
        "tls": (
            *("--tls-cert-file", files["server"], "--tls-key-file", files["server_key"]),
            *("--tls-ca-cert-file", files["ca"], "--tls-auth-clients", "yes"),
        ),
    }
    kind = "valkey" if way == "valkey" else "redis"
    server = RedisServer(kind, *options.get(way, ()), tls=way == "tls")
    named = {"server_ca_pem": "ca", "cert_pem": "client", "key_pem": "client_key"}
    tls = {option: Path(files[name]).read_text() for option, name in named.items()}
    tls["enabled"] = True
    more = {
        "unix": {"address": [server.unix_url]},
        "resp2": {"force_resp2": True, "client_name": "me"},
        "db": {"db": 3},
        "user": {"user": "u", "password": "secret"},
        "tls": {"tls": tls},
    }.get(way, {})
    section = {"address": [server.url], "streams": ["s"], "consumer_group": "g", **more}
    try:
        async with world(tmp_path, {"type": "redis_stream", "redis_stream": section}) as w:
            ask = ("SELECT 3 $$ " if way == "db" else "").split("$$")
            if len(ask) > 1:
                await until(lambda: b"db3" in server.ask("INFO", "keyspace"))
                script = (
                    "redis.call('SELECT', 3); return redis.call('XADD', KEYS[1], '*', unpack(ARGV))"
                )
                add = ("EVAL", script, "1", "s")
            else:
                await until(lambda: server.ask("EXISTS", "s"))
                await until(lambda: server.ask("XINFO", "GROUPS", "s"))
                add = ("XADD", "s", "*")
            body = json.dumps({"channel": "ch", "data": {"n": 1}})
            await asyncio.to_thread(server.ask, *add, "method", "publish", "payload", body)
            assert await w.seen("ch", 1) == [1]
    finally:
        server.stop()


async def test_a_certificate_that_is_not_trusted_is_told(tmp_path):
    files = certificate(tmp_path)
    pair = ("--tls-cert-file", files["server"], "--tls-key-file", files["server_key"])
    server = RedisServer(
        "redis", *pair, *("--tls-ca-cert-file", files["ca"], "--tls-auth-clients", "no"), tls=True
    )
    section = {"address": [server.url], "streams": ["s"], "consumer_group": "g"}
    section["tls"] = {"enabled": True}
    try:
        with capture_logs() as lines:
            async with world(tmp_path, {"type": "redis_stream", "redis_stream": section}) as w:
                await until(lambda: w.errors >= 2)
        assert "CERTIFICATE_VERIFY_FAILED" in reasons(lines)
    finally:
        server.stop()


@pytest.mark.parametrize("plain", [False, True])
async def test_streams_of_a_cluster(tmp_path, plain):
    cluster = RedisCluster()
    streams = [f"s{n}" for n in range(6)]
    section = {"streams": streams, "consumer_group": "g"}
    first = f"127.0.0.1:{cluster.nodes[0].port}"
    section |= {"address": [first]} if plain else {"cluster_address": [first]}
    try:
        async with world(tmp_path, {"type": "redis_stream", "redis_stream": section}) as w:
            for n, stream in enumerate(streams):
                node = await asyncio.to_thread(holder, cluster, stream)
                await until(lambda node=node, stream=stream: has_group(node, stream))
                await asyncio.to_thread(add, node, stream, n)
            await until(lambda: len(w.broker.published) == 6)
            slot = cluster.nodes[0].ask("CLUSTER", "KEYSLOT", streams[0])
            source = await asyncio.to_thread(holder, cluster, streams[0])
            target = next(node for node in cluster.nodes if node is not source)
            await asyncio.to_thread(cluster.move, slot, source, target)
            await asyncio.to_thread(add, target, streams[0], 6)
            await w.seen("ch", 7)
            assert sorted(w.broker.numbers("ch")) == list(range(7))
    finally:
        cluster.stop()


def holder(cluster, stream):
    """The node that has a stream."""
    for node in cluster.nodes:
        if not isinstance(node.ask("EXISTS", stream, raises=False), Exception):
            return node
    raise AssertionError(stream)


def has_group(node, stream):
    found = node.ask("XINFO", "GROUPS", stream, raises=False)
    return not isinstance(found, Exception) and len(found) == 1


def add(node, stream, n):
    body = json.dumps({"channel": "ch", "data": {"n": n}})
    node.ask("XADD", stream, "*", "method", "publish", "payload", body)


async def test_the_master_of_sentinels_is_followed(tmp_path):
    master = RedisServer("redis")
    replica = RedisServer("redis", "--replicaof", "127.0.0.1", str(master.port))
    sentinel = Sentinel(master)
    section = {"sentinel_address": [f"127.0.0.1:{sentinel.port}"], "streams": ["s"]}
    section |= {"sentinel_master_name": "mymaster", "consumer_group": "g"}
    try:
        await asyncio.to_thread(wait_for, lambda: synced(replica), "replica")
        ready = lambda: len(sentinel.ask("SENTINEL", "REPLICAS", "mymaster")) == 1  # noqa: E731
        await asyncio.to_thread(wait_for, ready, "replica at the Sentinel")
        async with world(tmp_path, {"type": "redis_stream", "redis_stream": section}) as w:
            await until(lambda: has_group(replica, "s"))
            await asyncio.to_thread(add, master, "s", 0)
            await w.seen("ch", 1)
            await asyncio.to_thread(master.kill)
            is_master = lambda: replica.ask("ROLE")[0] == b"master"  # noqa: E731
            await asyncio.to_thread(wait_for, is_master, "failover")
            await asyncio.to_thread(add, replica, "s", 1)
            await w.seen("ch", 2)
            assert set(w.broker.numbers("ch")) == {0, 1}
    finally:
        sentinel.stop()
        replica.stop()
        master.stop()


async def test_sentinels_that_are_away_are_told(tmp_path):
    section = {"sentinel_address": [f"127.0.0.1:{free_port()}"], "streams": ["s"]}
    section |= {"sentinel_master_name": "mymaster", "consumer_group": "g"}
    with capture_logs() as lines:
        async with world(tmp_path, {"type": "redis_stream", "redis_stream": section}) as w:
            await until(lambda: w.errors >= 2)
    assert "no Sentinel helps" in reasons(lines)


async def test_a_server_that_stands_still(redis, tmp_path):
    async with world(tmp_path, redis.entry(io_timeout="300ms")) as w:
        await asyncio.to_thread(redis.put, publish(0))
        await w.seen("ch", 1)
        await asyncio.to_thread(redis.server.program.pause)
        try:
            await until(lambda: w.errors >= 1)
        finally:
            redis.server.program.resume()
        await asyncio.to_thread(redis.put, publish(1))
        assert await w.seen("ch", 2) == [0, 1]


@pytest.mark.parametrize("down", [False, True])
async def test_who_stops_does_not_wait_for_a_server_that_stands_still(redis, tmp_path, down):
    async with world(tmp_path, redis.entry(io_timeout="300ms")) as w:
        await asyncio.to_thread(redis.put, publish(0))
        await w.seen("ch", 1)
        w.broker.down = down
        await asyncio.to_thread(redis.put, publish(1))
        await until(lambda: w.broker.failures >= 1 if down else w.processed == 2)
        await asyncio.to_thread(redis.server.program.pause)
    redis.server.program.resume()


# -- refused at the start


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"address": ["redis://a", "redis://b"]}, "redis_stream.address: has 2 entries"),
        ({"cluster_address": ["a:1", "b:1"]}, "redis_stream.cluster_address: has 2 entries"),
        ({"address": ["http://a"]}, "scheme 'http' is not one of"),
        ({"sentinel_address": ["a:1"]}, "sentinel_master_name: it is empty"),
        ({"streams": ["a", "b", "a"]}, "redis_stream.streams: 'a' is there more than once"),
        ({"streams": ["a", ""]}, "redis_stream.streams: a name is empty"),
        ({"num_workers": -1}, "redis_stream.num_workers: -1 is not allowed; 1 or more"),
        ({"visibility_timeout": "10us"}, "redis_stream.visibility_timeout: 1e-05 s is not allowed"),
        ({"method_value": "payload"}, "method_value: 'payload' is payload_value too"),
        ({"tls": {"enabled": True, "server_ca_pem": "x"}}, "redis_stream.tls.server_ca_pem"),
    ],
)
async def test_options_that_cannot_be_used(redis, tmp_path, options, named):
    with pytest.raises(ConfigProblems) as caught:
        async with world(tmp_path, redis.entry(**options)):
            pass
    assert named in told(caught.value)
    assert "consumers[0]" in str(caught.value)

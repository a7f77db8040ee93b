"""What the links of one Redis engine do when their server, or the way to it, is in trouble."""

import asyncio
import os
import signal
import time

import pytest
from contract_engines import Recorder
from fault_world import Toxic
from redisservers import RedisServer
from waiting import until

from flyball.core.errors import ConfigError, EngineError
from flyball.core.types import HistoryFilter, PublishOptions, payload
from flyball.engines.redis import Endpoint, RedisEngine, RedisOptions, ShardOptions

KEPT = PublishOptions(history_size=10, history_ttl=60)


@pytest.fixture
def redis():
    server = RedisServer("redis")
    yield server
    server.stop()


@pytest.fixture
async def toxic(redis):
    found = await Toxic(redis.port).start()
    yield found
    await found.stop()


def engine_at(port, **options):
    shard = ShardOptions(seeds=(Endpoint(port=port),), io_timeout=0.5, connect_timeout=0.5)
    return RedisEngine(shard, options=RedisOptions(**options))


@pytest.fixture
async def events():
    return Recorder()


@pytest.fixture(params=[False, True], ids=["streams", "lists"])
async def broker(request, toxic, events):
    broker = engine_at(toxic.port, history_use_lists=request.param).broker
    await broker.start(events)
    await broker.subscribe("ch")
    yield broker
    await broker.close()


async def publish(broker, *numbers):
    for number in numbers:
        result = await broker.publish("ch", payload(str(number).encode()), KEPT)
    return result


async def test_a_stream_that_changed_meanwhile_is_not_taken_for_the_old_one(
    redis, toxic, events, broker
):
    """Though its offsets go on where the old one's ended."""
    old = await publish(broker, 1, 2, 3)
    await until(lambda: len(events.data()) == 3)
    toxic.refuse = True
    toxic.cut()
    await until(lambda: broker.problem)
    kind = "list" if broker._lists else "stream"
    meta = f"centrifugo.{kind}.meta.ch"
    redis.ask("DEL", f"centrifugo.{kind}.ch")
    redis.ask("HSET", meta, "s", 1)  # as a replica has it that got the first one only
    other = engine_at(redis.port, history_use_lists=broker._lists).broker
    await other.start(Recorder())
    assert (await publish(other, 20, 30)).epoch == old.epoch
    toxic.refuse = False
    await until(lambda: events.restored == 1)
    await publish(other, 40)
    await publish(broker, 50)
    position = (await broker.history("ch", HistoryFilter(0))).position
    assert position.epoch != old.epoch
    await until(lambda: b"50" in events.data())
    fresh = [(p.offset, at.epoch) for _, p, at, *_ in events.publications[3:]]
    assert all(epoch == position.epoch for _, epoch in fresh)
    await other.close()


async def test_what_comes_while_streams_are_looked_at_is_not_lost(redis, toxic, events, broker):
    await publish(broker, 1)
    other = engine_at(redis.port, history_use_lists=broker._lists).broker
    await other.start(Recorder())
    for _ in range(3):
        restored = events.restored
        toxic.cut()
        await until(lambda: events.lost)
        while events.restored == restored:
            await publish(other, 2)
            await asyncio.sleep(0)
        top = (await publish(other, 2)).offset
        await until(lambda top=top: events.publications[-1][1].offset == top)
    await other.close()


async def test_a_server_that_stands_still_gives_errors_in_time(redis, events):
    broker = engine_at(redis.port).broker
    await broker.start(events)
    os.kill(redis.pid, signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(EngineError, match=r"no answer within 0\.5 s"):
            await publish(broker, 1)
        assert time.monotonic() - started < 0.6
        with pytest.raises(EngineError):
            await broker.subscribe("ch")
        assert "no answer" in broker.problem
    finally:
        os.kill(redis.pid, signal.SIGCONT)
    await until(lambda: not broker.problem)
    await broker.subscribe("ch")
    await publish(broker, 1)
    await until(events.data)
    await broker.close()


async def test_an_idle_link_finds_out_as_well(redis, events):
    broker = engine_at(redis.port).broker
    await broker.start(events)
    os.kill(redis.pid, signal.SIGSTOP)
    await until(lambda: events.lost)
    os.kill(redis.pid, signal.SIGCONT)
    await until(lambda: events.restored)
    await broker.close()


async def test_a_server_that_is_not_there_refuses_the_start(toxic):
    await toxic.stop()
    broker = engine_at(toxic.port).broker
    with pytest.raises(ConfigError, match=r"cannot connect to Redis at 127\.0\.0\.1"):
        await broker.start(Recorder())
    await broker.close()


async def test_commands_of_one_turn_leave_in_one_write(redis, events):
    broker = engine_at(redis.port).broker
    await broker.start(events)
    transport = broker._servers.shards[0]._link._connection._transport
    writes = []

    class Counting:
        def __getattr__(self, name):
            return getattr(transport, name)

        def write(self, data):
            writes.append(data)
            transport.write(data)

    broker._servers.shards[0]._link._connection._transport = Counting()
    results = await asyncio.gather(*(publish(broker, n) for n in range(100)))
    assert sorted(r.offset for r in results) == [*range(1, 101)]
    # The first of them meet a server that does not know the script.
    assert len(writes) <= 3
    await broker.close()


async def test_what_others_wrote_is_an_error_and_no_traceback(redis, events, caplog):
    broker = engine_at(redis.port).broker
    await broker.start(events)
    await broker.subscribe("ch")
    redis.ask("XADD", "centrifugo.stream.ch", "1-0", "d", b"\xff\xff")
    with pytest.raises(EngineError, match="history of 'ch': no publication"):
        await broker.history("ch", HistoryFilter())
    redis.ask("PUBLISH", "centrifugo.client.ch", b"__x__")
    redis.ask("PUBLISH", "centrifugo.client.ch", b"\xff\xff")
    redis.ask("PUBLISH", "centrifugo.client.ch", b"__p1:x:y__")
    redis.ask("DEL", "centrifugo.stream.ch")
    await publish(broker, 5)
    await until(lambda: events.data() == [b"5"])
    assert caplog.text.count("is not understood") == 3
    assert not [r for r in caplog.records if r.exc_info]
    redis.ask("SET", "centrifugo.stream.ch", "x")
    with pytest.raises(EngineError, match="WRONGTYPE"):
        await publish(broker, 6)
    await broker.close()


async def test_a_payload_of_the_original_is_read(redis, events):
    """As it writes them: publication in Protobuf, with the envelope of the history or of a delta."""
    broker = engine_at(redis.port).broker
    await broker.start(events)
    await broker.subscribe("ch")
    plain = b"\x22\x03[1]"
    tagged = plain + b"\x3a\x06\x0a\x01k\x12\x01v" + b"\x48\x80\x01"
    for message in (
        plain,
        b"__p1:7:epoch__" + tagged,
        b"__d1:8:epoch:%d:%s:%d:%s" % (len(plain), plain, len(tagged), tagged),
        b"__d1:1:other:0::%d:%s" % (len(plain), plain),
        b"__j__\x0a\x03ann\x12\x01c",
        b"__l__\x0a\x03ann\x12\x01c",
    ):
        redis.ask("PUBLISH", "centrifugo.client.ch", message)
    await until(lambda: events.leaves)
    first, second, third, fourth = events.publications
    assert (bytes(first[1].data), first[2].epoch) == (b"[1]", "")
    assert (second[1].offset, second[2].epoch, second[1].tags) == (7, "epoch", {"k": "v"})
    assert (third[3], bytes(third[4].data), third[4].offset) == (True, b"[1]", 7)
    assert (fourth[3], fourth[4], fourth[1].epoch) == (True, None, "other")
    assert events.joins[0][1].user == events.leaves[0][1].user == "ann"
    await broker.close()


async def test_the_layout_is_the_originals(redis, events):
    engine = engine_at(redis.port, presence_user_mapping=True)
    broker, presence = engine.broker, engine.presence_manager
    await broker.start(events)
    await presence.start()
    from flyball.core.types import ClientInfo

    result = await broker.publish(
        "ch",
        payload(b"[1]"),
        PublishOptions(
            history_size=10, history_ttl=60, version=4, version_epoch="ve", idempotency_key="key"
        ),
    )
    await presence.add_presence("ch", "c", ClientInfo("ann", "c"))
    epoch = result.epoch.encode()
    ((entry, fields),) = redis.ask("XRANGE", "centrifugo.stream.ch", "-", "+")
    assert (entry, fields[0], fields[1][:5]) == (b"1-0", b"d", b"\x22\x03[1]")
    assert pairs(redis.ask("HGETALL", "centrifugo.stream.meta.ch")) == {
        b"e": epoch,
        b"s": b"1",
        b"v": b"4",
        b"ve": b"ve",
    }
    assert (
        pairs(redis.ask("HGETALL", "centrifugo.result.ch.key")).items()
        >= {
            b"e": epoch,
            b"s": b"1",
        }.items()
    )
    assert redis.ask("HGETALL", "centrifugo.presence.data.ch") == [b"c", b"\x0a\x03ann\x12\x01c"]
    assert redis.ask("ZRANGE", "centrifugo.presence.expire.ch", 0, -1) == [b"c"]
    assert redis.ask("HGETALL", "centrifugo.presence.user.clients.ch") == [b"ann", b"1"]
    assert redis.ask("ZRANGE", "centrifugo.presence.user.expire.ch", 0, -1) == [b"ann"]
    await presence.close()
    await broker.close()


def pairs(flat):
    return dict(zip(flat[::2], flat[1::2], strict=True))

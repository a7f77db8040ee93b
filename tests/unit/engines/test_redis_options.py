"""Addresses of Redis servers, and what the configuration makes of them."""

import pytest

from flyball.core.errors import ConfigError
from flyball.core.memory import MemoryBroker
from flyball.engines.common.sharding import fnv1a, jump_hash
from flyball.engines.redis import Endpoint, Login, RedisEngine, RedisOptions, ShardOptions
from flyball.engines.redis.broker import RedisBroker
from flyball.engines.redis.options import parse_address
from flyball.engines.redis.presence import RedisPresenceManager
from flyball.server.build import node_engine
from flyball.server.config import load_config


@pytest.mark.parametrize(
    ("text", "seeds"),
    [
        ("localhost", (Endpoint("localhost", 6379),)),
        ("10.0.0.1:7000", (Endpoint("10.0.0.1", 7000),)),
        ("[::1]:7000", (Endpoint("::1", 7000),)),
        ("redis://h", (Endpoint("h", 6379),)),
        ("tcp://h:1", (Endpoint("h", 1),)),
        ("redis://h:1?addr=i:2&addr=j", (Endpoint("h", 1), Endpoint("i", 2), Endpoint("j"))),
        ("unix:///run/redis.sock", (Endpoint(path="/run/redis.sock"),)),
        ("redis+sentinel://s?sentinel_master_name=m", (Endpoint("s", 26379),)),
    ],
)
def test_where(text, seeds):
    assert parse_address(text).seeds == seeds


def test_login_of_an_address():
    login = parse_address("redis://ann:p%40ss@h/3?force_resp2=true").login
    assert login == Login(user="ann", password="p@ss", db=3, force_resp2=True)
    assert "p@ss" not in repr(login)


def test_an_address_wins_over_what_stands_beside_it():
    base = ShardOptions(login=Login(user="bob", password="x", db=1), io_timeout=9.0)
    found = parse_address("redis://ann@h?connect_timeout=250ms", base)
    assert (found.login.user, found.login.password, found.login.db) == ("ann", "x", 1)
    assert (found.connect_timeout, found.io_timeout) == (0.25, 9.0)


@pytest.mark.parametrize("text", ["rediss://h", "redis://h?tls_enabled=true", "rediss+cluster://h"])
def test_tls(text):
    assert parse_address(text).login.tls is not None


def test_sentinels():
    found = parse_address(
        "rediss+sentinel://a:1?addr=b:2&sentinel_master_name=m&sentinel_user=u"
        "&sentinel_password=p&sentinel_tls_enabled=true"
    )
    assert found.sentinel_master == "m"
    assert (found.sentinel_login.user, found.sentinel_login.password) == ("u", "p")
    assert found.sentinel_login.tls is not None
    assert str(found) == "master m of the Sentinels a:1,b:2"


def test_cluster():
    assert parse_address("redis+cluster://h:1").cluster
    assert str(parse_address("redis+cluster://h:1")) == "cluster h:1"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("http://h", "scheme 'http' is not one of redis, rediss, tcp, unix"),
        ("redis://h/x", "database 'x' is no number"),
        ("redis://h?what=1", "parameter 'what' is not known"),
        ("redis://h?io_timeout=4", "io_timeout is '4'; a duration such as 500ms or 2s is allowed"),
        ("redis://h?force_resp2=maybe", "force_resp2 is 'maybe'; true and false are allowed"),
        ("redis+sentinel://h", "sentinel_master_name is missing"),
        ("redis://h:x", "Port could not be cast"),
        ("redis://", "there is no host"),
        (":1", "there is no host"),
        ("unix://", "there is no path"),
    ],
)
def test_malformed(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_address(text)


def test_a_message_shows_no_password():
    with pytest.raises(ConfigError) as caught:
        parse_address("redis://ann:secret@h/x")
    assert "secret" not in str(caught.value)
    assert "redis://***@h/x" in str(caught.value)


@pytest.mark.parametrize("option", ["presence_ttl", "history_meta_ttl"])
def test_lifetimes(option):
    with pytest.raises(ConfigError, match=f"{option} is 0; seconds above 0"):
        RedisOptions(**{option: 0})


def test_shards_are_found_as_the_original_finds_them():
    # Published values: FNV-1a of 64 bits; jump hash of its authors' paper.
    assert fnv1a(b"") == 0xCBF29CE484222325
    assert fnv1a(b"a") == 0xAF63DC4C8601EC8C
    assert fnv1a(b"foobar") == 0x85944171F73967E8
    assert [jump_hash(k, n) for k, n in [(1, 1), (42, 57), (0xDEAD10CC, 666), (256, 1024)]] == [
        *(0, 43, 361, 520)
    ]


def engine_of(**settings):
    environ = {f"CENTRIFUGO_{k.upper()}": v for k, v in settings.items()}
    return node_engine(load_config("none.json", environ=environ, flags={}).config)


class TestConfiguration:
    def test_memory(self):
        engine = engine_of()
        assert (engine.broker, engine.presence_manager, engine.controller) == (None, None, None)

    def test_redis(self):
        engine = engine_of(engine_type="redis", engine_redis_address="a:1 b:2")
        assert isinstance(engine, RedisEngine)
        assert [s.seeds for s in engine.servers.options] == [
            (Endpoint("a", 1),),
            (Endpoint("b", 2),),
        ]

    @pytest.mark.parametrize("section", ["engine", "broker"])
    def test_sharded_pub_sub(self, section):
        chosen = {f"{section}_type": "redis", "broker_enabled": str(section == "broker").lower()}
        plain = engine_of(**chosen)
        sharded = engine_of(**chosen, **{f"{section}_redis_sharded_pub_sub": "true"})
        commands = [engine.broker._servers.publish_command for engine in (plain, sharded)]
        assert commands == ["PUBLISH", "SPUBLISH"]

    def test_parts_can_be_chosen_apart(self):
        engine = engine_of(engine_type="redis", broker_enabled="true", broker_type="memory")
        assert isinstance(engine.broker, MemoryBroker)
        assert isinstance(engine.presence_manager, RedisPresenceManager)
        assert engine.controller is None
        engine = engine_of(broker_enabled="true", broker_type="redis")
        assert isinstance(engine.broker, RedisBroker)
        assert engine.controller is not None
        assert engine.presence_manager is None
        engine = engine_of(
            engine_type="redis", presence_manager_enabled="true", presence_manager_type="memory"
        )
        assert engine.presence_manager is None
        engine = engine_of(presence_manager_enabled="true", presence_manager_type="redis")
        assert isinstance(engine.presence_manager, RedisPresenceManager)

    def test_sentinels_and_clusters(self):
        engine = engine_of(
            engine_type="redis",
            engine_redis_sentinel_address="a,b:2",
            engine_redis_sentinel_master_name="m",
        )
        (shard,) = engine.servers.options
        assert (shard.seeds, shard.sentinel_master) == (
            (Endpoint("a", 26379), Endpoint("b", 2)),
            "m",
        )
        engine = engine_of(engine_type="redis", engine_redis_cluster_address="a:1,b:2")
        (shard,) = engine.servers.options
        assert (len(shard.seeds), shard.cluster) == (2, True)

    @pytest.mark.parametrize(
        ("settings", "complaint"),
        [
            (
                {"engine_redis_sentinel_address": "a"},
                r"engine\.redis\.sentinel_master_name \(.*\): it is empty",
            ),
            (
                {"engine_redis_address": "http://x"},
                r"engine\.redis\.address \(.*\): Redis address 'http://x'",
            ),
        ],
    )
    def test_what_is_wrong_names_its_section(self, settings, complaint):
        with pytest.raises(ConfigError, match=complaint):
            engine_of(engine_type="redis", **settings)

"""Addresses, credentials, subjects and options of the NATS engine."""

import base64

import pytest
from natsjwt import Realm

from flyball.core.errors import ConfigError, EngineRefusal
from flyball.engines.nats import NatsOptions, RawMode, Server, ServerOptions, parse_servers
from flyball.engines.nats.credentials import read_credentials
from flyball.engines.nats.jetstream import JetStreamBroker, JetStreamPresenceManager
from flyball.engines.nats.subjects import LONGEST, MARK, Subjects, is_pattern, token
from flyball.engines.redisnats import RedisNatsBroker
from flyball.server.build import node_engine
from flyball.server.config import load_config


@pytest.mark.parametrize(
    ("text", "servers"),
    [
        ("nats://localhost:4222", (Server("localhost", 4222),)),
        ("host", (Server("host", 4222),)),
        ("host:1", (Server("host", 1),)),
        ("tls://host", (Server("host", 4222, tls=True),)),
        ("nats://u:p%40@h:5", (Server("h", 5, user="u", password="p@"),)),
        ("nats://secret@h", (Server("h", token="secret"),)),
        ("nats://[::1]:7, b", (Server("::1", 7), Server("b"))),
    ],
)
def test_addresses(text, servers):
    assert parse_servers(text) == servers


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no host"),
        ("http://h", "scheme"),
        ("nats://", "no host"),
        ("nats://h:x", "ort"),
        ("nats://h/path", "no meaning"),
        ("nats://u:hunter2@h:99999", "ort"),
    ],
)
def test_bad_addresses(text, reason):
    with pytest.raises(ConfigError, match=reason) as refused:
        parse_servers(text)
    assert "hunter2" not in str(refused.value)


def test_secrets_are_not_shown():
    options = ServerOptions(servers=parse_servers("nats://u:hunter2@h"), token="hunter2")
    assert "hunter2" not in f"{options!r} {options}"
    assert str(ServerOptions(servers=parse_servers("[::1]:7,b"))) == "[::1]:7,b:4222"


@pytest.mark.parametrize("name", ["dial_timeout", "write_timeout"])
def test_times_are_positive(name):
    with pytest.raises(ConfigError, match=name):
        ServerOptions(**{name: 0})


class TestSubjects:
    @pytest.mark.parametrize("channel", ["a", "a.b", "$ns:x", "#u", "ü", "a:b-c", "=x"])
    def test_valid_ones_are_the_originals(self, channel):
        assert Subjects(NatsOptions()).channel(channel) == f"centrifugo.client.{channel}".encode()

    @pytest.mark.parametrize("channel", ["a b", "a..b", ".a", "a.", "", "a\r\nPUB x", f"{MARK}a"])
    def test_others_are_encoded(self, channel):
        found = token(channel)
        assert base64.urlsafe_b64decode(found.removeprefix(MARK)).decode() == channel
        assert not set(found) & set(" .*>\r\n")

    def test_long_ones_are_hashed(self):
        assert len(token("x" * (LONGEST + 1))) < 80
        assert token("x" * (LONGEST + 1)) != token("x" * (LONGEST + 2))

    @pytest.mark.parametrize("channel", ["a.*", ">", "a*b", "x>"])
    def test_wildcards(self, channel):
        with pytest.raises(EngineRefusal, match="107"):
            Subjects(NatsOptions()).channel(channel)
        allowed = Subjects(NatsOptions(allow_wildcards=True))
        assert allowed.channel(channel) == f"centrifugo.client.{channel}".encode()
        assert is_pattern(channel.encode()) == (channel in ("a.*", ">"))

    def test_raw_mode(self):
        raw = RawMode(prefix="app.", channel_replacements=((":", "."), ("#", "_")))
        subjects = Subjects(NatsOptions(raw_mode=raw))
        assert subjects.channel("news:a#b") == b"app.news.a_b"
        assert subjects.matched(b"app.news.a") == "news.a"
        for channel in ("a b", "a:", "x" * (LONGEST + 1)):
            with pytest.raises(EngineRefusal, match="107"):
                subjects.channel(channel)


class TestCredentials:
    def test_signs_the_nonce(self, tmp_path):
        realm = Realm()
        realm.write(tmp_path / "c")
        credentials = read_credentials(str(tmp_path / "c"))
        assert credentials.jwt == realm.jwt
        signature = credentials.sign("nonce")
        realm.user.key.public_key().verify(base64.urlsafe_b64decode(signature + "=="), b"nonce")

    @pytest.mark.parametrize(
        ("text", "reason"),
        [
            ("", "two blocks"),
            ("---A---\njwt\n---B---\n", "two blocks"),
            ("---A---\nj\n---B---\n---C---\n!!\n---D---\n", "base32"),
            ("---A---\nj\n---B---\n---C---\nSUAA\n---D---\n", "no seed"),
        ],
    )
    def test_malformed(self, tmp_path, text, reason):
        (tmp_path / "c").write_text(text)
        with pytest.raises(ConfigError, match=reason):
            read_credentials(str(tmp_path / "c"))

    def test_missing(self, tmp_path):
        with pytest.raises(ConfigError, match="No such file"):
            read_credentials(str(tmp_path / "c"))


def build(**environ):
    environ = {f"CENTRIFUGO_{name.upper()}": value for name, value in environ.items()}
    return node_engine(load_config("none.json", environ=environ, flags={}).config)


class TestServerOptions:
    def test_nats(self, tmp_path):
        file = tmp_path / "x.creds"
        Realm().write(file)
        engine = build(
            broker_enabled="true",
            broker_type="nats",
            broker_nats_url="nats://a:1,b",
            broker_nats_dial_timeout="2s",
            broker_nats_write_timeout="3s",
            broker_nats_prefix="p",
            broker_nats_credentials_file=str(file),
            broker_nats_tls_enabled="true",
            broker_nats_tls_server_name="name",
        )
        options = engine.broker._delivery.link.options
        assert options.servers == (Server("a", 1), Server("b"))
        assert (options.dial_timeout, options.write_timeout) == (2.0, 3.0)
        assert (options.credentials_file, options.tls_server_name) == (str(file), "name")
        assert options.tls is not None
        assert engine.broker._delivery.subjects.channel("c") == b"p.client.c"
        assert engine.controller._subjects.control == b"p.control"

    def test_raw_mode(self):
        engine = build(
            broker_enabled="true",
            broker_type="nats",
            broker_nats_allow_wildcards="true",
            broker_nats_raw_mode_enabled="true",
            broker_nats_raw_mode_prefix="x.",
            broker_nats_raw_mode_channel_replacements='{":":"."}',
        )
        assert engine.broker._delivery.subjects.channel("a:*") == b"x.a.*"

    def test_redisnats(self):
        engine = build(
            enable_unreleased_features="true",
            broker_enabled="true",
            broker_type="redisnats",
            broker_redis_address="redis://h:1",
            broker_nats_url="n",
        )
        assert isinstance(engine.broker, RedisNatsBroker)
        with pytest.raises(ConfigError, match=r"broker\.nats\.raw_mode: raw mode"):
            build(
                broker_enabled="true",
                broker_type="redisnats",
                broker_nats_raw_mode_enabled="true",
            )

    def test_jetstream(self):
        nats = {"broker_enabled": "true", "broker_type": "nats"}
        switched_on = {**nats, "broker_nats_jetstream_enabled": "true"}
        engine = build(**switched_on, channel_history_meta_ttl="9s")
        assert isinstance(engine.broker, JetStreamBroker)
        assert isinstance(engine.presence_manager, JetStreamPresenceManager)
        assert engine.broker.store._options.history_meta_ttl == 9.0
        other = build(**switched_on, presence_manager_enabled="true")
        assert other.presence_manager is None
        for wrong, complaint in (
            ({"broker_nats_jetstream_replicas": "2"}, "1, 3, 5 are allowed"),
            ({"broker_nats_jetstream_max_bytes": "0"}, "max_bytes"),
            ({"broker_nats_jetstream_presence_ttl": "0s"}, "presence_ttl"),
            ({"broker_nats_raw_mode_enabled": "true"}, "raw mode has no place"),
            ({"broker_type": "redisnats"}, "redisnats keeps history in Redis"),
        ):
            with pytest.raises(ConfigError, match=rf"broker\.nats\.jetstream.*{complaint}"):
                build(**{**switched_on, **wrong})

    @pytest.mark.parametrize("url", [",", "http://x"])
    def test_wrong_address(self, url):
        with pytest.raises(ConfigError, match=r"broker\.nats\.url \(.*\): NATS address"):
            build(broker_enabled="true", broker_type="nats", broker_nats_url=url)

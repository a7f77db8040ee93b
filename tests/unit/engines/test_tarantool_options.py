"""Addresses of Tarantool servers, and which of them is taken for the leader."""

import json
import sys
from typing import ClassVar

import pytest
from ports import free_port
from typer.testing import CliRunner

from flyball.cli.app import app
from flyball.core.errors import ConfigError
from flyball.engines.common.status import LinkStatus
from flyball.engines.tarantool import (
    Endpoint,
    ShardOptions,
    TarantoolEngine,
    TarantoolOptions,
    link,
    parse_address,
)
from flyball.engines.tarantool.connection import LinkLostError
from flyball.engines.tarantool.module import Instance, install_script
from flyball.server.build import node_engine
from flyball.server.config import load_config

RAFT = "leader-follower-raft"
FOLLOWERS = "leader-follower"


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("h", Endpoint("h", 3301)),
        ("h:1", Endpoint("h", 1)),
        ("tcp://h:1", Endpoint("h", 1)),
        ("tarantool://[::1]:2", Endpoint("::1", 2)),
        ("unix:///tmp/t%20t.sock", Endpoint(path="/tmp/t t.sock")),
    ],
)
def test_one_server(text, server):
    found = parse_address(text)
    assert found.servers == (server,)
    assert parse_address(str(found)) == ShardOptions(servers=(server,)) or server.path


def test_what_else_an_address_says():
    base = ShardOptions(user="bob", password="x", io_timeout=9.0)
    found = parse_address("tcp://ann:p%40ss@h?connect_timeout=250ms", base)
    assert (found.user, found.password) == ("ann", "p@ss")
    assert (found.connect_timeout, found.io_timeout) == (0.25, 9.0)
    assert "p@ss" not in repr(found)
    assert parse_address("h", base).user == "bob"


def test_several_servers():
    base = ShardOptions(mode=FOLLOWERS)
    found = parse_address("a:1, tcp://b:2", base)
    assert found.servers == (Endpoint("a", 1), Endpoint("b", 2))
    assert str(found) == "a:1,b:2"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("http://h", "scheme 'http' is not one of tcp, tarantool, unix"),
        ("tcp://h/x", "a path behind host and port"),
        ("tcp://h?what=1", "parameter 'what' is not known"),
        ("tcp://h?io_timeout=4", "io_timeout is '4'; a duration such as 500ms or 2s is allowed"),
        ("tcp://h?io_timeout=0s", "io_timeout is 0.0; seconds above 0"),
        ("tcp://ann@h", "user and password belong together"),
        ("h:x", "Port could not be cast"),
        ("tcp://", "there is no host"),
        (" , ", "there is no host"),
        ("unix://", "there is no path"),
        ("a,b", "several servers of one shard; mode 'standalone' has one for each"),
    ],
)
def test_malformed(text, complaint):
    with pytest.raises(ConfigError, match=complaint):
        parse_address(text)


def test_a_message_shows_no_password():
    with pytest.raises(ConfigError) as caught:
        parse_address("tcp://ann:secret@h/x")
    assert "secret" not in str(caught.value)
    assert "tcp://***@h/x" in str(caught.value)


def test_options():
    for name in ("presence_ttl", "history_meta_ttl"):
        with pytest.raises(ConfigError, match=f"{name} is 0; seconds above 0"):
            TarantoolOptions(**{name: 0})
    with pytest.raises(ConfigError, match="prefix is 'a:b'; it must not have a ':'"):
        TarantoolOptions(prefix="a:b")
    with pytest.raises(ConfigError, match="mode is 'x'; standalone, leader-follower, "):
        ShardOptions(mode="x")


def test_an_engine_without_arguments():
    (shard,) = TarantoolEngine().servers.options
    assert shard == ShardOptions(servers=(Endpoint("127.0.0.1", 3301),))


def test_a_script_is_one_line_and_whole():
    script = install_script(user='a"b\\', synchronous=True)
    assert "\n" not in script
    assert script.endswith(r', 1, 1, "a\"b\\", true)')


# -- who leads


class StandIn:
    """A connection to a server that says what a test wants of it."""

    said: ClassVar = {}
    aborted: ClassVar = []

    def __init__(self, endpoint, options, on_lost):
        self.endpoint = endpoint
        self.lost = ""

    async def open(self):
        if isinstance(self.said[self.endpoint.port], Exception):
            raise self.said[self.endpoint.port]

    def abort(self, reason):
        self.aborted.append(self.endpoint.port)


@pytest.fixture
def leader_of(monkeypatch):
    """Which of the servers is taken: their answers by port."""
    monkeypatch.setattr(link, "Connection", StandIn)
    monkeypatch.setattr(StandIn, "aborted", [])

    async def greet(connection, options):
        return StandIn.said[connection.endpoint.port]

    monkeypatch.setattr(link, "greet", greet)

    async def find(mode, *answers):
        monkeypatch.setattr(StandIn, "said", dict(enumerate(answers)))
        servers = tuple(Endpoint(port=port) for port in range(len(answers)))
        made = link.Link(ShardOptions(servers=servers, mode=mode), LinkStatus("t"), print)
        found = await made._find()
        assert sorted([*StandIn.aborted, found.endpoint.port]) == [*range(len(answers))]
        return found.endpoint.port

    return find


def says(*, read_only=False, state="", term=0):
    return Instance(1, 1, read_only, state, term, "uuid")


async def test_the_one_that_writes(leader_of):
    assert await leader_of(FOLLOWERS, says(read_only=True), says()) == 1


async def test_the_first_of_two_that_write(leader_of):
    assert await leader_of(FOLLOWERS, LinkLostError("away"), says(), says()) == 1


async def test_the_one_that_was_elected_last(leader_of):
    """The old one may not know yet that it was voted out."""
    old, new = says(state="leader", term=3), says(state="leader", term=4)
    assert await leader_of(RAFT, says(state="follower", read_only=True, term=4), old, new) == 2


async def test_none(leader_of):
    followers = [says(state="follower", read_only=True), says(state="candidate", read_only=True)]
    with pytest.raises(LinkLostError, match=r":0: it is no leader \(follower\); .*candidate"):
        await leader_of(RAFT, *followers)
    with pytest.raises(LinkLostError, match="it is read-only"):
        await leader_of(FOLLOWERS, says(read_only=True))
    with pytest.raises(ConfigError, match="takes part in no election"):
        await leader_of(RAFT, says(), says())
    assert sorted(set(StandIn.aborted)) == [0, 1]


# -- the server's options and commands


def build(**environ):
    environ = {f"CENTRIFUGO_{name.upper()}": value for name, value in environ.items()}
    return node_engine(load_config("none.json", environ=environ, flags={}).config)


class TestServerOptions:
    def test_engine(self):
        engine = build(
            engine_type="tarantool",
            engine_tarantool_address="a:1,b unix:///s",
            engine_tarantool_mode="leader-follower",
            engine_tarantool_user="ann",
            engine_tarantool_password="x",
            engine_tarantool_prefix="p",
            engine_tarantool_connect_timeout="2s",
            engine_tarantool_io_timeout="3s",
            engine_tarantool_presence_ttl="5s",
            channel_history_meta_ttl="7s",
        )
        shared = {"mode": FOLLOWERS, "user": "ann", "password": "x"}
        shared |= {"connect_timeout": 2.0, "io_timeout": 3.0}
        assert engine.servers.options == (
            ShardOptions(servers=(Endpoint("a", 1), Endpoint("b")), **shared),
            ShardOptions(servers=(Endpoint(path="/s"),), **shared),
        )
        assert engine.broker._names.control == "p:control"
        assert (engine.broker._meta_ttl, engine.presence_manager._ttl) == (7.0, 5.0)

    def test_parts(self):
        engine = build(
            broker_enabled="true",
            broker_type="tarantool",
            broker_tarantool_address="a:1",
            presence_manager_enabled="true",
            presence_manager_type="tarantool",
            presence_manager_tarantool_address="b:2",
            presence_manager_tarantool_presence_ttl="5s",
        )
        assert str(engine.broker._servers.options[0]) == "a:1"
        assert engine.controller._servers is engine.broker._servers
        assert str(engine.presence_manager._servers.options[0]) == "b:2"
        assert engine.presence_manager._ttl == 5.0

    def test_only_presence(self):
        engine = build(presence_manager_enabled="true", presence_manager_type="tarantool")
        assert engine.broker is engine.controller is None
        assert str(engine.presence_manager._servers.options[0]) == "127.0.0.1:3301"

    def test_without_the_extra(self, monkeypatch):
        monkeypatch.setitem(sys.modules, "flyball.engines.tarantool", None)
        with pytest.raises(ConfigError, match=r'pip install "flyball\[tarantool\]"'):
            build(engine_type="tarantool")

    @pytest.mark.parametrize(
        ("option", "value", "complaint"),
        [
            ("mode", "x", r"engine\.tarantool\.mode \(.*\): 'x' is not allowed; "),
            ("address", "h:x", r"engine\.tarantool\.address \(.*\): Tarantool address 'h:x'"),
            ("prefix", "a:b", r"engine\.tarantool\.prefix \(.*\): 'a:b' is not allowed; "),
            ("user", "ann", r"engine\.tarantool: user and password belong together"),
        ],
    )
    def test_mistakes(self, option, value, complaint):
        with pytest.raises(ConfigError, match=complaint):
            build(engine_type="tarantool", **{f"engine_tarantool_{option}": value})


class TestInstall:
    @pytest.fixture
    def run(self, tmp_path, monkeypatch):
        monkeypatch.chdir(tmp_path)

        def invoke(*arguments, config=None):
            if config is not None:
                (tmp_path / "config.json").write_text(json.dumps(config))
            return CliRunner().invoke(app, ["tarantool", "install", *arguments])

        return invoke

    def test_without_an_engine_of_this_kind(self, run):
        result = run(config={})
        assert result.exit_code == 1
        assert result.stdout.startswith('error: the configuration has no engine.type "tarantool"')

    @pytest.mark.parametrize("name", ["engine", "broker", "presence_manager"])
    def test_nobody_is_there(self, run, name):
        port = free_port()
        config = {name: {"type": "tarantool", "tarantool": {"address": [f"127.0.0.1:{port}"]}}}
        result = run("--user", "boss", "--password", "x", config=config)
        assert result.exit_code == 1
        start = f"error: the module was not installed: 127.0.0.1:{port}: "
        assert result.stdout.startswith(start)

    def test_a_password_of_nobody(self, run):
        result = run("--address", "h", "--password", "x")
        assert result.stdout == "error: there is a password, and no --user that it is for\n"

    def test_a_script(self, run):
        section = {"user": "ann", "password": "x"}
        config = {"engine": {"type": "tarantool", "tarantool": section}}
        assert run("--script", config=config).stdout == install_script(user="ann") + "\n"
        given = run("--script", "--address", "h", "--grant", "bob", "--synchronous").stdout
        assert given == install_script(user="bob", synchronous=True) + "\n"

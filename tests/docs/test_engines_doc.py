"""docs/engines.md shows configurations and programs: all are run on a real server."""

import asyncio
import contextlib
import json
import os
import re
import subprocess
import urllib.request
from pathlib import Path

import pytest
from natsserver import NatsServer
from ports import free_port
from postgres import PostgresServer
from processes import FLYBALL, Program
from tarantoolserver import TarantoolServer
from waiting import wait_for

import flyball.engines.tarantool  # noqa: F401 - its Lua is read now: the program runs in a loop
from flyball import Connecting, Credentials

TEXT = (Path(__file__).parents[2] / "docs" / "engines.md").read_text()


def block(language, section="NATS"):
    text = TEXT[TEXT.index(f"## {section}") :]
    return re.search(rf"```{language}\n(.*?)```", text, re.DOTALL)[1]


@pytest.fixture
def nats():
    server = NatsServer(jetstream=True, kind="wheel")
    yield server
    server.stop()


def test_configuration(nats, tmp_path):
    config = json.loads(block("json"))
    config["broker"]["nats"]["url"] = nats.url
    with serving(config, tmp_path) as url:
        assert published(url, "news:1") == 1


@contextlib.contextmanager
def serving(config, folder):
    """A healthy server with that configuration; its address."""
    config = {**config, "http_api": {"insecure": True}, "prometheus": {"enabled": True}}
    file, port = folder / "config.json", free_port()
    file.write_text(json.dumps(config))
    with Program(str(FLYBALL), "-c", str(file), "--http_server.port", str(port)) as server:
        server.wait_for(lambda: '"started"' in server.output)
        url = f"http://127.0.0.1:{port}"
        wait_for(lambda: urllib.request.urlopen(f"{url}/health").status == 200, "health")
        yield url


def published(url, channel):
    """The offset of a publication."""
    body = json.dumps({"channel": channel, "data": {}}).encode()
    answer = urllib.request.urlopen(urllib.request.Request(f"{url}/api/publish", body)).read()
    return json.loads(answer)["result"]["offset"]


async def test_program(nats):
    await run_program(block("python").replace("nats://127.0.0.1:4222", nats.url))


async def run_program(text):
    names = {}
    exec(text, names)
    node = names["node"]

    @node.on_connecting
    def who(event: Connecting) -> Credentials:
        return Credentials("u")

    await node.start()
    try:
        result = await node.publish("ch", {"a": 1}, history_size=2, history_ttl=60)
        assert result.offset == 1
    finally:
        await node.shutdown()


@pytest.fixture(scope="module")
def postgres():
    server = PostgresServer()
    yield server
    server.stop()


DSN = "postgres://flyball:secret@127.0.0.1:5432/app"


def test_configuration_of_postgres(postgres, tmp_path):
    text = block("json", "PostgreSQL")
    assert text.count(DSN) == 2
    postgres.ask("CREATE TABLE orders (id integer, state text); INSERT INTO orders VALUES (42, '')")
    with serving(json.loads(text.replace(DSN, postgres.url)), tmp_path) as url:
        assert published(url, "orders:42") == 1
        postgres.ask(block("sql", "PostgreSQL"))
        assert published(url, "orders:42") == 3
        metrics = urllib.request.urlopen(f"{url}/metrics").read().decode()
    assert 'centrifugo_broker_postgres_partitions{broker_name="stream"} 3' in metrics
    assert 'outbox_cursor_lag_seconds{broker_name="stream",shard="7"} 0' in metrics
    assert 'cleanup_removed_total{broker_name="stream",pass="stream"} 0' in metrics


async def test_program_of_postgres(postgres):
    await run_program(block("python", "PostgreSQL").replace(DSN, postgres.url))


BOSS = """
box.schema.user.create('admin2', {if_not_exists = true, password = 'secret'})
box.schema.user.grant('admin2', 'super', nil, nil, {if_not_exists = true})
"""


@pytest.fixture
def tarantool():
    """With the user that the page makes; the page's administrator is another one here."""
    server = TarantoolServer(guest=False, setup=BOSS + block("lua", "Tarantool"))
    yield server
    server.stop()


def test_configuration_of_tarantool(tarantool, tmp_path):
    config = installed(tarantool, tmp_path)
    with serving(config, tmp_path) as url:
        assert published(url, "news:1") == 1


def installed(tarantool, folder):
    """The configuration of the page; the module is installed as it says."""
    config = json.loads(block("json", "Tarantool"))
    config["engine"]["tarantool"]["address"] = [tarantool.url]
    command = block("sh", "Tarantool").splitlines()[-1].replace("--user admin", "--user admin2")
    (folder / "config.json").write_text(json.dumps(config))
    done = subprocess.run(
        [str(FLYBALL), *command.split()[1:]],
        cwd=folder,
        env={**os.environ, "FLYBALL_TARANTOOL_PASSWORD": "secret"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.endswith(": the module is installed; flyball may call it\n")
    return config


async def test_program_of_tarantool(tarantool, tmp_path):
    await asyncio.to_thread(installed, tarantool, tmp_path)
    place = tarantool.url.removeprefix("tcp://")
    await run_program(block("python", "Tarantool").replace("127.0.0.1:3301", place))

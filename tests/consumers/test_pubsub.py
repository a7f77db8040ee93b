"""What only subscriptions of Google Pub/Sub have: attributes, ordering keys, keys of accounts."""

import asyncio
import json

import pytest
from consumer_world import World, publish, told, world
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from pubsubserver import PROJECT, SUBSCRIPTION, PubSubServer
from waiting import until

import flyball.server.consumers.pubsub  # noqa: F401 - a server imports it before it serves
from flyball.core.errors import ConfigError
from flyball.server.config import ConfigProblems
from flyball.server.consumers.errors import SourceError


@pytest.fixture(scope="module")
def running():
    found = PubSubServer()
    yield found
    found.stop()


@pytest.fixture
def server(running, monkeypatch):
    monkeypatch.setenv("PUBSUB_EMULATOR_HOST", running.host)
    running.clear()
    return running


def entry(**options):
    section = {"project_id": PROJECT, "subscriptions": [SUBSCRIPTION], **options}
    return {"type": "google_pub_sub", "google_pub_sub": section}


def command(*what):
    method, payload = what
    return json.dumps({"method": method, "payload": payload}).encode(), {}


async def put(server, *messages, **where):
    await asyncio.to_thread(server.put, messages, **where)


async def emptied(server, name=SUBSCRIPTION):
    async with asyncio.timeout(60):
        while await asyncio.to_thread(server.left, name):
            await asyncio.sleep(0.02)


async def test_messages_without_a_key_do_not_wait_for_each_other(server, tmp_path):
    async with world(tmp_path, entry(method_attribute="m")) as w:
        stuck = (json.dumps(publish(0, "broken")[1]).encode(), {"m": "publish"})
        await put(server, stuck, *(command(*publish(n)) for n in range(30)))
        assert sorted(await w.seen("ch", 30)) == list(range(30))
        await until(lambda: w.broker.failures >= 4), "it was given back, and came again"
        assert await asyncio.to_thread(server.left) == 1


async def test_publication_data_mode(server, tmp_path):
    mode = {"enabled": True, "channels_attribute": "to"}
    async with world(tmp_path, entry(publication_data_mode=mode)) as w:
        await put(server, (b'{"n":5}', {"to": "a,b", "centrifugo-tag-x": "1"}))
        assert await w.seen("a", 1) == await w.seen("b", 1) == [5]
        assert w.broker.published[0][2].tags == {"x": "1"}
        await put(server, (b'{"n":6}', {}), (b'{"n":7}', {"to": "a", "centrifugo-delta": "x"}))
        await emptied(server)
        assert w.errors == 2


async def test_no_more_is_here_than_allowed(server, tmp_path):
    async with world(tmp_path, entry(max_outstanding_messages=3)) as w:
        held = asyncio.Event()
        publishing, most = [], []

        async def slow(channel, data, options, real=w.broker.publish):
            publishing.append(channel)
            most.append(len(publishing))
            await held.wait()
            publishing.remove(channel)
            return await real(channel, data, options)

        w.broker.publish = slow
        await put(server, *(command(*publish(n, f"ch{n}")) for n in range(9)))
        await until(lambda: len(publishing) == 3)
        held.set()
        await emptied(server)
        assert max(most) == 3
        assert len(most) == 9


async def test_a_subscription_that_is_not_there_is_told_and_found_later(server, tmp_path, capsys):
    async with world(tmp_path, entry(subscriptions=["later"])) as w:
        await until(lambda: w.errors >= 2)
        await put(server, command(*publish(1)), name="later")
        assert await w.seen("ch", 1) == [1]
    assert "404 Resource not found" in capsys.readouterr().out


async def test_what_is_worked_on_for_long_stays_here(server, tmp_path, monkeypatch):
    monkeypatch.setattr("flyball.server.consumers.pubsub.consumer.LEASE", 0.3)
    monkeypatch.setattr("flyball.server.consumers.pubsub.consumer.MOST_IDS", 2)
    leases = []
    async with world(tmp_path, entry()) as w:
        client = w.consumer.start.__self__._client

        async def lease(path, ids, *more, real=client.lease):
            leases.append(len(ids))
            await real(path, ids, *more)

        client.lease = lease
        held = asyncio.Event()

        async def slow(channel, data, options, real=w.broker.publish):
            await held.wait()
            return await real(channel, data, options)

        w.broker.publish = slow
        await put(server, *(command(*publish(n)) for n in range(3)))
        await until(lambda: leases.count(2) >= 3 and leases.count(1) >= 3)
        held.set()
        assert sorted(await w.seen("ch", 3)) == [0, 1, 2]
        await emptied(server)


def key_file(tmp_path):
    """The key of a service account that nobody has."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    pem = key.private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )
    file = tmp_path / "key.json"
    content = {
        "type": "service_account",
        "client_email": "reader@project.iam.gserviceaccount.com",
        "private_key": pem.decode(),
        "token_uri": "http://127.0.0.1:9/token",
    }
    file.write_text(json.dumps(content))
    return file


async def test_a_service_account_signs_in_with_its_key(tmp_path):
    options = {"auth_mechanism": "service_account", "credentials_file": str(key_file(tmp_path))}
    found = World(tmp_path / "config.json", entry(**options)).consumer
    credentials = await found.start.__self__._client._who()
    assert credentials.service_account_email == "reader@project.iam.gserviceaccount.com"
    assert credentials.scopes == ("https://www.googleapis.com/auth/pubsub",)


async def test_a_token_that_is_not_to_be_had_is_told(tmp_path, monkeypatch, capsys):
    monkeypatch.delenv("PUBSUB_EMULATOR_HOST", raising=False)
    options = {"auth_mechanism": "service_account", "credentials_file": str(key_file(tmp_path))}
    monkeypatch.setattr(
        "google.oauth2.service_account.Credentials.refresh",
        lambda *_: pytest.fail("no test may ask Google"),
    )
    del options["auth_mechanism"]
    monkeypatch.setenv("NO_GCE_CHECK", "true")
    monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "missing"))
    async with world(tmp_path, entry(**options)) as w:
        await until(lambda: w.errors >= 2)
    assert f"File {tmp_path / 'missing'} was not found" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"subscriptions": ["projects/p/subscriptions/s"]}, "subscriptions: 'projects/p/subsc"),
        ({"subscriptions": ["sss", "sss"]}, "subscriptions: one of them stands there twice"),
        ({"project_id": "a b"}, "project_id: 'a b' is no id of a project"),
        (
            {"max_outstanding_messages": -1},
            "max_outstanding_messages: -1 is not allowed; it must be above 0",
        ),
        (
            {"max_outstanding_bytes": -1},
            "max_outstanding_bytes: -1 is not allowed; it must be above 0",
        ),
        ({"credentials_file": "/nonexistent"}, "credentials_file: '/nonexistent' cannot be used"),
        ({"credentials_file": __file__}, f"credentials_file: {__file__!r} cannot be used: it is"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused(options, said, tmp_path):
    if "credentials_file" in options:
        options = {"auth_mechanism": "service_account", **options}
    with pytest.raises(ConfigProblems) as error:
        World(tmp_path / "config.json", entry(**options))
    assert told(error.value).startswith(f"consumers[0].google_pub_sub.{said}")


def test_what_was_read_of_a_key_is_not_told(tmp_path):
    file = key_file(tmp_path)
    content = json.loads(file.read_text())
    content["private_key"] = "never-to-be-shown"
    file.write_text(json.dumps(content))
    options = {"auth_mechanism": "service_account", "credentials_file": str(file)}
    with pytest.raises(ConfigError) as error:
        World(tmp_path / "config.json", entry(**options))
    assert "never-to-be-shown" not in str(error.value)


async def test_what_could_not_be_acknowledged_is_not_done_twice(server, tmp_path):
    async with world(tmp_path, entry()) as w:
        client = w.consumer.start.__self__._client
        real = client.acknowledge
        refused = asyncio.Event()

        async def fails(*_):
            refused.set()
            raise SourceError("out of reach")

        client.acknowledge = fails
        await put(server, command(*publish(1)))
        await refused.wait()
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await put(server, command(*publish(2)))
        await w.seen("ch", 2)
        client.acknowledge = real
        await emptied(server)
        assert w.broker.numbers("ch") == [1, 2]

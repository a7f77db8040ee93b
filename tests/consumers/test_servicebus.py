"""What only queues of Azure Service Bus have: properties, abandoned messages, identities."""

import asyncio
import functools
import json
import time

import pytest
from azure.core.credentials import AccessToken
from azure.identity.aio import ClientSecretCredential
from azure.servicebus.aio import ServiceBusClient, ServiceBusReceiver
from azure.servicebus.amqp import AmqpAnnotatedMessage
from azure.servicebus.exceptions import ServiceBusError
from consumer_world import World, publish, told, world
from servicebusserver import KEY, BusServer
from waiting import until

import flyball.server.consumers.servicebus.client as client
from flyball.server.config import ConfigProblems


@pytest.fixture(scope="module")
def running():
    found = BusServer()
    yield found
    found.stop()


@pytest.fixture
def server(running):
    running.clear()
    return running


def entry(server, **options):
    section = {"connection_string": server.connection_string, "queues": ["plain"], **options}
    return {"type": "azure_service_bus", "azure_service_bus": section}


def command(*what, **properties):
    method, payload = what
    return json.dumps({"method": method, "payload": payload}), properties


async def put(server, *messages, **where):
    await asyncio.to_thread(server.put, messages, queue="plain", **where)


async def emptied(server):
    async with asyncio.timeout(60):
        while await asyncio.to_thread(server.left, "plain"):
            await asyncio.sleep(0.02)


async def test_a_message_is_abandoned_after_five_attempts_and_comes_again(server, tmp_path):
    async with world(tmp_path, entry(server, max_concurrent_calls=2, method_property="m")) as w:
        await put(server, (json.dumps(publish(0, "broken")[1]), {"m": "publish"}))
        await put(server, *(command(*publish(n)) for n in range(10)))
        assert sorted(await w.seen("ch", 10)) == list(range(10)), "others do not wait"
        await until(lambda: w.broker.failures >= 6)
        told = await asyncio.to_thread(server.ask, queue="plain")
        assert told["left"] == 1
        assert told["deliveries"] >= 1


async def test_many_at_once(server, tmp_path):
    async with world(tmp_path, entry(server, max_receive_messages=20)) as w:
        await put(server, *(command(*publish(n)) for n in range(60)))
        assert sorted(await w.seen("ch", 60)) == list(range(60))
        await emptied(server)
        assert w.errors == 0


async def test_publication_data_mode_and_properties_that_are_no_strings(server, tmp_path, capsys):
    mode = {"enabled": True, "channels_property": "to"}
    async with world(tmp_path, entry(server, publication_data_mode=mode)) as w:
        await put(server, ('{"n":5}', {"to": "a,b", "centrifugo-tag-x": "1", "other": 7}))
        assert await w.seen("a", 1) == await w.seen("b", 1) == [5]
        assert w.broker.published[0][2].tags == {"x": "1"}
        await put(server, ('{"n":6}', {"to": "a", "centrifugo-delta": True}))
        await put(server, ('{"n":7}', {"to": "a", "centrifugo-tag-x": 1}))
        await emptied(server)
        await until(lambda: w.processed == 3)
        assert w.errors == 2
    said = capsys.readouterr().out
    assert "property 'centrifugo-delta' is of type bool; strings are allowed" in said


async def test_an_application_is_known_by_its_secret(server, tmp_path, monkeypatch):
    asked = []

    async def token(self, *scopes, **_):
        asked.append((self._client_id, scopes))
        return AccessToken("token", int(time.time()) + 3600)

    monkeypatch.setattr(ClientSecretCredential, "get_token", token)
    # The bus of a test has no TLS, and a port of its own.
    found = functools.partial(ServiceBusClient, use_tls=False)
    host = f"127.0.0.1:{server.port}"
    monkeypatch.setattr(client, "ServiceBusClient", lambda _, *more, **k: found(host, *more, **k))
    identity = {
        "use_azure_identity": True,
        "fully_qualified_namespace": "bus.servicebus.windows.net",
        "tenant_id": "tenant",
        "client_id": "client",
        "client_secret": KEY,
    }
    async with world(tmp_path, entry(server, connection_string="", **identity)) as w:
        await put(server, command(*publish(1)))
        assert await w.seen("ch", 1) == [1]
    assert asked[0] == ("client", ("https://servicebus.azure.net//.default",))


async def test_a_session_is_left_to_others_when_it_has_no_more(server, tmp_path):
    options = {"use_sessions": True, "max_receive_messages": 3}
    async with world(tmp_path, entry(server, **options)) as w:
        for session in "abc":
            messages = [command(*publish(n, session)) for n in range(10)]
            await put(server, *messages, session=session)
        for session in "abc":
            assert await w.seen(session, 10) == list(range(10))
        await emptied(server)


def identity(**options):
    names = ("fully_qualified_namespace", "tenant_id", "client_id", "client_secret")
    return {"use_azure_identity": True, **dict.fromkeys(names, "x"), **options}


GOOD = "Endpoint=sb://bus.servicebus.windows.net/;SharedAccessKeyName=n;SharedAccessKey=" + KEY


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"connection_string": KEY}, "connection_string: Connection string is either blank or"),
        ({"connection_string": GOOD + ";EntityPath=q"}, "connection_string: it is for the queue"),
        ({"connection_string": GOOD, "queues": ["q", "q"]}, "queues: one of them stands there"),
        ({"connection_string": GOOD, "queues": [" "]}, "queues: a name is empty"),
        (
            {"connection_string": GOOD, "max_concurrent_calls": -1},
            "max_concurrent_calls: -1 is not allowed",
        ),
        (
            {"connection_string": GOOD, "max_receive_messages": -1},
            "max_receive_messages: -1 is not allowed",
        ),
        (identity(fully_qualified_namespace="sb://x/"), "fully_qualified_namespace: 'sb://x/' is"),
        (identity(tenant_id="no tenant"), "tenant_id: "),
    ],
    ids=str,
)
def test_wrong_options_are_refused(options, said, tmp_path):
    section = {"queues": ["plain"], **options}
    with pytest.raises(ConfigProblems) as error:
        World(tmp_path / "config.json", {"type": "azure_service_bus", "azure_service_bus": section})
    assert told(error.value).startswith(f"consumers[0].azure_service_bus.{said}")
    assert KEY not in str(error.value)


async def test_what_comes_again_though_it_was_done_is_not_done_twice(server, tmp_path, monkeypatch):
    complete = ServiceBusReceiver.complete_message
    failures = []

    async def fails(self, message):
        if not failures:
            failures.append(message)
            raise ServiceBusError("the link is lost")
        await complete(self, message)

    monkeypatch.setattr(ServiceBusReceiver, "complete_message", fails)
    async with world(tmp_path, entry(server, use_sessions=True)) as w:
        await put(server, command(*publish(1)), command(*publish(2)), session="s")
        assert await w.seen("ch", 2) == [1, 2]
        await emptied(server)
        assert w.broker.numbers("ch") == [1, 2]
        assert w.errors == 1


async def test_bodies_that_are_text_and_those_that_are_no_data(server, tmp_path, capsys):
    async with world(tmp_path, entry(server)) as w:
        await asyncio.to_thread(
            server.send,
            "plain",
            [
                AmqpAnnotatedMessage(value_body=command(*publish(1))[0]),
                AmqpAnnotatedMessage(value_body=command(*publish(2))[0].encode()),
                AmqpAnnotatedMessage(value_body=7),
                AmqpAnnotatedMessage(sequence_body=[["a"]]),
            ],
        )
        assert sorted(await w.seen("ch", 2)) == [1, 2]
        await emptied(server)
        await until(lambda: w.processed == 4)
        assert w.errors == 2
    assert "its body is no data" in capsys.readouterr().out

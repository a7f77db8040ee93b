"""What only queues of AWS SQS have: envelopes, attributes, roles, messages that come again."""

import asyncio
import json

import pytest
from consumer_world import World, publish, told, world
from sqsserver import ENVIRONMENT, REGION, SqsServer
from sqsstandin import ROLE_KEY
from waiting import until

import flyball.server.consumers.sqs  # noqa: F401 - a server imports it before it serves
from flyball.core.errors import ConfigError
from flyball.server.config import ConfigProblems


@pytest.fixture(scope="module")
def server():
    found = SqsServer()
    yield found
    found.stop()


@pytest.fixture(autouse=True)
def somebody(monkeypatch):
    for name, value in ENVIRONMENT.items():
        monkeypatch.setenv(name, value)


@pytest.fixture
def queue(server):
    """The URL of a standard queue, which is empty."""
    return server.make("standard")


def entry(server=None, **options):
    section = {"region": REGION, "wait_time_time": "5s", "visibility_timeout": "1s", **options}
    if server is not None:
        section["localstack_endpoint"] = server.endpoint
    return {"type": "aws_sqs", "aws_sqs": section}


def envelope(*command):
    method, payload = command
    return json.dumps({"method": method, "payload": payload})


async def put(server, queue, *messages):
    await asyncio.to_thread(server.put, messages, url=queue)


async def emptied(server, queue):
    async with asyncio.timeout(60):
        while await asyncio.to_thread(server.left, queue):
            await asyncio.sleep(0.02)


async def test_the_method_is_an_attribute_or_stands_in_the_body(server, queue, tmp_path):
    async with world(tmp_path, entry(server, queues=[queue], method_attribute="m")) as w:
        await put(server, queue, (json.dumps(publish(1)[1]), {"m": "publish"}))
        await put(server, queue, (envelope(*publish(2)), {}))
        assert sorted(await w.seen("ch", 2)) == [1, 2]
        await emptied(server, queue)


async def test_notifications_of_sns_are_unwrapped_and_what_is_none_is_deleted(
    server, queue, tmp_path
):
    bodies = ["no JSON", '{"Type": "Notification"}', json.dumps({"Message": envelope(*publish(1))})]
    async with world(tmp_path, entry(server, queues=[queue], sns_envelope=True)) as w:
        await put(server, queue, *((body, {}) for body in bodies))
        assert await w.seen("ch", 1) == [1]
        await emptied(server, queue)
        await until(lambda: w.processed == 3)
        assert w.errors == 2


async def test_publication_data_mode(server, queue, tmp_path):
    mode = {"enabled": True, "channels_attribute": "to", "tags_attribute_prefix": "t-"}
    async with world(tmp_path, entry(server, queues=[queue], publication_data_mode=mode)) as w:
        given = {"to": "a,b", "t-x": "1", "centrifugo-version": "7"}
        await put(server, queue, ('{"n":5}', given))
        assert await w.seen("a", 1) == await w.seen("b", 1) == [5]
        assert w.broker.published[0][1] == b'{"n":5}'
        assert w.broker.published[0][2].tags == {"x": "1"}
        assert w.broker.published[0][2].version == 7


async def test_a_message_is_left_after_three_attempts_and_comes_again(server, queue, tmp_path):
    async with world(tmp_path, entry(server, queues=[queue])) as w:
        first = (json.dumps(publish(0, "broken")[1]), {"centrifugo-method": "publish"})
        await put(server, queue, first, (envelope(*publish(1)), {}))
        assert await w.seen("ch", 1) == [1], "others do not wait"
        assert w.broker.failures == 3
        await until(lambda: w.broker.failures >= 6)
        assert await asyncio.to_thread(server.left, queue) == 1


async def test_what_could_not_be_deleted_is_not_done_twice(server, queue, tmp_path):
    await asyncio.to_thread(server.fail, DeleteMessageBatch=3)
    async with world(tmp_path, entry(server, queues=[queue])) as w:
        await put(server, queue, (envelope(*publish(1)), {}))
        await emptied(server, queue)
        assert w.broker.numbers("ch") == [1]
        assert w.errors == 3


async def test_a_queue_that_is_not_there_is_told_and_found_later(server, queue, tmp_path, capsys):
    url = queue.replace("standard", "later")
    async with world(tmp_path, entry(server, queues=[url])) as w:
        await until(lambda: w.errors >= 2)
        await asyncio.to_thread(server.make, "later")
        await put(server, url, (envelope(*publish(1)), {}))
        assert await w.seen("ch", 1) == [1]
    assert "QueueDoesNotExist" in capsys.readouterr().out


async def test_queues_and_loops_beside_each_other(server, queue, tmp_path):
    fifo = await asyncio.to_thread(server.make, "more.fifo")
    options = {"queues": [queue, fifo], "max_concurrency": 3}
    async with world(tmp_path, entry(server, **options)) as w:
        for group in "abc":
            messages = [(envelope(*publish(n, group)), {}) for n in range(40)]
            await asyncio.to_thread(server.put, messages, url=fifo, group=group)
        await put(server, queue, *((envelope(*publish(n, "any")), {}) for n in range(40)))
        for group in "abc":
            assert await w.seen(group, 40) == list(range(40))
        assert sorted(await w.seen("any", 40)) == list(range(40))


async def test_a_role_is_assumed(server, queue, tmp_path):
    role = "arn:aws:iam::123456789012:role/reader"
    server.kill()
    server.start()
    async with world(tmp_path, entry(server, queues=[queue], assume_role_arn=role)) as w:
        await asyncio.to_thread(server.make, "standard")
        await put(server, queue, (envelope(*publish(1)), {}))
        assert await w.seen("ch", 1) == [1]
        keys = await asyncio.to_thread(server.keys)
        assert keys == {"somebody", ROLE_KEY, "a-test"}


async def test_without_credentials_it_says_so_and_looks_for_them_again(
    server, queue, tmp_path, monkeypatch, capsys
):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    async with world(tmp_path, entry(server, queues=[queue])) as w:
        await until(lambda: w.errors >= 2)
        monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
        await put(server, queue, (envelope(*publish(1)), {}))
        assert await w.seen("ch", 1) == [1]
    said = capsys.readouterr().out
    assert "there are no credentials for AWS" in said
    assert ENVIRONMENT["AWS_SECRET_ACCESS_KEY"] not in said


async def test_a_profile_has_credentials_and_a_region(server, queue, tmp_path, monkeypatch):
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    (tmp_path / "aws").write_text(
        f"[profile reader]\naws_access_key_id = a\naws_secret_access_key = b\nregion = {REGION}\n"
    )
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    options = {"queues": [queue], "credentials_profile": "reader", "region": ""}
    async with world(tmp_path, entry(server, **options)) as w:
        await put(server, queue, (envelope(*publish(1)), {}))
        assert await w.seen("ch", 1) == [1]


URL = "https://sqs.eu-west-1.amazonaws.com/123456789012/name"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"queues": ["name"]}, "queues: 'name' is no URL of a queue"),
        ({"queues": [URL, URL]}, "queues: one of them stands there twice"),
        (
            {"max_number_of_messages": 11},
            "max_number_of_messages: 11 is not allowed; a whole number from 1",
        ),
        (
            {"wait_time_time": "21s"},
            "wait_time_time: 21 s is not allowed; a whole number from 0 to 20 s",
        ),
        ({"wait_time_time": "1500ms"}, "wait_time_time: 1.5 s is not allowed; a whole number"),
        (
            {"visibility_timeout": "500ms"},
            "visibility_timeout: 0.5 s is not allowed; a whole number from 1",
        ),
        ({"max_concurrency": -1}, "max_concurrency: -1 is not allowed; a whole number from 1"),
        ({"localstack_endpoint": "localhost:4566"}, "localstack_endpoint: 'localhost:4566' is no"),
        ({"assume_role_arn": "reader"}, "assume_role_arn: 'reader' is no ARN"),
        ({"credentials_profile": "nobody"}, "credentials_profile: The config profile (nobody)"),
        ({"region": ""}, "region: is empty, and neither AWS_REGION nor the profile names one"),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_wrong_options_are_refused(options, said, tmp_path, monkeypatch):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    given = {"queues": [URL], "region": REGION, **options}
    with pytest.raises(ConfigProblems) as error:
        World(tmp_path / "config.json", {"type": "aws_sqs", "aws_sqs": given})
    assert told(error.value).startswith(f"consumers[0].aws_sqs.{said}")


def test_settings_of_aws_that_cannot_be_read(tmp_path, monkeypatch):
    (tmp_path / "aws").write_text("no [settings")
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "aws"))
    with pytest.raises(
        ConfigError, match=r"credentials_profile \(.*\): Unable to parse config file"
    ):
        World(tmp_path / "config.json", {"type": "aws_sqs", "aws_sqs": {"queues": [URL]}})


async def test_a_consumer_that_stops_gives_back_what_it_has_not_done(server, tmp_path):
    fifo = await asyncio.to_thread(server.make, "stopped.fifo")
    options = {"queues": [fifo], "visibility_timeout": "600s"}
    held, begun = asyncio.Event(), asyncio.Event()
    async with world(tmp_path, entry(server, **options)) as first:
        publish_now = first.broker.publish

        async def slow(*what):
            begun.set()
            await held.wait()
            return await publish_now(*what)

        first.broker.publish = slow
        await put(server, fifo, *((envelope(*publish(n)), {}) for n in range(5)))
        await begun.wait()
        stopping = asyncio.create_task(first.consumer.stop())
        await asyncio.sleep(0)
        held.set()
        await stopping
        assert first.broker.numbers("ch") == [0]
    async with world(tmp_path, entry(server, **options)) as second:
        assert await second.seen("ch", 4) == [1, 2, 3, 4]
        await emptied(server, fifo)

"""docs/consumers.md shows how Kafka is read: the configuration and the record are tried."""

import contextlib
import json
import re
import urllib.request
from pathlib import Path

import pytest
from kafkaclient import Topic
from kafkaserver import KafkaServer
from ports import free_port
from processes import FLYBALL, Program
from waiting import wait_for

TEXT = (Path(__file__).parents[2] / "docs" / "consumers.md").read_text()
(SECTION,) = re.findall(r"^## Kafka\n(.*?)^## ", TEXT, re.DOTALL | re.MULTILINE)


def block(language):
    (found,) = re.findall(rf"```{language}\n(.*?)```", SECTION, re.DOTALL)
    return found


@pytest.fixture(scope="module")
def server():
    server = KafkaServer()
    yield server
    server.stop()


@contextlib.contextmanager
def running(server, folder, topic, **options):
    """Flyball with that configuration; gives what it has published in a channel."""
    config = json.loads(block("json"))
    kafka = config["consumers"][0]["kafka"]
    kafka |= {"brokers": [server.address("SASL_SSL")], "topics": [topic.name], **options}
    kafka["tls"]["server_ca_pem"] = server.certificate.decode()
    config |= {
        "http_api": {"insecure": True},
        "channel": {"without_namespace": {"history_size": 9, "history_ttl": "60s"}},
    }
    file, port = folder / "config.json", free_port()
    file.write_text(json.dumps(config))

    def published(channel):
        body = json.dumps({"channel": channel, "limit": 9}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{port}/api/history", body)
        with contextlib.suppress(OSError):  # until it has started
            result = json.loads(urllib.request.urlopen(request).read())["result"]
            return [(p["data"], p.get("tags")) for p in result["publications"]]
        return []

    with Program(str(FLYBALL), "-c", str(file), "--http_server.port", str(port)):
        yield published


def test_records_are_commands(server, tmp_path):
    topic = Topic(server.address())
    envelope = block("text").strip().encode()
    payload = json.dumps(json.loads(envelope)["payload"]).encode()
    with running(server, tmp_path, topic, consumer_group=topic.group) as published:
        topic.put(envelope)
        topic.put(payload, headers=[("centrifugo-method", b"publish")])
        wait_for(lambda: published("news") == [({"text": "hello"}, None)] * 2, "publications")
        wait_for(lambda: topic.left() == 0, "the commit")


def test_records_are_publications(server, tmp_path):
    topic = Topic(server.address())
    (mode,) = re.findall(r'`("publication_data_mode": .*?)`', SECTION)
    options = json.loads(f"{{{mode}}}")
    with running(server, tmp_path, topic, consumer_group=topic.group, **options) as published:
        headers = [("centrifugo-channels", b"news,more"), ("centrifugo-tag-kind", b"x")]
        topic.put(b'{"text": "hello"}', headers=headers)
        expected = [({"text": "hello"}, {"kind": "x"})]
        wait_for(lambda: published("news") == published("more") == expected, "publications")

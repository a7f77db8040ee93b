"""docs/consumers.md shows a configuration for each cloud: a server runs with it, on stand-ins."""

import contextlib
import json
import os
import urllib.request
from pathlib import Path

import pytest
from pages import block
from ports import free_port
from processes import FLYBALL, Program
from pubsubserver import PubSubServer
from servicebusserver import KEY, BusServer
from sqsserver import ENVIRONMENT, SqsServer
from waiting import wait_for

TEXT = (Path(__file__).parents[2] / "docs" / "consumers.md").read_text()
COMMAND = json.dumps({"channel": "news", "data": {"text": "hello"}})
METHOD = {"centrifugo-method": "publish"}


SECRETS = ("never-to-be-shown", "AWS4-HMAC-SHA256", KEY, "SharedAccessSignature")
"""Of the clients, and the start of what is made of them."""


def sqs(server, section):
    section["localstack_endpoint"] = server.endpoint
    server.put([(COMMAND, METHOD)])
    return ENVIRONMENT


def pubsub(server, section):
    server.put([(COMMAND.encode(), METHOD)])
    return {"PUBSUB_EMULATOR_HOST": server.host}


def bus(server, section):
    section["connection_string"] = server.connection_string
    server.put([(COMMAND, METHOD)], session="one")
    return {}


CLOUDS = {
    "aws_sqs": (SqsServer, sqs),
    "google_pub_sub": (PubSubServer, pubsub),
    "azure_service_bus": (BusServer, bus),
}
"""The stand-in of each, and what of the configuration has to be others', with the environment."""


def published(port):
    body = json.dumps({"channel": "news", "limit": 9}).encode()
    request = urllib.request.Request(f"http://127.0.0.1:{port}/api/history", body)
    with contextlib.suppress(OSError):  # until it has started
        result = json.loads(urllib.request.urlopen(request).read())["result"]
        return [p["data"] for p in result["publications"]]
    return []


@pytest.mark.parametrize("kind", CLOUDS)
def test_a_message_is_published(kind, tmp_path):
    config = json.loads(block(TEXT, f"clouds: {kind}", "json")) | {
        "log": {"level": "trace"},  # what could be said of a secret is said then
        "http_api": {"insecure": True},
        "channel": {"without_namespace": {"history_size": 9, "history_ttl": "60s"}},
    }
    start, fill = CLOUDS[kind]
    with contextlib.ExitStack() as stack:
        server = start()
        stack.callback(server.stop)
        environment = fill(server, config["consumers"][0][kind])
        file, port = tmp_path / "config.json", free_port()
        file.write_text(json.dumps(config))
        arguments = ("-c", str(file), "--http_server.port", str(port))
        program = stack.enter_context(
            Program(str(FLYBALL), *arguments, env={**os.environ, **environment})
        )
        wait_for(lambda: published(port) == [{"text": "hello"}], "the publication")
        wait_for(lambda: server.left() == 0, "the end of the message")
        assert program.stop() == 0
        assert not [secret for secret in SECRETS if secret in program.output]
        assert '"level":"error"' not in program.output

"""docs/consumers.md shows configurations of sources that are streams, and messages: they are run."""

import contextlib
import json
import re
import shlex
import subprocess
import sys
import urllib.request
from pathlib import Path

from natsserver import NatsServer
from ports import free_port
from processes import FLYBALL, Program
from redisservers import RedisServer
from waiting import wait_for

TEXT = (Path(__file__).parents[2] / "docs" / "consumers.md").read_text()


def blocks(title, language):
    """The blocks of one section."""
    (section,) = re.findall(rf"^## {title}\n(.*?)(?=^## )", TEXT, re.DOTALL | re.MULTILINE)
    return re.findall(rf"```{language}\n(.*?)```", section, re.DOTALL)


class Server:
    """A server with the configuration of the page, and what its channels keep."""

    def __init__(self, tmp_path, text, changes=()):
        self.port = free_port()
        config = json.loads(text) | {
            "http_api": {"insecure": True},
            "channel": {"without_namespace": {"history_size": 9, "history_ttl": "60s"}},
        }
        (entry,) = config["consumers"]
        entry[entry["type"]].update(changes)
        file = tmp_path / f"{self.port}.json"
        file.write_text(json.dumps(config))
        arguments = ("-c", str(file), "--http_server.port", str(self.port))
        self.program = Program(str(FLYBALL), *arguments)

    def published(self, channel):
        """Publications in a channel."""
        body = json.dumps({"channel": channel, "limit": 9}).encode()
        request = urllib.request.Request(f"http://127.0.0.1:{self.port}/api/history", body)
        with contextlib.suppress(OSError):  # until it has started
            return json.loads(urllib.request.urlopen(request).read())["result"]["publications"]
        return []

    def stop(self):
        self.program.stop()


def words(command):
    """Of a command as the page has it: JSON in it is one word."""
    lexer = shlex.shlex(command.strip(), posix=False)
    lexer.whitespace_split = True
    return list(lexer)


def test_entries_are_published(tmp_path):
    (text,) = blocks("Redis streams", "json")
    command, publication = blocks("Redis streams", "redis")
    redis = RedisServer()
    text = text.replace("redis://127.0.0.1:6379", redis.url)
    try:
        for entry, mode in ((command, False), (publication, True)):
            server = Server(tmp_path, text, {"publication_data_mode": {"enabled": mode}})
            try:
                wait_for(lambda: redis.ask("EXISTS", "commands"), "stream")
                wait_for(lambda: redis.ask("XINFO", "GROUPS", "commands"), "group")
                redis.ask(*words(entry))
                wait_for(lambda s=server: s.published("news"), "the publication")
                (found,) = server.published("news")
                assert found["data"] == {"text": "hello"}
                assert found.get("tags") == ({"kind": "greeting"} if mode else None)
                assert len(server.published("sport")) == mode
            finally:
                server.stop()
    finally:
        redis.stop()


def test_messages_are_published(tmp_path):
    (text,) = blocks("NATS JetStream", "json")
    (program,) = blocks("NATS JetStream", "python")
    nats = NatsServer(jetstream=True)
    text, program = (t.replace("nats://127.0.0.1:4222", nats.url) for t in (text, program))
    try:
        subprocess.run([sys.executable, "-c", program], check=True)
        server = Server(tmp_path, text)
        try:
            wait_for(lambda: server.published("news"), "the publication")
            assert [p["data"] for p in server.published("news")] == [{"text": "hello"}]
        finally:
            server.stop()
    finally:
        nats.stop()

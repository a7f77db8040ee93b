"""docs/consumers.md shows a table, a configuration and a transaction: they are run."""

import contextlib
import json
import re
import urllib.request
from pathlib import Path

from ports import free_port
from postgres import PostgresServer
from processes import FLYBALL, Program
from waiting import wait_for

TEXT = (Path(__file__).parents[2] / "docs" / "consumers.md").read_text()
DSN = "postgres://flyball:secret@127.0.0.1:5432/app"


def blocks(language):
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


def test_a_row_is_published(tmp_path):
    table, transaction = blocks("sql")
    text = next(block for block in blocks("json") if '"type": "postgresql"' in block)
    with contextlib.ExitStack() as stack:
        server = PostgresServer()
        stack.callback(server.stop)
        server.ask(table)
        config = json.loads(text.replace(DSN, server.url))
        config |= {
            "http_api": {"insecure": True},
            "channel": {"without_namespace": {"history_size": 9, "history_ttl": "60s"}},
        }
        file, port = tmp_path / "config.json", free_port()
        file.write_text(json.dumps(config))
        arguments = ("-c", str(file), "--http_server.port", str(port))
        stack.enter_context(Program(str(FLYBALL), *arguments))
        server.ask(transaction)

        def published():
            body = json.dumps({"channel": "news", "limit": 9}).encode()
            request = urllib.request.Request(f"http://127.0.0.1:{port}/api/history", body)
            with contextlib.suppress(OSError):  # until it has started
                result = json.loads(urllib.request.urlopen(request).read())["result"]
                return [p["data"] for p in result["publications"]]
            return []

        wait_for(lambda: published() == [{"text": "hello"}], "the publication")
        left = "SELECT count(*) FROM centrifugo_outbox"
        wait_for(lambda: server.ask(left).strip() == "0", "the end of the transaction")

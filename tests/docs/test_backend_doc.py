"""docs/backend.md: its backend and its configuration work, its tables and numbers are true."""

import json
import re
import sys

import aiohttp
import pytest
from pages import block
from ports import accepts, free_port
from processes import FLYBALL, ROOT, Program
from waiting import until

from flyball.server.channels.overrides import OVERRIDES
from flyball.server.config import check, load_config
from flyball.server.proxies import grpc, http, kinds
from flyball.server.proxies.calls import KEPT_AFTER_FAILURE
from flyball.server.proxies.options import BackendOptions, GrpcOptions

TEXT = (ROOT / "docs" / "backend.md").read_text()
WORDS = " ".join(TEXT.split())
QUESTIONS = {
    q.kind.value: q
    for q in (
        *(kinds.CONNECT, kinds.REFRESH, kinds.SUBSCRIBE),
        *(kinds.PUBLISH, kinds.SUB_REFRESH, kinds.RPC),
    )
}
OF_EVERY_QUESTION = {"client", "transport", "protocol", "encoding", "user"}
UNUSED = {"labels", "token", "caps", "allow", "server_tags_filter"}
"""Fields of the original's paid edition, and those that are always empty."""


async def test_the_first_backend(tmp_path):
    (tmp_path / "backend.py").write_text(block(TEXT, "backend"))
    port, own = free_port(), free_port()
    config = block(TEXT, "config").replace("127.0.0.1:3000", f"127.0.0.1:{port}")
    (tmp_path / "config.json").write_text(config)
    uvicorn = (sys.executable, "-m", "uvicorn", "backend:app", "--port", str(port))
    server = (FLYBALL, "-c", "config.json", "--http_server.port", str(own))
    with Program(*uvicorn, cwd=tmp_path), Program(*server, cwd=tmp_path) as flyball:
        await until(lambda: accepts(port) and accepts(own), "both")
        url = f"ws://127.0.0.1:{own}/connection/websocket"
        async with aiohttp.ClientSession() as session:
            async with session.ws_connect(url, headers={"X-User": "ann"}) as ann:
                await ann.send_json({"id": 1, "connect": {}})
                assert "inbox:ann" in (await ann.receive_json())["connect"]["subs"]
                await ann.send_json({"id": 2, "rpc": {"method": "hello", "data": {}}})
                answer = (await ann.receive_json())["rpc"]["data"]
                assert answer == {"you": "ann", "called": "hello"}
            async with session.ws_connect(url) as nobody:
                await nobody.send_json({"id": 1, "connect": {}})
                await nobody.receive()
                assert nobody.close_code == 4501
        assert flyball.stop() == 0


def fields(cell):
    return set(re.findall(r"`(\w+)`", cell))


def test_the_table_of_fields():
    rows = re.findall(r"^\| `(\w+)` \| (`.*?) \| (`.*) \|$", TEXT, re.MULTILINE)
    table = {kind: (fields(asks), fields(result)) for kind, asks, result in rows}
    assert set(table) == set(QUESTIONS)
    for kind, question in QUESTIONS.items():
        asks, result = table[kind]
        result_type = question.response.__annotations__["result"].split(" ")[0]
        struct = getattr(kinds.m, result_type)
        assert asks == plain(question.request) - OF_EVERY_QUESTION, kind
        assert result == plain(struct), kind


def plain(struct):
    """Names of its fields that are of use, without those in base64."""
    return {n for n in struct.__struct_fields__ if not n.startswith("b64")} - UNUSED


def test_overrides():
    (told,) = re.findall(r"for one subscription: (.*?), each as", WORDS)
    assert fields(told) == set(OVERRIDES)


@pytest.mark.parametrize(
    "sentence",
    [
        f"An answer may have {http.MAX_ANSWER_SIZE >> 20} MiB",
        f"A backend gets {BackendOptions.__dataclass_fields__['max_in_flight'].default} questions",
        f"Up to {BackendOptions.__dataclass_fields__['max_waiting'].default:,} more wait",
        f"for at most {BackendOptions.__dataclass_fields__['max_wait'].default:g} s",
        f"has {BackendOptions.__dataclass_fields__['max_streams'].default:,} open streams",
        f"pinged every {grpc.KEEPALIVE / 60_000:g} minutes",
        f"within {grpc.KEEPALIVE_TIMEOUT / 1000:g} s is gone",
        f"for another {KEPT_AFTER_FAILURE:g} seconds",
        f"`timeout` ({GrpcOptions.__dataclass_fields__['timeout'].default:g} s)",
    ],
)
def test_numbers(sentence):
    assert sentence in WORDS


@pytest.mark.parametrize("name", ["http.json", "grpc.json"])
def test_the_examples_configure_what_the_page_says(name, tmp_path):
    path = tmp_path / name
    path.write_text((ROOT / "examples" / "backends" / name).read_text())
    check(load_config(path, environ={}).config)
    assert f"examples/backends/{name}" in TEXT


def test_the_configuration_is_one(tmp_path):
    path = tmp_path / "config.json"
    path.write_text(block(TEXT, "config"))
    check(load_config(path, environ={}).config)
    assert json.loads(block(TEXT, "config"))["rpc"]

"""Captured WebSocket connections over HTTP/2, and what TLS clients of HTTP/1.1 get beside it."""

import asyncio
from pathlib import Path

import h2.settings
import pytest
from golden_replay import Stage, load_rows, sorted_headers
from golden_socket import frame, http
from golden_tables import DIFFERENT_ELSEWHERE, ELSEWHERE
from streamclients import Stream, dial_h2, trusting

ROWS, CONFIGS = load_rows(Path(__file__).parent / "wire-examples.jsonl")
ENVIRON = next(r["env"] for r in ROWS.values() if r["case"] == "config" and r["config"] == "I")
ENABLE_CONNECT_PROTOCOL = h2.settings.SettingCodes.ENABLE_CONNECT_PROTOCOL


@pytest.fixture
async def stage(request, tmp_path, monkeypatch):
    """The server of a configuration, with the environment of its capture."""
    monkeypatch.delenv("GODEBUG", raising=False)
    letter, environ = request.param
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    async with Stage(CONFIGS[letter], tmp_path) as stage:
        yield stage


def ask(client, stage, row):
    """Sends the row's request, for our port."""
    fields = [tuple(field) for field in row["sent"][0]["h2_headers"]]
    ours = f"localhost:{stage.server.port}"
    fields = [(name, ours if name == ":authority" else value) for name, value in fields]
    stream = Stream(client, client.begin(fields, end=False))
    client.streams[stream.id] = stream
    return stream


def fields_of(pairs):
    """Header fields without the date."""
    return sorted((name, value) for name, value in pairs if name != "date")


async def agreed(port, wanted):
    """The protocol that TLS agrees on."""
    _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting(*wanted))
    found = writer.get_extra_info("ssl_object").selected_alpn_protocol()
    writer.close()
    await asyncio.gather(writer.wait_closed(), return_exceptions=True)
    return found


@pytest.mark.parametrize("stage", [("I", ENVIRON)], indirect=True)
async def test_extended_connect(stage):
    row = ROWS[140]
    settings, answer, message = row["received"]
    async with dial_h2(stage.server.port, tls=False) as client:
        stream = await ask(client, stage, row).answered()
        theirs = settings["settings"][str(int(ENABLE_CONNECT_PROTOCOL))]
        assert client.h2.remote_settings[ENABLE_CONNECT_PROTOCOL] == theirs == 1
        assert fields_of(stream.head) == sorted(map(tuple, answer["h2_headers"]))
        stream.send(frame(1, row["sent"][1]["ws_text_frame"].encode()))
        head = bytes.fromhex(message["data_frame"]["ws_header_hex"])
        text = message["data_frame"]["text"]
        await stream.until(lambda: len(stream.body) >= len(head) + len(text))
        assert stream.body.startswith(head)
        assert not stage.compare(text, stream.body[len(head) :].decode())


@pytest.mark.parametrize("stage", [("I", ENVIRON)], indirect=True)
async def test_origin_not_allowed(stage):
    row = ROWS[141]
    _, answer, body, *ends = row["received"]
    async with dial_h2(stage.server.port, tls=False) as client:
        stream = await ask(client, stage, row).answered()
        await stream.until(lambda: stream.was_reset, "reset")
        assert fields_of(stream.head) == sorted(map(tuple, answer["h2_headers"]))
        assert stream.text == body["data_frame"]
        assert [e["event"] for e in ends] == ["StreamEnded", "StreamReset"]
        assert stream.ended


@pytest.mark.parametrize("stage", [("I", {}), ("I", {"GODEBUG": "http2xconnect=0"})], indirect=True)
async def test_websocket_streams_have_a_switch(stage):
    async with dial_h2(stage.server.port, tls=False) as client:
        await (await client.request("GET", "/connection/init")).complete()
        assert not client.h2.remote_settings.enable_connect_protocol


@pytest.mark.parametrize("stage", [("H", {})], indirect=True)
async def test_http1_beside_http3(stage):
    row = ROWS[138]
    (request,), (answer,) = row["sent"], row["received"]
    status, headers, _ = await http(
        stage.server.port, request["method"], request["path"], {}, trusting("http/1.1")
    )
    assert status == f"HTTP/1.1 {answer['status']} Bad Request"
    assert sorted_headers(headers) == sorted_headers(answer["headers"])
    assert not [h for h in headers if h.lower().startswith("alt-svc")]
    offered = DIFFERENT_ELSEWHERE[138].change(["http/1.1"])
    for wanted in (offered, offered[::-1], ["http/1.1"]):
        chosen = next(protocol for protocol in offered if protocol in wanted)
        assert await agreed(stage.server.port, wanted) == chosen


def test_rows_are_all_here():
    mine = [n for n, file in ELSEWHERE.items() if file == Path(__file__).name]
    assert mine == [138, 140, 141]

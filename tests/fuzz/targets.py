"""What strangers can send, one target for each parser: bytes in, and no exception that is not its own.

Each target is a function of bytes and some seeds that are right, or nearly. Hypothesis plays them in
the tests (``test_targets.py``), atheris looks for more with an eye on what the code does
(``make fuzz``).
"""

from __future__ import annotations

import asyncio
import base64
import json
import tempfile
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from flyball.core.errors import ConfigError, Error
from flyball.core.glob import compile_glob
from flyball.http.body import BadChunks, ChunkedBody
from flyball.http.head import BadRequestHead, parse_head
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import Codec, DecodeError
from flyball.protocol.delta import DeltaError, apply_delta
from flyball.protocol.filter import FilterError, compile_filter
from flyball.protocol.json_codec import JSON
from flyball.protocol.messages import EmulationRequest, FilterNode
from flyball.protocol.protobuf_codec import PROTOBUF
from flyball.server.acme.hello import parse_hello
from flyball.server.api import messages as api
from flyball.server.api.legacy import legacy_method
from flyball.server.api.schema import API
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.server.config import load_config
from flyball.server.proxies import messages as proxy
from flyball.server.proxies.schema import PROXY
from flyball.testing import TestClock
from flyball.transports.common.websocket.deflate import Inflater
from flyball.transports.common.websocket.extensions import agree
from flyball.transports.common.websocket.frames import FrameParser, build_frame, unmask
from flyball.transports.sockjs.framing import BadPayload, read_messages

if TYPE_CHECKING:
    from collections.abc import Callable

MAX_SIZE = 65_536


@dataclass(frozen=True, slots=True)
class Target:
    """A parser."""

    read: Callable[[bytes], None]
    """Raises what is no answer of the parser, or breaks one of its promises."""
    seeds: tuple[bytes, ...]


def frames(data: bytes) -> None:
    """WebSocket frames: whatever the cuts, the same events."""
    whole = FrameParser(MAX_SIZE, Inflater(MAX_SIZE))
    events = list(whole.feed(data))
    while whole.has_more:
        events += whole.feed(b"")
    parts = FrameParser(MAX_SIZE, Inflater(MAX_SIZE))
    found = []
    for start in range(0, len(data), 7):
        found += parts.feed(data[start : start + 7])
        while parts.has_more:
            found += parts.feed(b"")
    assert found == events
    assert parts.violation == whole.violation


def extensions(data: bytes) -> None:
    """``Sec-WebSocket-Extensions``."""
    agree(data.decode("latin-1"))


def commands(codec: Codec) -> Callable[[bytes], None]:
    """A frame of commands, which are taken one by one and never without an end."""

    def read(data: bytes) -> None:
        position = 0
        with suppress(DecodeError):
            while position < len(data):
                _, after = codec.decode_command(data, position)
                assert after > position
                position = after

    return read


def emulation(codec: Codec) -> Callable[[bytes], None]:
    """The body of ``/emulation``."""

    def read(data: bytes) -> None:
        with suppress(DecodeError):
            assert isinstance(codec.decode_emulation(data), EmulationRequest)

    return read


def connect(data: bytes) -> None:
    """A connect request in a URL or a body."""
    with suppress(DecodeError):
        JSON.decode_connect(data)


def head(data: bytes) -> None:
    """A request head of HTTP/1."""
    with suppress(BadRequestHead):
        found = parse_head(data.replace(b"\r\n\r\n", b"\r\n") + b"\r\n\r\n")
        assert found.path.startswith("/") or found.method in ("CONNECT", "OPTIONS") or found.path


def chunks(data: bytes) -> None:
    """A body in chunks: whatever the cuts, the same content."""

    def read(size: int) -> tuple[bytes, bool]:
        body, buffer, is_complete = ChunkedBody(), bytearray(), False
        with suppress(BadChunks):
            for start in range(0, len(data), size):
                buffer += data[start : start + size]
                while buffer and not is_complete:
                    is_complete = body.feed(buffer)
            return bytes(body.content), is_complete
        return b"", False

    assert read(len(data) or 1) == read(5)


def token(data: bytes) -> None:
    """A token, its signature not looked at."""

    async def verify() -> None:
        for check in (VERIFIER.verify_connect_token, VERIFIER.verify_subscribe_token):
            with suppress(InvalidToken, TokenExpired, Error):
                await check(data.decode("utf-8", "surrogateescape"))

    asyncio.run(verify())


def claims(data: bytes) -> None:
    """The claims of a token."""
    body = base64.urlsafe_b64encode(data).rstrip(b"=")
    token(b".".join((base64.urlsafe_b64encode(b'{"alg":"HS256"}').rstrip(b"="), body, b"")))


VERIFIER = TokenVerifier(TokenOptions(hmac_secret_key="x"), TestClock(), verify_signatures=False)


def config(suffix: str) -> Callable[[bytes], None]:
    """A configuration file."""

    def read(data: bytes) -> None:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / f"config{suffix}"
            path.write_bytes(data)
            with suppress(ConfigError):
                load_config(path, environ={})

    return read


def delta(data: bytes) -> None:
    """A patch, as clients of a stream get them."""
    with suppress(DeltaError):
        assert len(apply_delta(b"the quick brown fox " * 20, data, max_size=10_000)) <= 10_000


def tags_filter(data: bytes) -> None:
    """A tags filter of a subscribe command."""
    with suppress(DecodeError, FilterError):
        compile_filter(CLIENT.json_reader.read(FilterNode, data)).matches({"a": "1"})


def sockjs(data: bytes) -> None:
    """What SockJS clients send."""
    with suppress(BadPayload):
        read_messages(data)


def server_api(data: bytes) -> None:
    """Requests of the server API, in both encodings, and the legacy method."""
    for message in (api.PublishRequest, api.BatchRequest, api.SubscribeRequest):
        with suppress(DecodeError):
            API.json_decoder(message).decode(data)
        with suppress(DecodeError):
            API.protobuf.read(message, data)
    with suppress(DecodeError):
        legacy_method(msgspec.Raw(data))


def proxy_answers(data: bytes) -> None:
    """What backends answer, in both encodings."""
    for message in (proxy.ConnectResponse, proxy.SubscribeResponse, proxy.RPCResponse):
        with suppress(DecodeError):
            PROXY.json_decoder(message).decode(data)
        with suppress(DecodeError):
            PROXY.protobuf.read(message, data)


def glob(data: bytes) -> None:
    """A pattern of channels."""
    with suppress(Error):
        compile_glob(data.decode("utf-8", "replace")[:100])("news:sports")


def hello(data: bytes) -> None:
    """A ClientHello."""
    parse_hello(data)


def _client(opcode: int, payload: bytes) -> bytes:
    mask = b"\1\2\3\4"
    plain = build_frame(opcode, b"")
    return bytes((plain[0], 0x80 | len(payload))) + mask + unmask(payload, mask)


_COMMANDS = (
    b'{"id":1,"connect":{"token":"t","subs":{"a":{"recover":true,"offset":3,"epoch":"e"}}}}',
    b'{"id":2,"subscribe":{"channel":"a","tf":{"op":"and","nodes":[{"key":"k","cmp":"eq"}]}}}',
    b'{"id":3,"publish":{"channel":"a","data":{"x":[1,2.5,"\\u00e9"]}}}\n{}',
    b'{"id":4,"history":{"channel":"a","limit":-1,"since":{"offset":1}},"rpc":null}',
)
_CONFIG = {
    "http_server": {"port": "8000"},
    "client": {"token": {"hmac_secret_key": "x"}, "allowed_origins": ["https://*.example.com"]},
    "channel": {"namespaces": [{"name": "chat", "history_size": 10, "history_ttl": "60s"}]},
}
_ANSWER = b'{"result":{"user":"1","expire_at":5,"info":{"a":1},"channels":["a"],"subs":{"a":{}}}}'

TARGETS: dict[str, Target] = {
    "frames": Target(frames, (_client(1, b"hello"), _client(2, b"") + _client(9, b"p"))),
    "extensions": Target(extensions, (b'permessage-deflate; client_max_window_bits=12, x; y="z"',)),
    "json_commands": Target(commands(JSON), _COMMANDS),
    "protobuf_commands": Target(
        commands(PROTOBUF),
        tuple(
            PROTOBUF.join((PROTOBUF.encode_command(JSON.decode_command(line, 0)[0]),))
            for line in _COMMANDS
        ),
    ),
    "json_emulation": Target(emulation(JSON), (b'{"node":"n","session":"s","data":"{}"}',)),
    "protobuf_emulation": Target(emulation(PROTOBUF), (b"\x0a\x01n\x12\x01s\x1a\x02{}",)),
    "connect": Target(connect, (b'{"token":"t","name":"js","headers":{"a":"b"}}',)),
    "head": Target(
        head,
        (
            b"GET /a?b=c HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n",
            b"POST http://x/y HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        ),
    ),
    "chunks": Target(
        chunks, (b"5\r\nhello\r\n0\r\n\r\n", b"2;x=y\r\nab\r\n0\r\nTrailer: x\r\n\r\nnext")
    ),
    "token": Target(token, (b"eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiI0MiJ9.AAAA",)),
    "claims": Target(
        claims,
        (
            b'{"sub":"42","exp":1900000000,"info":{},"subs":{"a":{"override":{}}},"meta":[1]}',
            b'{"sub":"42","channel":"a","client":"c","b64info":"eA==","aud":["x"],"nbf":1.5}',
        ),
    ),
    "config_json": Target(config(".json"), (json.dumps(_CONFIG).encode(),)),
    "config_yaml": Target(
        config(".yaml"),
        (b"client:\n  allowed_origins: ['*']\nchannel:\n  namespaces:\n  - name: ab",),
    ),
    "config_toml": Target(
        config(".toml"),
        (b'[client.token]\nhmac_secret_key = "x"\n[[channel.namespaces]]\nname = "ab"',),
    ),
    "delta": Target(delta, (b"5\n5@0,5:hello0;", b"A\nA@0,0;")),
    "tags_filter": Target(
        tags_filter, (b'{"op":"or","nodes":[{"key":"a","cmp":"gt","val":"1"},{"cmp":"in"}]}',)
    ),
    "sockjs": Target(sockjs, (b'["{\\"id\\":1}","x"]', b'"x"')),
    "server_api": Target(
        server_api,
        (b'{"channel":"a","data":{},"tags":{"a":"b"},"version":1}', b'{"commands":[{"info":{}}]}'),
    ),
    "proxy_answers": Target(
        proxy_answers, (_ANSWER, b'{"error":{"code":1000,"message":"m"}}', b'{"disconnect":{}}')
    ),
    "glob": Target(glob, (b"{plain,x}:*", b"[a-c]?[!x]\\*")),
    "hello": Target(
        hello,
        (
            bytes.fromhex("16030100310100002d0303")
            + bytes(32)
            + bytes.fromhex("000002130101000000"),
        ),
    ),
}
"""By name."""


def corpus(name: str) -> list[bytes]:
    """Inputs of a target that were found once, in the order of their files' names."""
    folder = Path(__file__).resolve().parent / "corpus" / name
    return [path.read_bytes() for path in sorted(folder.glob("*"))]

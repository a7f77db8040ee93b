"""Replays captured sessions against a server of ours, and compares what comes back.

Nothing is re-signed and nothing sleeps: the server's clock shows the time of the capture,
and moves when a direction says so. Client ids and epochs differ from run to run; each
captured value must stand for the same value of ours wherever it appears.
"""

import base64
import json
import re

import aiohttp
from certificates import self_signed
from commands import decode_frame
from golden_socket import BINARY, CLOSE, PONG, TEXT, Socket, http
from ports import free_port
from waiting import until

from flyball.protocol.protobuf_codec import PROTOBUF, split_frame
from flyball.server.app import Server
from flyball.server.config import check, load_config
from flyball.testing import TestClock, settle

UUID = r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}"
MASKED = re.compile(rf'{UUID}|(?<="epoch":")[A-Za-z]{{8}}(?=")')
TOKEN_USER_U = (
    "eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.eyJzdWIiOiJ1In0"
    ".D9OYCASOic8f2se0l70pQbnYe4k4FisxamL3OAU6LCc"
)
"""User ``u``, without expiry."""

ADDED_HEADERS = frozenset(
    ("allow", "cache-control", "content-encoding", "date", "vary", "x-content-type-options")
)
"""Headers that pages and streams beside the WebSocket endpoint may have in addition."""


class CaptureClock(TestClock):
    """A test clock whose Unix time can be set to that of a capture."""

    def set_time(self, unix):
        self._start += unix - self.time()


def load_rows(path):
    """The captured sessions by line number (from 0), and the configurations by letter."""
    rows = dict(enumerate(map(json.loads, path.read_text().splitlines())))
    configs = {r["config"]: r["config_json"] for r in rows.values() if r["case"] == "config"}
    return rows, configs


class Stage:
    """A running server with one captured configuration, its clock, and its connections."""

    def __init__(self, config, tmp_path):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        flags = {"http_server.port": "0", "http_server.address": "127.0.0.1"}
        environ = {}
        if "uni_grpc" in config:
            flags["uni_grpc.port"] = "0"
        if "internal_port" in config["http_server"]:
            flags["http_server.internal_port"] = str(free_port())
        if "tls" in config["http_server"]:
            certificate, key = map(bytes.decode, self_signed())
            environ["FLYBALL_HTTP_SERVER_TLS_CERT_PEM"] = certificate
            environ["FLYBALL_HTTP_SERVER_TLS_KEY_PEM"] = key
        self.config = load_config(str(file), environ=environ, flags=flags).config
        check(self.config)
        self.clock = CaptureClock()
        self.server = Server(self.config, clock=self.clock, version="0.0.0 OSS")
        self.pairs = {}
        """Captured id or epoch to ours; no two of either may become one."""
        self.main = None
        """The connection that rows share when they go on where the last one stopped."""
        self._sockets = []

    async def __aenter__(self):
        await self.server.start()
        self._http = aiohttp.ClientSession()
        return self

    async def __aexit__(self, *_):
        await self.close_all()
        await self._http.close()
        await self.server.stop()

    async def api(self, method, **request):
        """Calls the server API; ``data`` may be a string of JSON text by ``raw=``."""
        raw = request.pop("raw", None)
        body = json.dumps(request)
        if raw is not None:
            body = body[:-1] + f', "data": {raw}}}'
        headers = {"X-API-Key": "k"}
        url = f"http://127.0.0.1:{self.server.port}/api/{method}"
        async with self._http.post(url, data=body, headers=headers) as response:
            answer = await response.json()
        assert "error" not in answer, answer
        return answer["result"]

    async def publish(self, channel, *values, **options):
        """Publishes values one after the other."""
        for value in values:
            await self.api("publish", channel=channel, data=value, **options)

    async def open(self, **how):
        """A new connection."""
        socket = await Socket.open(self.server.port, **how)
        self._sockets.append(socket)
        return socket

    async def enter(self, token=TOKEN_USER_U, *, protobuf=False, **how):
        """A new connection that has connected already; the capture leaves that out."""
        if protobuf:
            how.setdefault("path", "/connection/websocket?format=protobuf")
        socket = await self.open(**how)
        body = json.dumps({"id": 1, "connect": {"token": token}})
        if protobuf:
            command = PROTOBUF.encode_command(commands_of(body)[0])
            socket.send(PROTOBUF.join((command,)))
        else:
            socket.send(body)
        await socket.until(lambda: socket.received, "connect reply")
        self.forget(socket)
        return socket

    @staticmethod
    def forget(socket):
        """What came so far is not part of the row."""
        socket.received.clear()
        socket.raw.clear()

    async def ask(self, socket, **command):
        """A command that the capture leaves out; so is what comes back."""
        before = len(socket.received)
        socket.send(json.dumps(command))
        await socket.until(lambda: len(socket.received) > before)
        await self.quiet()
        self.forget(socket)

    async def handshake(self, request):
        """The answer to one HTTP request: status line, headers, body."""
        headers = dict(request["headers"])
        return await http(self.server.port, request["method"], request["path"], headers)

    async def close_all(self):
        """Drops every connection, and waits until the server knows."""
        for socket in self._sockets:
            await socket.close()
        self._sockets.clear()
        await until(lambda: not self.server.node.hub.num_clients, "end of the connections")

    async def quiet(self):
        """Lets the server say what it has to say, and what it wrote arrive."""
        await settle()
        for socket in self._sockets:
            await socket.arrived()

    # -- time

    def _sent(self):
        metrics = self.server.node.metrics
        return sum(metrics.transport_sent.values()) + sum(metrics.transport_closes.values())

    async def pass_time_until_sent(self, limit=60.0):
        """Moves the clock in small steps until the server says something; returns the seconds."""
        before, passed = self._sent(), 0.0
        while self._sent() == before:
            assert passed < limit, f"the server said nothing for {limit} s"
            self.clock.advance(0.05)
            passed += 0.05
            await settle(2)
        await self.quiet()
        return passed

    # -- translation between the capture's ids and ours

    def ours(self, text):
        """Captured text to send, with the ids and epochs of this run."""
        return re.sub(
            rf"{UUID}|[A-Za-z]{{8}}", lambda m: self.pairs.get(m.group(), m.group()), text
        )

    def compare(self, expected, actual):
        """What is different between a captured message and ours, empty if nothing."""
        theirs, ours = MASKED.findall(expected), MASKED.findall(actual)
        if MASKED.sub("?", expected) != MASKED.sub("?", actual):
            return f"captured {expected}\n     sent {actual}"
        for their, our in zip(theirs, ours, strict=True):
            known = self.pairs.setdefault(their, our)
            first = next(captured for captured, live in self.pairs.items() if live == our)
            if (known, first) != (our, their):
                return (
                    f"captured {expected}\n     sent {actual}\n"
                    f"     where {their} stood for {known}, and {our} for {first}"
                )
        return ""


def commands_of(text):
    """Commands of a JSON frame as messages."""
    from flyball.protocol.json_codec import JSON

    commands, error = decode_frame(JSON, text.encode())
    assert error is None, error
    return commands


def texts(frames):
    """Frames of a connection as comparable lines: a text message each, hex for binary ones."""
    lines = []
    for opcode, payload in frames:
        if opcode == CLOSE:
            lines.append(f"close {payload[0]} {payload[1]}".rstrip())
        elif opcode == TEXT:
            lines.extend(payload.decode().split("\n"))
        elif opcode == BINARY:
            lines.extend(map(binary_line, split_frame(payload)))
        elif opcode == PONG:
            lines.append(f"pong {payload.hex()}")
    return lines


def binary_line(message):
    """A Protobuf message as text in which ids can be masked, byte for byte otherwise."""
    text = message.decode("latin-1")
    (reply,) = PROTOBUF.decode_replies(PROTOBUF.join((framed(message),)))
    epochs = set()
    if reply.subscribe is not None:
        epochs.add(reply.subscribe.epoch)
    if reply.push is not None and reply.push.pub is not None:
        epochs.add(reply.push.pub.epoch)
    for epoch in epochs - {""}:
        text = text.replace(epoch, f'"epoch":"{epoch}"')
    return f"binary {text!r}".replace("\\'", "'")


def framed(message):
    """A message behind its length."""
    length, out = len(message), b""
    while length > 127:
        out, length = out + bytes([length & 127 | 128]), length >> 7
    return out + bytes([length]) + message


def captured_lines(received):
    """The captured frames in the form of :func:`texts`."""
    lines = []
    for item in received:
        if isinstance(item, str):
            lines.extend(item.split("\n"))
        elif "hex" in item:
            lines.extend(texts([(BINARY, bytes.fromhex(item["hex"]))]))
        else:
            code, reason = item["close"]
            lines.append(f"close {code} {reason}".rstrip())
    return lines


def token_claims(token):
    """The claims of a captured token, without a look at its signature."""
    part = token.split(".")[1]
    return json.loads(base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)))


def sorted_headers(lines):
    """Headers without regard to order and letter case, less those that we may add."""
    pairs = (line.split(":", 1) for line in lines)
    return sorted(f"{n.lower()}:{v}" for n, v in pairs if n.lower() not in ADDED_HEADERS)

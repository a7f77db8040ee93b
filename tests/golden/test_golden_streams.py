"""The captured HTTP exchanges and streams, replayed: http_stream, sse, emulation and the uni ones."""

import asyncio
import contextlib
import json
import re
from pathlib import Path

import pytest
from golden_replay import UUID, Stage, binary_line, load_rows, sorted_headers
from golden_socket import read_head
from golden_tables import STREAMS
from waiting import PATIENCE, until

from flyball.protocol.client import CLIENT
from flyball.protocol.protobuf_codec import PROTOBUF, split_frame

ROWS, CONFIGS = load_rows(Path(__file__).parent / "wire-examples.jsonl")
STEP = 0.06
"""Seconds by which a moment may be missed: time moves in steps of 0.05."""
CLOSED = "<connection closed by server>"
EMULATED = {87: 88, 95: 97, 96: 97, 76: 77}
"""Captured commands, and the captured stream of their session."""


class Stream:
    """One HTTP exchange whose answer may go on."""

    def __init__(self, reader, writer):
        self.head = None
        self.body = b""
        self.ended = asyncio.Event()
        """The body is whole."""
        self.closed = asyncio.Event()
        """The server closed the connection."""
        self._reader, self._writer = reader, writer
        self._reading = None

    @classmethod
    async def open(cls, port, request):
        """Sends a captured request."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        stream = cls(reader, writer)
        body = request.get("body")
        if isinstance(body, dict):
            body = bytes.fromhex(body["hex"])
        elif body is not None:
            size = re.fullmatch(r"<(\d+) bytes>", body)
            body = b"x" * int(size[1]) if size else body.encode()
        lines = [f"{request['method']} {request['path']} HTTP/1.1", "Host: localhost"]
        lines += [f"{name}: {value}" for name, value in request.get("headers", {}).items()]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode() + (body or b""))
        stream.head = await asyncio.wait_for(read_head(reader), PATIENCE)
        stream._reading = asyncio.ensure_future(stream._read())
        return stream

    async def _read(self):
        headers = dict(line.lower().split(": ", 1) for line in self.head[1] if ": " in line)
        try:
            if headers.get("transfer-encoding") == "chunked":
                while size := int(await self._reader.readuntil(b"\r\n"), 16):
                    self.body += await self._reader.readexactly(size)
                    await self._reader.readexactly(2)
                await self._reader.readexactly(2)
            else:
                self.body = await self._reader.readexactly(int(headers.get("content-length", 0)))
            self.ended.set()
            assert not await self._reader.read(), "bytes after the answer"
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        self.closed.set()

    async def until(self, condition, what):
        """Waits for ``condition()``."""
        await until(
            condition, lambda: f"{what}; so far {self.head} {self.body!r}", over=self.closed.is_set
        )

    async def close(self):
        """Leaves."""
        self._writer.close()
        with contextlib.suppress(ConnectionError):
            await self._writer.wait_closed()
        await self._reading


class Play:
    """One captured exchange on its stage."""

    def __init__(self, stage, number):
        self.stage, self.number, self.row = stage, number, ROWS[number]
        self.head, *parts = self.row["received"]
        self.stays = not any(p in ("", CLOSED) for p in parts)
        self.is_stream = "200" in self.head["status"] and "init" not in self.row["transport"]
        self.closes = CLOSED in parts
        self.parts = [p for p in parts if isinstance(p, str | dict) and p not in ("", CLOSED)]
        self.parts = [p for p in self.parts if not isinstance(p, dict) or "hex" in p]
        self.stream = None

    @property
    def binary(self):
        return "application/octet-stream" in str(self.head.get("headers"))

    def expected(self, count=None):
        """The body's captured start of ``count`` parts."""
        parts = self.parts[:count]
        if not self.binary:
            return "".join(parts)
        raw = b"".join(
            bytes.fromhex(p["hex"]) if isinstance(p, dict) else p.encode("latin-1") for p in parts
        )
        return "\n".join(map(binary_line, split_frame(raw)))

    def actual(self):
        """The body so far, in the form of :meth:`expected`."""
        body = self.stream.body
        return "\n".join(map(binary_line, split_frame(body))) if self.binary else body.decode()

    async def open(self):
        """Sends the request."""
        request = dict(self.row["sent"][0])
        if self.number in EMULATED:
            request["body"] = self.translated(request["body"])
        elif isinstance(request["body"], str) and self.row["transport"] == "emulation":
            request["body"] = self.stage.ours(request["body"])
        self.stream = await Stream.open(self.stage.server.port, request)

    def translated(self, body):
        """Captured commands for the session that we have in place of the captured one."""
        if isinstance(body, str):
            return self.stage.ours(body)
        request = PROTOBUF.decode_emulation(bytes.fromhex(body["hex"]))
        request.node = self.stage.ours(request.node)
        request.session = self.stage.ours(request.session)
        return {"hex": CLIENT.protobuf.write(request).hex()}

    async def has(self, count=None):
        """Waits for the first ``count`` parts, and compares them."""
        wanted = self.expected(count)
        size = len(wanted)
        with contextlib.suppress(AssertionError):  # shown by the comparison
            await self.stream.until(lambda: len(self.actual()) >= size, f"{count} parts")
        await self.stage.quiet()
        problem = self.stage.compare(wanted, self.actual())
        if problem and '"subs":{' in wanted:
            # Entries of this map have no order of their own.
            problem = self.stage.compare(_sorted_subs(wanted), _sorted_subs(self.actual()))
        assert not problem, problem

    async def time(self, seconds):
        """Lets time pass until the server says something, which must be after ``seconds``."""
        passed = await self.stage.pass_time_until_sent()
        assert passed == pytest.approx(seconds, abs=STEP)

    async def first_ping(self):
        """Between half an interval and a whole one, to spread the load."""
        interval = self.stage.server.node.options.ping_interval
        passed = await self.stage.pass_time_until_sent()
        assert interval / 2 - STEP <= passed <= interval + STEP

    async def end(self):
        """Compares everything."""
        status, headers = self.stream.head
        assert self.head["status"] == status
        if "headers" in self.head:
            assert sorted_headers(self.head["headers"]) == sorted_headers(headers)
        await self.has()
        if not self.is_stream or not self.stays:
            await self.stream.until(self.stream.ended.is_set, "end of the body")
        assert self.stream.ended.is_set() == (not self.is_stream or not self.stays)
        if self.closes:
            await self.stream.until(self.stream.closed.is_set, "close")
        assert self.stream.closed.is_set() == self.closes
        if not self.closes:
            await self.stream.close()


DIRECTIONS = {}
"""Row to an ``async def(play)`` that does what the capture does not show."""


def row(number):
    """Registers directions."""

    def register(function):
        DIRECTIONS[number] = function
        return function

    return register


async def emulate(play, number):
    """Plays a captured POST to ``/emulation``."""
    other = Play(play.stage, number)
    await other.open()
    await other.end()


@row(77)
async def commands_and_no_pong(play):
    await play.open()
    await play.has(1)
    await emulate(play, 76)
    await play.has(4)
    await play.first_ping()
    await play.has(5)
    await play.time(1)
    await play.end()


@row(80)
async def expired_and_stale(play):
    await play.open()
    await play.has(1)
    await play.time(2)
    await play.end()


@row(88)
async def protobuf(play):
    await play.open()
    await play.has(1)
    await emulate(play, 87)
    await play.has(2)
    await play.first_ping()
    await play.time(1)
    await play.end()


@row(97)
async def sse(play):
    await play.open()
    await play.has(2)
    await emulate(play, 95)
    await play.stage.quiet()
    await play.has(2)  # commands that are no JSON string do nothing
    await emulate(play, 96)
    await play.has(3)
    await play.first_ping()
    await play.time(1)
    await play.end()


@row(101)
async def server_api(play):
    await play.open()
    await play.has(1)
    api = play.stage.api
    await api("publish", channel="rec:1", raw='{"n": 1}')
    await api("subscribe", user="u", channel="plain:zz")
    await play.has(3)
    await api("unsubscribe", user="u", channel="plain:zz")
    await play.has(4)
    await api("disconnect", user="u")
    await play.end()


@row(108)
async def ping(play):
    await play.open()
    await play.has(2)
    await play.first_ping()
    await play.end()


@row(160)
async def many_pings(play):
    await play.open()
    await play.has(1)
    await play.first_ping()
    for _ in range(7):
        await play.time(5)
    await play.end()


def _sorted_subs(text):
    lines = text.split("\n")
    value = json.loads(lines[0])
    value["connect"]["subs"] = dict(sorted(value["connect"]["subs"].items()))
    return "\n".join([json.dumps(value, separators=(",", ":")), *lines[1:]])


@pytest.mark.parametrize("letter", sorted({ROWS[n]["config"] for n in STREAMS}))
async def test_replay(letter, tmp_path):
    problems = []
    played = [n for n in sorted(STREAMS) if ROWS[n]["config"] == letter and n not in EMULATED]
    async with Stage(CONFIGS[letter], tmp_path) as stage:
        node = next(iter(re.findall(rf'node\\?": ?\\?"({UUID})', json.dumps(ROWS[90]))))
        stage.pairs[node] = stage.server.node.id
        for number in played:
            play = Play(stage, number)
            try:
                async with asyncio.timeout(PATIENCE):
                    if number in DIRECTIONS:
                        await DIRECTIONS[number](play)
                    else:
                        await play.open()
                        await play.end()
            except (AssertionError, TimeoutError, OSError) as error:
                problems.append(f"row {number} ({play.row['case']}): {error}")
            finally:
                if play.stream is not None:
                    await play.stream.close()
                await stage.close_all()
    assert not problems, "\n".join(problems)


def test_commands_are_played_with_their_streams():
    assert set(EMULATED) | set(EMULATED.values()) | set(DIRECTIONS) <= STREAMS

"""The captured WebTransport sessions, replayed byte for byte but for ids."""

from pathlib import Path
from urllib.parse import urlsplit

import pytest
from golden_replay import Stage, load_rows
from golden_tables import DIFFERENT_ELSEWHERE, ELSEWHERE
from quicclient import dial

from flyball.protocol.protobuf_codec import split_frame

ROWS, CONFIGS = load_rows(Path(__file__).parent / "wire-examples.jsonl")
MINE = [number for number, file in ELSEWHERE.items() if file == Path(__file__).name]
EOF = "read end: EOF"
END_PAUSE = 1.0
"""Seconds between the end of the stream and that of the session."""
PONG = "{}\n"


@pytest.fixture
async def stage(tmp_path):
    async with Stage(CONFIGS["H"], tmp_path) as stage:
        yield stage


def target(row):
    """Path and query of the captured URL."""
    url = urlsplit(row["sent"][0]["url"])
    return f"{url.path}?{url.query}" if url.query else url.path


def expected(number):
    """What came on the stream, as a whole: where one read ended means nothing on a stream."""
    (received,) = ROWS[number]["received"]
    lines = received["recv"]
    different = DIFFERENT_ELSEWHERE.get(number)
    if different is not None:
        lines = different.change(lines)
    assert lines[-1] == EOF
    return lines[:-1]


class Play:
    """One session."""

    def __init__(self, stage, client, number):
        self.stage, self.client = stage, client
        self.row, self.expected = ROWS[number], expected(number)

    async def open(self):
        (received,) = self.row["received"]
        assert await self.client.request(target(self.row)) == received["status"]
        self.client.new_stream()

    def send(self, item):
        if item.startswith("hex:"):
            self.client.send(bytes.fromhex(item.removeprefix("hex:")))
        elif item == "<3030 bytes>":
            self.client.send(b"x" * 3030)
        else:
            self.client.send(item.encode())

    @property
    def messages(self):
        return self.client.data.get(self.client.stream, b"").decode("latin-1").splitlines(True)

    async def replies(self, count):
        """Waits for what needs no time."""
        await self.client.until(lambda: len(self.messages) >= count, "replies")

    async def read(self, count):
        """Moves the clock until ``count`` messages have come; returns the seconds."""
        passed = 0.0
        while len(self.messages) < count:
            assert passed < 10, self.messages
            self.stage.clock.advance(0.05)
            passed += 0.05
            await self.stage.quiet()
        return passed

    async def ends(self, code, reason):
        """The end of the stream, and a second later that of the session; then compares."""
        client = self.client
        await client.until(lambda: client.stream in client.ended, "end of the stream")
        self.compare()
        self.stage.clock.advance(END_PAUSE * 0.9)
        await self.stage.quiet()
        assert client.session not in client.ended
        self.stage.clock.advance(END_PAUSE * 0.2)
        await client.until(lambda: client.session in client.ended, "end of the session")
        assert client.close_capsule == (code, reason)

    def compare(self):
        assert not self.stage.compare("".join(self.expected), "".join(self.messages))


class BinaryPlay(Play):
    """The same with messages behind their lengths."""

    def __init__(self, *args):
        super().__init__(*args)
        frames = [bytes.fromhex(text) for text in self.expected]
        self.expected = [text.decode("latin-1") for text in frames]

    @property
    def messages(self):
        data = self.client.data.get(self.client.stream, b"")
        return [bytes(m).decode("latin-1") for m in split_frame(data)]

    def compare(self):
        ours = self.client.data[self.client.stream].decode("latin-1")
        assert not self.stage.compare("".join(self.expected), ours)


async def no_pong(play, *, replies):
    """Ends a session for want of a pong, times as configured."""
    total = len(play.expected)
    await play.replies(replies)
    first = await play.read(replies + 1)
    assert 0.9 < first < 2.2  # pings of many connections are spread
    if total - replies == 3:  # two pings and the push: the first ping is answered
        play.send(PONG)
        await play.stage.quiet()
        assert 1.9 < await play.read(replies + 2) < 2.2
    assert 0.9 < await play.read(total) < 1.2
    await play.ends(3012, "no pong")


async def test_alpn_h3(stage):
    row = ROWS[152]
    assert "ALPN" in row["received"][0]["error"]
    async with dial(stage.server.port, alpn=["h3"]) as client:
        status = await client.request(target(row))
        assert DIFFERENT_ELSEWHERE[152].change(row["received"]) == {"status": status}


async def test_json(stage):
    async with dial(stage.server.port) as client:
        play = Play(stage, client, 153)
        await play.open()
        commands, pause, pong, _ = play.row["sent"][1:]
        assert (pause, pong) == ("sleep:1850ms", PONG)
        play.send(commands)
        await no_pong(play, replies=2)


async def test_protobuf(stage):
    async with dial(stage.server.port) as client:
        play = BinaryPlay(stage, client, 154)
        await play.open()
        play.send(play.row["sent"][1])
        await no_pong(play, replies=1)


@pytest.mark.parametrize(
    ("number", "code", "reason"),
    [(155, 3500, "invalid token"), (156, 3501, "bad request"), (157, 0, "")],
)
async def test_refused(stage, number, code, reason):
    async with dial(stage.server.port) as client:
        play = Play(stage, client, number)
        await play.open()
        play.send(play.row["sent"][1])
        await play.ends(code, reason)


async def test_a_line_is_a_command_once_it_ends(stage):
    async with dial(stage.server.port) as client:
        play = Play(stage, client, 158)
        await play.open()
        command, pause, newline = play.row["sent"][1:]
        assert pause == "sleep:300ms"
        play.send(command)
        await client.ping()
        assert not play.messages
        play.send(newline)
        await no_pong(play, replies=1)


def test_rows_are_all_here():
    assert set(MINE) == set(range(152, 159))

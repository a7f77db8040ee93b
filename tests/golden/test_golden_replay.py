"""The captured WebSocket sessions, replayed over real connections."""

import asyncio
import base64
import contextlib
import hashlib
import hmac
import json
from collections import Counter
from pathlib import Path

import pytest
import uvloop
from golden_directions import DIRECTIONS
from golden_replay import TOKEN_USER_U, Stage, captured_lines, load_rows, sorted_headers, texts
from golden_socket import accept_key
from golden_tables import (
    DIFFERENT,
    ELSEWHERE,
    NOT_BUILT,
    OPENED,
    REPLAYED,
    SAME_CONNECTION,
    STREAMS,
    TIMES,
)
from waiting import PATIENCE

ROWS, CONFIGS = load_rows(Path(__file__).parent / "wire-examples.jsonl")
SECRET = b"secret"


class Play:
    """One row on its stage."""

    def __init__(self, stage, number):
        self.stage, self.number, self.row = stage, number, ROWS[number]
        self.socket = None
        self.sockets = []
        self.expected = []
        self.problems = []
        self._next = 0
        self._ignored = set()

    # -- what directions use

    async def open(self, **how):
        """The row's connection."""
        self.socket = await self.stage.open(**(how or OPENED.get(self.number, {})))
        self.sockets = [self.socket]

    async def enter(self, token=TOKEN_USER_U, **how):
        """The row's connection, connected before the capture begins."""
        self.socket = await self.stage.enter(token, **how)
        self.sockets = [self.socket]

    def go_on(self):
        """The connection of the row before."""
        self.socket = self.stage.main
        self.stage.forget(self.socket)
        self.sockets = [self.socket]

    async def send(self, *, quietly=False):
        """Sends the next captured frame and waits for its replies, if the capture has any."""
        item = self.row["sent"][self._next]
        self._next += 1
        if isinstance(item, str):
            for theirs, ours in zip(self.expected, self.lines(), strict=False):
                self._compare(theirs, ours)  # learns the epochs
            payload = self.stage.ours(item)
            self.socket.send(payload)
            wanted = [f'{{"id":{c["id"]},' for c in _objects(payload) if c.get("id")]
        else:
            self.socket.send(bytes.fromhex(item["hex"]))
            wanted = []
        wanted = [w for w in wanted if any(line.startswith(w) for line in self.expected)]
        await self.socket.until(
            lambda: (
                self.socket.closed
                or all(any(line.startswith(w) for line in self.lines()) for w in wanted)
            ),
            f"reply to {item}",
        )
        if not wanted and not quietly:
            await self.stage.quiet()

    async def rest(self, *, quietly=False):
        """Sends all frames that are left; ends the row unless something is to come."""
        while self._next < len(self.row["sent"]) and not self.socket.closed:
            await self.send(quietly=quietly)
        if not quietly:
            await self.end()

    async def time(self):
        """Lets time pass until the server says something; returns the seconds."""
        return await self.stage.pass_time_until_sent()

    async def pass_time(self, condition, *, limit):
        """Lets time pass until ``condition()`` holds; returns the seconds."""
        passed = 0.0
        while not condition():
            assert passed < limit, f"nothing within {limit} s"
            self.stage.clock.advance(0.05)
            passed += 0.05
            await self.stage.quiet()
        return passed

    def lines(self):
        """What came so far."""
        return [line for s in self.sockets for line in texts(s.received)]

    def ignore(self, line):
        """This line may come any number of times."""
        self._ignored.add(line)

    async def end(self):
        """Waits for what is missing, and compares."""
        expected = [line for line in self.expected if line not in self._ignored]
        with contextlib.suppress(AssertionError, TimeoutError):  # shown by the comparison
            await self.sockets[-1].until(
                lambda: len(self._counted()) >= len(expected), "further message"
            )
        await self.stage.quiet()
        actual = self._counted()
        for index in range(max(len(expected), len(actual))):
            theirs = expected[index] if index < len(expected) else "(nothing)"
            ours = actual[index] if index < len(actual) else "(nothing)"
            problem = self._compare(theirs, ours)
            if problem:
                self.problems.append(problem)

    async def end_raw(self):
        """Compares the frames themselves."""
        (answer,) = self.row["received"]
        wanted = bytes.fromhex(answer["raw_hex"])
        await self.socket.until(lambda: self.socket.raw, "raw frame")
        if "close" in answer:
            await self.socket.until(lambda: self.socket.closed, "close")
        await self.stage.quiet()
        problem = self.stage.compare(
            wanted.decode("latin-1"), b"".join(self.socket.raw).decode("latin-1")
        )
        if problem:
            self.problems.append(problem)

    async def handshake(self):
        """Plays and compares an HTTP exchange."""
        status, headers, body = await self.stage.handshake(self.row["sent"][0])
        head, wanted_body = self.row["received"]
        wanted_headers = head["headers"]
        wanted_headers, headers = sorted_headers(wanted_headers), sorted_headers(headers)
        wanted = head["status"], wanted_headers, wanted_body
        for theirs, ours in zip(wanted, (status, headers, body), strict=True):
            if theirs != ours:
                self.problems.append(f"captured {theirs!r}\n     sent {ours!r}")

    def learn_epoch(self, captured, position):
        """The capture's epoch is ours of ``position``."""
        self.stage.pairs[captured] = position["epoch"]

    def sign(self, claims):
        """A token with the captures' secret."""
        parts = [
            base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=")
            for part in ({"alg": "HS256", "typ": "JWT"}, claims)
        ]
        signature = hmac.digest(SECRET, b".".join(parts), hashlib.sha256)
        parts.append(base64.urlsafe_b64encode(signature).rstrip(b"="))
        return b".".join(parts).decode()

    # -- the play

    async def play(self):
        """Plays the row and returns what was different."""
        if self.number in TIMES:
            self.stage.clock.set_time(TIMES[self.number])
        directions = DIRECTIONS.get(self.number)
        sent = self.row["sent"]
        if sent and isinstance(sent[0], dict) and "method" in sent[0]:
            await (directions(self) if directions else self.handshake())
            return self.problems
        if not any(isinstance(i, dict) and "raw_hex" in i for i in self.row["received"]):
            self.expected = captured_lines(self.row["received"])
        different = DIFFERENT.get(self.number)
        if different is not None:
            self.expected = different.change(self.expected)
        if self.number in SAME_CONNECTION:
            self.go_on()
        if directions is not None:
            await directions(self)
        else:
            if self.socket is None:
                await self.open()
            await self.rest()
        if "response_headers" in self.row:
            self._compare_response_headers()
        self.stage.main = self.socket
        return self.problems

    def _compare_response_headers(self):
        """The upgrade's headers; the accepted key is of this connection."""
        accept = f"Sec-WebSocket-Accept: {accept_key(self.socket.key)}"
        theirs = [
            accept if line.startswith("Sec-WebSocket-Accept:") else line
            for line in self.row["response_headers"]
        ]
        if theirs != self.socket.response_headers:
            self.problems.append(f"captured {theirs}\n     sent {self.socket.response_headers}")

    def _counted(self):
        return [line for line in self.lines() if line not in self._ignored]

    def _compare(self, theirs, ours):
        problem = self.stage.compare(theirs, ours)
        if problem and ('"subs":{' in theirs or '"presence":{"presence":{' in theirs):
            # Entries of these two maps have no order of their own; fields have.
            try:
                same = _sorted_json(theirs), _sorted_json(ours)
            except ValueError:
                return problem
            if not self.stage.compare(*same):
                return ""
        return problem


def _objects(frame):
    found = []
    for line in frame.splitlines():
        try:
            value = json.loads(line)
        except ValueError:
            continue
        if isinstance(value, dict):
            found.append({k.lower(): v for k, v in value.items()})
    return found


def _sorted_json(text):
    value = json.loads(text)
    result = next(v for v in value.values() if isinstance(v, dict))
    for name in ("subs", "presence"):
        if name in result:
            result[name] = dict(sorted(result[name].items()))
    return json.dumps(value, separators=(",", ":"))


def played_rows(letter):
    """Rows of one configuration that are replayed."""
    played = REPLAYED | set(DIFFERENT)
    return [n for n in sorted(played) if ROWS[n]["config"] == letter]


def test_every_row_is_in_exactly_one_table():
    known = [n for n, r in ROWS.items() if r["case"] != "config"]
    tables = Counter((*REPLAYED, *DIFFERENT, *STREAMS, *ELSEWHERE, *NOT_BUILT))
    assert tables == Counter(known)


def test_directions_are_of_rows_that_are_played():
    played = REPLAYED | set(DIFFERENT)
    assert set(DIRECTIONS) | set(OPENED) | set(TIMES) | SAME_CONNECTION <= played
    assert all(ROWS[n]["config"] == ROWS[n - 1]["config"] for n in SAME_CONNECTION)


def test_websocket_rows_are_left_out_for_their_subscriptions_only():
    left_out = {NOT_BUILT[n] for n in NOT_BUILT if ROWS[n]["transport"] == "websocket"}
    assert left_out == {"map subscriptions", "shared poll subscriptions"}


LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}
"""The loop of tests, and the loop that the server runs on."""


@pytest.mark.parametrize("loop", LOOPS)
@pytest.mark.parametrize("letter", [c for c in CONFIGS if played_rows(c)])
def test_replay(letter, loop, tmp_path):
    with asyncio.Runner(loop_factory=LOOPS[loop]) as runner:
        found = runner.run(replay(letter, tmp_path))
    report = [
        "\n".join((f"row {n}: {ROWS[n]['case']}", *(f"  - {p}" for p in problems)))
        for n, problems in found.items()
    ]
    assert not report, "\n".join(["replay differs", *report])


async def replay(letter, tmp_path):
    """Plays the rows of one configuration; the problems of those that have any."""
    found = {}
    async with Stage(CONFIGS[letter], tmp_path) as stage:
        for number in played_rows(letter):
            play = Play(stage, number)
            try:
                async with asyncio.timeout(PATIENCE):
                    problems = await play.play()
            except (AssertionError, TimeoutError, OSError) as error:
                problems = [f"{type(error).__name__}: {error}", *play.problems]
            if problems:
                found[number] = problems
            if number + 1 not in SAME_CONNECTION:
                await stage.close_all()
    return found

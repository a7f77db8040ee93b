"""An auditing client: it publishes and subscribes, and proves what a server may claim.

It works against any server of this protocol. Per channel one publisher counts upwards, one
publication after the other; each subscriber follows with recovery. In the end holds:

- order: acknowledged publications come in the order of their acknowledgement, none twice;
- no gap in silence: an acknowledged publication that a subscriber did not get was published before
  that subscriber was told of a loss (``recovered: false``, unsubscribed with 2500 or disconnected
  with 3010 and then not recovered), which was told soon after the next one that it got at the latest;
- no hole: offsets follow each other within an epoch;
- kept: an acknowledged publication is in the history, unless the stream began a new epoch since.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Self

import aiohttp

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

RETRY_DELAY: Final = 0.1
"""Seconds until a client tries again."""
CALL_TIMEOUT: Final = 10.0
"""Seconds that a call of the server API may take."""
LATE: Final = 3.0
"""Seconds after the next publication until a loss must be told. After a failover one node may deliver
what is new before another one, which saw what is lost, has found that the stream went back."""


@dataclass(frozen=True, slots=True)
class AuditOptions:
    """What is audited."""

    websockets: tuple[str, ...]
    """Endpoints of the nodes: each gets a connection that subscribes to all channels."""
    apis: tuple[str, ...]
    """Server APIs of the nodes, used in turn: ``http://host:port/api``."""
    api_key: str = ""
    token: str = ""
    """Connection token, where the server wants one."""
    channels: tuple[str, ...] = ("audit:1", "audit:2")
    interval: float = 0.0
    """Seconds between publications of a channel."""
    start: float = 30.0
    """Seconds until all subscribers must be there."""
    quiet: float = 10.0
    """Seconds that subscribers have in the end to get what was published."""


class CannotAudit(Exception):
    """Somebody cannot subscribe, or a channel keeps nothing: nothing could be proved."""


@dataclass(slots=True)
class Sent:
    """A publication of the auditor."""

    number: int
    started: float
    """Monotonic seconds."""
    offset: int = 0
    epoch: str = ""
    acknowledged: bool = False


@dataclass(slots=True)
class Follower:
    """What one subscriber saw of one channel."""

    channel: str
    where: str
    offset: int = 0
    epoch: str = ""
    log: list[tuple[int, float]] = field(default_factory=list)
    """Numbers in the order they came; 0 stands for a loss it was told of. With the time."""
    recovers: bool = False
    live: bool = False
    recovered: int = 0
    losses: int = 0
    violations: list[str] = field(default_factory=list)
    obstacle: str = "there is no connection"
    """Why it is not subscribed, or its channel is of no use."""

    def violated(self, text: str) -> None:
        """Something happened that must not."""
        self.violations.append(f"{self.where} {self.channel}: {text}")

    def subscribed(self, result: dict[str, Any]) -> None:
        """Takes the result of a subscribe."""
        offset, epoch = result.get("offset", 0), result.get("epoch", "")
        if self.recovers and result.get("recovered"):
            if epoch != self.epoch:
                self.violated(f"recovered from epoch {self.epoch} into {epoch}")
            self.recovered += 1
        else:
            self.losses += self.recovers
            self.log.append((0, time.monotonic()))
            self.offset, self.epoch = offset, epoch
        self.obstacle = "" if result.get("recoverable") else "the channel has no recovery"
        self.live = self.recovers = True
        for publication in result.get("publications", ()):
            self.take(publication)

    def take(self, publication: dict[str, Any]) -> None:
        """Takes a publication."""
        offset = publication.get("offset", 0)
        if offset != self.offset + 1:
            self.violated(f"offset {offset} came after {self.offset} (epoch {self.epoch})")
        self.offset = offset
        number = publication["data"].get("n", 0)
        if number:
            self.log.append((number, time.monotonic()))

    def check(self, sent: dict[int, Sent]) -> Iterator[str]:
        """What is wrong with what it saw."""
        yield from self.violations
        seen = [number for number, _ in self.log if number]
        doubles = len(seen) - len(set(seen))
        if doubles:
            yield f"{self.where} {self.channel}: {doubles} publications came twice"
        known = [n for n in seen if n in sent and sent[n].acknowledged]
        if known != sorted(known):
            yield f"{self.where} {self.channel}: publications came out of order"
        missing = self._missing(sent)
        if missing:
            yield (
                f"{self.where} {self.channel}: {len(missing)} acknowledged publications are"
                f" missing in silence: {missing[:10]}"
            )

    def _missing(self, sent: dict[int, Sent]) -> list[int]:
        """Acknowledged numbers that did not come and that no loss covers."""
        seen = {number for number, _ in self.log}
        found = []
        for number, publication in sent.items():
            if not publication.acknowledged or number in seen:
                continue
            if not self._told_of(publication):
                found.append(number)
        return found

    def _told_of(self, publication: Sent) -> bool:
        """Whether a loss was told between its neighbours or soon after, and not before it began."""
        before = max(
            (i for i, (n, _) in enumerate(self.log) if 0 < n < publication.number), default=-1
        )
        next_at = next((at for n, at in self.log if n > publication.number), math.inf)
        return any(
            n == 0 and publication.started <= at <= next_at + LATE
            for n, at in self.log[before + 1 :]
        )


@dataclass(slots=True)
class Report:
    """What an audit found."""

    published: int
    acknowledged: int
    delivered: int
    recovered: int
    losses: int
    """Times that a subscriber was told that it lost something."""
    violations: list[str]

    @property
    def passed(self) -> bool:
        """Nothing was violated."""
        return not self.violations


class Auditor:
    """Audits servers: ``async with Auditor(options) as auditor: ...; report = await auditor.end()``."""

    def __init__(self, options: AuditOptions) -> None:
        self.options = options
        self.sent: dict[str, dict[int, Sent]] = {channel: {} for channel in options.channels}
        """Channel to number to publication."""
        self.followers: list[Follower] = []
        self._publishing = True
        self._tasks: list[asyncio.Task[None]] = []
        self._publishers: list[asyncio.Task[None]] = []
        self._http: aiohttp.ClientSession | None = None
        self._apis = itertools.cycle(options.apis)

    async def __aenter__(self) -> Self:
        """Returns once all have subscribed.

        Raises:
            CannotAudit: somebody has not, or not to what can be audited.
        """
        timeout = aiohttp.ClientTimeout(total=CALL_TIMEOUT)
        self._http = aiohttp.ClientSession(timeout=timeout)
        for url in self.options.websockets:
            followers = [Follower(channel, url) for channel in self.options.channels]
            self.followers += followers
            self._tasks.append(asyncio.create_task(self._follow(url, followers)))
        try:
            await self._all_subscribed()
        except BaseException:
            await self.__aexit__()
            raise
        for channel in self.options.channels:
            self._publishers.append(asyncio.create_task(self._publish(channel)))
        return self

    async def _all_subscribed(self) -> None:
        deadline = time.monotonic() + self.options.start
        while not all(f.live for f in self.followers) and time.monotonic() < deadline:  # noqa: ASYNC110 - many things change it
            await asyncio.sleep(RETRY_DELAY)
        found = [f"{f.where} {f.channel}: {f.obstacle}" for f in self.followers if f.obstacle]
        if found:
            raise CannotAudit("\n".join(found))

    async def __aexit__(self, *_: object) -> None:
        self._publishing = False
        for task in (*self._tasks, *self._publishers):
            task.cancel()
        await asyncio.gather(*self._tasks, *self._publishers, return_exceptions=True)
        if self._http is not None:
            await self._http.close()

    def acknowledged(self) -> int:
        """Publications that a server acknowledged so far."""
        return sum(s.acknowledged for sent in self.sent.values() for s in sent.values())

    # -- publishing

    async def _call(self, method: str, request: dict[str, Any]) -> dict[str, Any] | None:
        """The result of a call; None if it failed."""
        assert self._http is not None
        headers = {"X-API-Key": self.options.api_key}
        url = f"{next(self._apis)}/{method}"
        try:
            async with self._http.post(url, json=request, headers=headers) as answer:
                body = await answer.json()
        except (aiohttp.ClientError, TimeoutError, ValueError):
            return None
        result: dict[str, Any] | None = body.get("result")
        return result

    async def _publish(self, channel: str) -> None:
        sent = self.sent[channel]
        while self._publishing:
            number = len(sent) + 1
            publication = sent[number] = Sent(number, time.monotonic())
            request = {"channel": channel, "data": {"n": number}}
            result = await self._call("publish", request)
            if result is None:
                await asyncio.sleep(RETRY_DELAY)
                continue
            publication.offset, publication.epoch = result.get("offset", 0), result.get("epoch", "")
            publication.acknowledged = True
            await asyncio.sleep(self.options.interval)

    # -- subscribing

    async def _follow(self, url: str, followers: Sequence[Follower]) -> None:
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError, TimeoutError):
                await self._follow_once(url, followers)
            for follower in followers:
                follower.live = False
            await asyncio.sleep(RETRY_DELAY)

    async def _follow_once(self, url: str, followers: Sequence[Follower]) -> None:
        assert self._http is not None
        timeout = aiohttp.ClientWSTimeout(ws_close=1.0)
        async with self._http.ws_connect(url, timeout=timeout) as socket:
            connection = _Connection(socket, followers)
            await connection.start(self.options.token)
            try:
                async for message in socket:
                    if message.type is not aiohttp.WSMsgType.TEXT:
                        break
                    for line in message.data.split("\n"):
                        await connection.take(json.loads(line))
            finally:
                connection.end()

    # -- the end

    async def end(self) -> Report:
        """Stops publishing, waits until subscribers have everything, and says what was found."""
        self._publishing = False
        await asyncio.gather(*self._publishers, return_exceptions=True)
        deadline = time.monotonic() + self.options.quiet
        while time.monotonic() < deadline and not self._settled():  # noqa: ASYNC110 - likewise
            await asyncio.sleep(RETRY_DELAY)
        violations = [v for f in self.followers for v in f.check(self.sent[f.channel])]
        for channel in self.options.channels:
            violations += await self._check_history(channel)
        return Report(
            published=sum(map(len, self.sent.values())),
            acknowledged=self.acknowledged(),
            delivered=sum(1 for f in self.followers for n, _ in f.log if n),
            recovered=sum(f.recovered for f in self.followers),
            losses=sum(f.losses for f in self.followers),
            violations=violations,
        )

    def _settled(self) -> bool:
        return all(
            follower.live and not list(follower.check(self.sent[follower.channel]))
            for follower in self.followers
        )

    async def _check_history(self, channel: str) -> list[str]:
        request = {"channel": channel, "limit": -1}
        for _ in range(50):
            result = await self._call("history", request)
            if result is not None:
                break
            await asyncio.sleep(RETRY_DELAY)
        else:
            return [f"{channel}: the history cannot be read"]
        kept = {p["offset"]: p["data"].get("n", 0) for p in result.get("publications") or ()}
        oldest = min(kept, default=0)
        lost = [
            s.number
            for s in self.sent[channel].values()
            if s.acknowledged
            and s.epoch == result.get("epoch")
            and oldest
            and s.offset >= oldest
            and kept.get(s.offset) != s.number
        ]
        if not lost:
            return []
        return [
            f"{channel}: {len(lost)} acknowledged publications are not in the history: {lost[:10]}"
        ]


class _Connection:
    """The protocol of one connection, as far as an auditor needs it."""

    def __init__(
        self, socket: aiohttp.ClientWebSocketResponse, followers: Sequence[Follower]
    ) -> None:
        self._socket = socket
        self._followers = {follower.channel: follower for follower in followers}
        self._ids = itertools.count(2)
        self._asked: dict[int, Follower] = {}
        self._retries: set[asyncio.Task[None]] = set()

    async def start(self, token: str) -> None:
        await self._socket.send_str(json.dumps({"id": 1, "connect": {"token": token}}))

    def end(self) -> None:
        for task in self._retries:
            task.cancel()

    async def take(self, reply: dict[str, Any]) -> None:
        if not reply:
            await self._socket.send_str("{}")
        elif reply.get("id") == 1:
            if "error" in reply:
                for follower in self._followers.values():
                    follower.obstacle = f"connecting is refused: {reason(reply)}"
                await self._socket.close()
                return
            for follower in self._followers.values():
                await self._subscribe(follower)
        elif "id" in reply:
            await self._answered(self._asked.pop(reply["id"]), reply)
        elif "push" in reply:
            await self._pushed(reply["push"])

    async def _answered(self, follower: Follower, reply: dict[str, Any]) -> None:
        if "error" in reply:
            follower.obstacle = f"subscribing is refused: {reason(reply)}"
            self._subscribe_later(follower)
        else:
            follower.subscribed(reply["subscribe"])

    async def _pushed(self, push: dict[str, Any]) -> None:
        follower = self._followers[push["channel"]]
        if "pub" in push:
            follower.take(push["pub"])
        elif "unsubscribe" in push:
            follower.live = False
            self._subscribe_later(follower)

    def _subscribe_later(self, follower: Follower) -> None:
        async def later() -> None:
            await asyncio.sleep(RETRY_DELAY)
            await self._subscribe(follower)

        task = asyncio.create_task(later())
        self._retries.add(task)
        task.add_done_callback(self._retries.discard)

    async def _subscribe(self, follower: Follower) -> None:
        if self._socket.closed:
            return
        number = next(self._ids)
        self._asked[number] = follower
        request: dict[str, Any] = {"channel": follower.channel, "recoverable": True}
        if follower.recovers:
            request |= {"recover": True, "offset": follower.offset, "epoch": follower.epoch}
        await self._socket.send_str(json.dumps({"id": number, "subscribe": request}))


def reason(reply: dict[str, Any]) -> str:
    """What an error says."""
    error = reply["error"]
    return f"{error.get('code', 0)} {error.get('message', '')}".rstrip()

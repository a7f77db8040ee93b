"""The requests to JetStream that are needed here."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import time
from datetime import datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple, TypeAlias

from flyball.core.errors import ConfigError, FlyballError
from flyball.engines.nats import wire
from flyball.engines.nats.connection import LinkLostError
from flyball.engines.nats.link import NoRespondersError

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    IsLast: TypeAlias = Callable[[bytes, bytes], bool]

    from flyball.engines.nats.link import NatsLink

OLDEST: Final = (2, 11)
"""The server must be as new: messages that end by themselves, reads of many messages at once."""
START_PATIENCE: Final = 8.0
"""Seconds for which a cluster that is not ready is asked again at the start."""
CLOCK_INTERVAL: Final = 60.0
"""Seconds between looks at the clock of the servers: clocks of machines go apart slowly."""
REPAIR_DELAY: Final = 0.2
"""Seconds until streams that cannot be had are asked for again."""
BATCH: Final = 256
"""Messages read by one request."""
_WRONG_LAST: Final = (10070, 10071, 10164)
"""Codes of: the last message is another one."""
_NOT_YET: Final = (10005, 10008)
"""Codes of: servers are missing, or a leader."""
_EXISTS: Final = 10058
_NO_MESSAGE: Final = 10037


class ApiError(FlyballError):
    """JetStream refuses something."""

    def __init__(self, code: int, text: str) -> None:
        super().__init__(f"JetStream: {text}")
        self.code: int = code


class WrongLastError(ApiError):
    """The last message of the subject is another one than was expected."""


class Stored(NamedTuple):
    """A message of a stream."""

    sequence: int
    subject: str
    data: bytes


class Ack(NamedTuple):
    """Where a message was stored."""

    sequence: int
    duplicate: bool
    """It was stored before, with the same id."""


class JetStream:
    """Requests to JetStream, for streams that are made again when they are gone.

    Args:
        link: to the servers.
        configs: of the streams.
        leader: reads of the last message of a subject ask the server that writes.
        clock: Unix seconds; if none is given, those of the servers.
    """

    def __init__(
        self,
        link: NatsLink,
        configs: Sequence[Mapping[str, Any]],
        *,
        leader: bool,
        clock: Callable[[], float] | None = None,
    ) -> None:
        self._link = link
        self._configs = configs
        self._leader = leader
        self._repair: asyncio.Task[None] | None = None
        self._watch: asyncio.Task[None] | None = None
        self._started = False
        self.on_repaired: Callable[[], None] | None = None
        """Told when the streams are there again."""
        self.now: Callable[[], float] = clock or self._now
        """Unix seconds, the same for all nodes."""
        self._zero = time.time() - time.monotonic()
        """When the steady clock of this machine was 0, by the clock of the servers."""
        self.problem: str = ""
        """Why the streams cannot be used; empty if they can, as far as is known."""

    # -- life

    async def start(self) -> None:
        """Connects, and makes the streams that are not there.

        Raises:
            ConfigError: they cannot be used.
        """
        await self._link.acquire()
        try:
            await self._prepare_soon()
        except FlyballError as error:
            await self.close()
            if isinstance(error, ConfigError):
                raise
            raise ConfigError(f"cannot use JetStream at {self._link.options}: {error}") from None
        except BaseException:
            await self.close()
            raise
        self._started = True
        self._link.on_restored.append(self.repair)
        loop = asyncio.get_running_loop()
        self._watch = loop.create_task(self._watch_clock(), name="flyball jetstream clock")

    async def _prepare_soon(self) -> None:
        """A cluster that has just started has no leader yet: it does not answer, or not well."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + START_PATIENCE
        while True:
            try:
                return await self._prepare()
            except (ApiError, LinkLostError) as error:
                final = isinstance(error, ApiError) and error.code not in _NOT_YET
                if final or loop.time() > deadline:
                    raise
            await asyncio.sleep(REPAIR_DELAY)

    async def close(self) -> None:
        """Disconnects, if no other part of the engine is at work."""
        if self._started:
            self._started = False
            self._link.on_restored.remove(self.repair)
        tasks, self._repair, self._watch = (self._repair, self._watch), None, None
        for task in tasks:
            if task is not None and not task.get_loop().is_closed():
                task.cancel()
                await asyncio.gather(task, return_exceptions=True)
        self.problem = ""
        await self._link.release()

    async def _prepare(self) -> None:
        await self.check()
        for config in self._configs:
            await self.ensure(config)

    def repair(self) -> None:
        """Sees to it that the streams are there, in the background; calls ``on_repaired`` then."""
        if self._repair is None or self._repair.done():
            loop = asyncio.get_running_loop()
            self._repair = loop.create_task(self._try_to_repair(), name="flyball jetstream repair")

    async def _try_to_repair(self) -> None:
        while True:
            try:
                await self._prepare()
            except FlyballError as error:
                self.problem = f"nats {self._link.options}: {error}"
            else:
                self.problem = ""
                break
            await asyncio.sleep(REPAIR_DELAY)
        if self.on_repaired is not None:
            self.on_repaired()

    # -- what time it is

    def _now(self) -> float:
        return time.monotonic() + self._zero

    async def _watch_clock(self) -> None:
        while True:
            await asyncio.sleep(CLOCK_INTERVAL)
            with contextlib.suppress(FlyballError):  # health tells of servers that do not answer
                for config in self._configs[:1]:
                    await self._info(config["name"])

    async def _info(self, stream: str) -> dict[str, Any]:
        """What a server says of a stream, and what time it is there."""
        sent = time.monotonic()
        found = await self.call(f"STREAM.INFO.{stream}", {})
        self._zero = _time_of(found) - (sent + time.monotonic()) / 2
        return found

    # -- what streams there are

    async def check(self) -> None:
        """Looks whether the server can do what is needed.

        Raises:
            ConfigError: it cannot.
        """
        version = str(self._link.info.get("version", ""))
        try:
            number = tuple(int(part) for part in version.split(".")[:2])
        except ValueError:
            number = ()
        if number < OLDEST:
            wanted = ".".join(map(str, OLDEST))
            raise ConfigError(f"JetStream needs NATS {wanted} or newer; the server is {version!r}")
        try:
            await self.call("INFO", {})
        except NoRespondersError:
            raise ConfigError(
                "JetStream is not switched on at the NATS server; add jetstream {} to its"
                " configuration"
            ) from None

    async def ensure(self, config: Mapping[str, Any]) -> None:
        """Makes a stream if it is not there.

        Raises:
            ConfigError: there is one of this name that is another's.
        """
        name = config["name"]
        try:
            await self.call(f"STREAM.CREATE.{name}", config)
        except ApiError as error:
            if error.code != _EXISTS:
                raise
        found = (await self._info(name))["config"]
        for key in ("subjects", "republish", "allow_direct", "allow_msg_ttl"):
            if (found.get(key) or None) != config.get(key):
                raise ConfigError(
                    f"the JetStream stream {name} has {key} {found.get(key)!r},"
                    f" {config.get(key)!r} is needed; choose another prefix, or remove the stream"
                )

    async def call(self, what: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Asks the API.

        Raises:
            ApiError: it refuses.
            FlyballError: the link is down, or nobody answers.
        """
        found = await self._ask(f"$JS.API.{what}".encode(), json.dumps(request).encode())
        return _answer(found[0][1])

    async def _ask(
        self, subject: bytes, data: bytes, headers: bytes = b"", is_last: IsLast | None = None
    ) -> list[tuple[bytes, bytes]]:
        """No answer means that the stream is gone, or has no leader: that is looked into."""
        try:
            return await self._link.request_many(subject, data, headers, is_last or _any)
        except (NoRespondersError, LinkLostError):
            if self._started and not self._link.problem:
                self.repair()
            raise

    # -- messages

    async def publish(self, subject: bytes, data: bytes, headers: Mapping[str, str]) -> Ack:
        """Stores a message.

        Raises:
            WrongLastError: see the header ``Nats-Expected-Last-Subject-Sequence``.
            ApiError: it is refused.
        """
        block = wire.header_block(headers) if headers else b""
        found = _answer((await self._ask(subject, data, block))[0][1])
        return Ack(int(found["seq"]), bool(found.get("duplicate")))

    async def last(self, stream: str, subject: bytes) -> Stored | None:
        """The last message of a subject."""
        if self._leader:
            return await self._get(stream, {"last_by_subj": subject.decode()})
        found = await self._direct(stream, {"last_by_subj": subject.decode()})
        return found[0] if found else None

    async def last_of(self, stream: str, subjects: Sequence[bytes]) -> dict[str, Stored]:
        """The last messages of subjects, as one server has them at one time."""
        request = {"multi_last": [subject.decode() for subject in subjects], "batch": BATCH}
        return {stored.subject: stored for stored in await self._direct(stream, request)}

    async def at(self, stream: str, sequence: int) -> Stored | None:
        """The message at a place."""
        if self._leader:
            return await self._get(stream, {"seq": sequence})
        found = await self._direct(stream, {"seq": sequence})
        return found[0] if found else None

    async def following(
        self, stream: str, subject: bytes, sequence: int, most: int = BATCH
    ) -> list[Stored]:
        """Messages of a subject from a place on: ``most`` of them at most."""
        request = {"seq": sequence, "next_by_subj": subject.decode(), "batch": most}
        return await self._direct(stream, request)

    async def purge(self, stream: str, subject: bytes, below: int) -> None:
        """Removes the messages of a subject before a place."""
        await self.call(f"STREAM.PURGE.{stream}", {"filter": subject.decode(), "seq": below})

    async def _get(self, stream: str, request: Mapping[str, Any]) -> Stored | None:
        try:
            found = (await self.call(f"STREAM.MSG.GET.{stream}", request))["message"]
        except ApiError as error:
            if error.code == _NO_MESSAGE:
                return None
            raise
        data = base64.b64decode(found.get("data", ""))
        return Stored(int(found["seq"]), str(found["subject"]), data)

    async def _direct(self, stream: str, request: Mapping[str, Any]) -> list[Stored]:
        """Reads messages from whichever server has a copy."""
        is_last = _is_end if "batch" in request else _any
        subject = f"$JS.API.DIRECT.GET.{stream}".encode()
        answers = await self._ask(subject, json.dumps(request).encode(), b"", is_last)
        return [stored for block, data in answers if (stored := _stored(block, data)) is not None]


def _answer(data: bytes) -> dict[str, Any]:
    try:
        found = json.loads(data)
    except ValueError:
        found = None
    if not isinstance(found, dict):
        raise ApiError(0, f"an answer that is not understood: {data[:80]!r}")
    error = found.get("error")
    if error is not None:
        code = int(error.get("err_code", 0))
        kind = WrongLastError if code in _WRONG_LAST else ApiError
        raise kind(code, str(error.get("description", "")))
    return found


def _time_of(found: dict[str, Any]) -> float:
    """When a server gave an answer, by its clock."""
    try:
        return datetime.fromisoformat(found["ts"]).timestamp()
    except (KeyError, TypeError, ValueError):
        raise ApiError(0, f"an answer that does not tell its time: {found.get('ts')!r}") from None


def _any(_headers: bytes, _data: bytes) -> bool:
    return True


def _is_end(headers: bytes, _data: bytes) -> bool:
    """The answer to a read of many has a status, and no message."""
    return headers[8:9] == b" "


def _stored(block: bytes, data: bytes) -> Stored | None:
    headers = wire.read_headers(block)
    status = headers.get("status", "")
    if status:
        if status in ("204", "404"):
            return None
        raise ApiError(0, f"{status} {headers.get('description', '')}")
    try:
        return Stored(int(headers["nats-sequence"]), headers["nats-subject"], data)
    except (KeyError, ValueError):
        raise ApiError(0, "a message without its place") from None

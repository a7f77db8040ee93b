"""What workers that share the ports ask each other: how they are, and what they have counted."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Final

import msgspec

from flyball.server.common.health import Health

if TYPE_CHECKING:
    from pathlib import Path

    from flyball.server.common.worker_place import WorkerPlace

HEALTH: Final = "/health"
METRICS: Final = "/metrics"
"""Paths on the sockets of workers, whatever the configuration names the public ones."""
HEALTH_TIMEOUT: Final = 2.0
METRICS_TIMEOUT: Final = 10.0
"""Seconds until a worker that does not answer is given up."""


class NoAnswer(Exception):
    """A worker does not answer; the text says why."""


class Siblings:
    """The other workers. They are asked over their own sockets: that works without the engine."""

    def __init__(self, place: WorkerPlace) -> None:
        self.place: WorkerPlace = place

    async def health(self, own: Health) -> Health:
        """What is wrong with any worker, with its number; ``own`` is what is wrong with this."""
        told, silent = {self.place.number: own}, []
        for number, answer in (await self._ask_all(HEALTH, HEALTH_TIMEOUT)).items():
            if isinstance(answer, NoAnswer):
                silent.append(f"worker {number} {answer}")
            else:
                told[number] = msgspec.json.decode(answer, type=Health)
        return Health(
            [f"worker {n}: {text}" for n, each in told.items() for text in each.problems] + silent,
            [f"worker {n}: {text}" for n, each in told.items() for text in each.degraded],
        )

    async def metrics(self) -> tuple[list[bytes], list[str]]:
        """The pages of the others, and who gave none."""
        pages, silent = [], []
        for number, answer in (await self._ask_all(METRICS, METRICS_TIMEOUT)).items():
            if isinstance(answer, NoAnswer):
                silent.append(f"worker {number} {answer}")
            else:
                pages.append(answer)
        return pages, silent

    async def _ask_all(self, path: str, seconds: float) -> dict[int, bytes | NoAnswer]:
        others = self.place.others
        asked = [ask(self.place.socket_of(number), path, seconds) for number in others]
        answers = await asyncio.gather(*asked)
        return dict(zip(others, answers, strict=True))


async def ask(socket: Path, path: str, seconds: float) -> bytes | NoAnswer:
    """The body of a worker's answer."""
    try:
        async with asyncio.timeout(seconds):
            reader, writer = await asyncio.open_unix_connection(str(socket))
            try:
                # Of HTTP/1.0, where the end of the connection is the end of the answer.
                writer.write(f"GET {path} HTTP/1.0\r\n\r\n".encode())
                answer = await reader.read(-1)
            finally:
                writer.close()
    except TimeoutError:
        return NoAnswer(f"does not answer within {seconds:g} s")
    except OSError as error:
        return NoAnswer(f"does not answer: {error.strerror or error}")
    return _body_of(answer)


def _body_of(answer: bytes) -> bytes | NoAnswer:
    head, blank, body = answer.partition(b"\r\n\r\n")
    if not blank or not head.startswith(b"HTTP/1."):
        return NoAnswer("does not answer: it ended")
    status = head[9:12].decode("latin-1")
    # Whoever has problems says so, in JSON; other words are those of a handler that failed.
    if status == "200" or b"\r\ncontent-type: application/json" in head.lower():
        return body
    return NoAnswer(f"does not answer: status {status}")

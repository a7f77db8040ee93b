"""What the comparisons of engines with bare client libraries have in common."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

from flyball.core.types import PublishOptions

WORKERS = 100
"""Operations under way at a time."""
DATA = b'{"text":"hello, this is a message of a usual size","n":12345}'
KEPT = PublishOptions(history_size=100, history_ttl=60)
MISSED = 50
"""Publications that a recovery brings."""
REPEATS = 3

Work = Callable[[int], Awaitable[Any]]


class Figures(NamedTuple):
    """What one measurement gave."""

    rate: float
    """Operations in a second."""
    p99: float
    """Milliseconds."""
    cpu: float
    """Microseconds of CPU for each."""


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table."""

    title: str
    library: Figures
    flyball: Figures
    limit: float = 2.0
    """Highest ratio that is fine."""
    by_cpu: bool = False
    """CPU of this process is compared, not time."""

    @property
    def ratio(self) -> float:
        """How many times the library's time, or CPU, an operation takes."""
        if self.by_cpu:
            return self.flyball.cpu / self.library.cpu
        return self.library.rate / self.flyball.rate


class Pipelined(NamedTuple):
    """Work that does :data:`WORKERS` operations at once, in one write."""

    batch: Callable[[], Awaitable[Any]]


async def measure(work: Work | Pipelined, seconds: float) -> Figures:
    """Does ``work`` as often as it goes; it gets the number of the worker."""
    if isinstance(work, Pipelined):
        batch = work.batch
        figures = await _measure(lambda _: batch(), seconds, workers=1)
        return Figures(figures.rate * WORKERS, figures.p99, figures.cpu / WORKERS)
    return await _measure(work, seconds, WORKERS)


async def _measure(work: Work, seconds: float, workers: int) -> Figures:
    times: list[float] = []
    end = time.perf_counter() + seconds

    async def worker(number: int) -> None:
        while (start := time.perf_counter()) < end:
            await work(number)
            times.append(time.perf_counter() - start)

    cpu, start = time.process_time(), time.perf_counter()
    await asyncio.gather(*(worker(number) for number in range(workers)))
    took, cpu = time.perf_counter() - start, time.process_time() - cpu
    p99 = statistics.quantiles(times, n=100)[98]
    return Figures(len(times) / took, p99 * 1e3, cpu / len(times) * 1e6)


async def compare(
    title: str, library: Work | Pipelined, flyball: Work, seconds: float, **how: Any
) -> Row:
    """Both in turn; the median of the rates."""
    found: dict[Work | Pipelined, list[Figures]] = {library: [], flyball: []}
    for _ in range(REPEATS):
        for work, figures in found.items():
            figures.append(await measure(work, seconds))
    bare, ours = (sorted(figures)[REPEATS // 2] for figures in found.values())
    return Row(title, bare, ours, **how)


class Counter:
    """A broker's events: whoever waits for a publication is told."""

    def __init__(self) -> None:
        self.waiting: dict[str, asyncio.Future[None]] = {}

    def expect(self, channel: str) -> asyncio.Future[None]:
        """Done with the next publication of the channel."""
        self.waiting[channel] = asyncio.get_running_loop().create_future()
        return self.waiting[channel]

    def came(self, channel: str) -> None:
        """A publication is there."""
        future = self.waiting.get(channel)
        if future is not None and not future.done():
            future.set_result(None)

    def on_publication(self, channel: str, *_: object, **__: object) -> None:
        """See ``BrokerEvents``."""
        self.came(channel)

    def __getattr__(self, name: str) -> Any:
        return lambda *_: None

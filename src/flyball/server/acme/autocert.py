"""Keeps every configured name supplied with a valid certificate."""

from __future__ import annotations

import asyncio
import datetime as dt
import random
import ssl
import threading
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Final, Protocol

import structlog

from flyball.aio.clock import LoopClock
from flyball.server.acme.cache import RSA_SUFFIX, FolderCache, MemoryCache
from flyball.server.acme.certificate import Certificate
from flyball.server.acme.challenges import Challenges
from flyball.server.acme.http01 import challenge_routes
from flyball.server.acme.problem import IssueError
from flyball.server.acme.schedule import WANTED_WAIT, renewal_time, retry_delay
from flyball.server.acme.tls import Names
from flyball.server.acme.worker import in_thread

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from flyball.aio.clock import Clock
    from flyball.http.routes import Route
    from flyball.server.acme.cache import Cache
    from flyball.server.acme.options import AutocertOptions

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.acme")

_LONGEST_NAP: Final = 3600.0
"""Timers stand still while a machine sleeps, and its clock may be set: look again."""
_BUSY_WAIT: Final = 5.0
_THREAD_GRACE: Final = 60.0
_STOP_WAIT: Final = 2.0


class Issuer(Protocol):
    """Gets certificates."""

    def issue(self, host: str, stop: threading.Event) -> bytes:
        """Key and chain for ``host``, as PEM; blocks. Raises :class:`IssueError`."""


class _Busy(Exception):
    """Another process that shares the cache is at it."""


@dataclass(slots=True)
class _Task:
    """What is to be done for one name. Times are Unix seconds."""

    host: str
    due: float
    """When to try."""
    soonest: float = 0.0
    """When to try if clients ask for it."""
    failures: int = 0
    """In a row."""


class Autocert:
    """Certificates for a fixed set of names, got and renewed in the background.

    A name whose certificate is missing refuses handshakes until it is there; a certificate that
    cannot be renewed goes on being served. Use::

        autocert = Autocert(options)
        listener = Listener(ListenerOptions(ssl_context=autocert.context()))
        await autocert.load()
        await listener.start()
        autocert.start()
        ...
        await autocert.stop()

    Args:
        options: the names and the authority.
        clock: where time comes from.
        cache: in place of the one that the options tell of.
        issuer: in place of the ACME client.
        draw: random numbers from 0 to 1.
        served: is kept as a list of the names that are served, with the Unix time at which the
            certificate of each ends.

    Raises:
        OSError: the cache directory can be neither found nor made.
        ImportError: the packages of the ``acme`` extra are missing.
    """

    def __init__(
        self,
        options: AutocertOptions,
        *,
        clock: Clock | None = None,
        cache: Cache | None = None,
        issuer: Issuer | None = None,
        draw: Callable[[], float] = random.random,
        served: dict[str, float] | None = None,
    ) -> None:
        self.options = options
        self._clock = clock or LoopClock()
        self._cache = cache or _cache(options)
        self.challenges: Challenges = Challenges(self._cache)
        self._issuer = issuer or _issuer(options, self._cache, self.challenges)
        self._draw = draw
        self._served = {} if served is None else served
        self._names = Names(options.hosts, options.server_name, self.challenges, self._wanted)
        self._tasks = {host: _Task(host, 0.0) for host in options.hosts}
        self._wake = asyncio.Event()
        self._keeper: asyncio.Task[None] | None = None
        self._working: asyncio.Future[Certificate] | None = None

    def context(self, alpn: Iterable[str] = ()) -> ssl.SSLContext:
        """A TLS context for one more listener, which offers these protocols (ALPN)."""
        return self._names.context(alpn)

    def challenge_routes(self) -> list[Route]:
        """What is served on the port that http-01 challenges come to."""
        return challenge_routes(self.challenges)

    def certificate(self, host: str) -> Certificate | None:
        """What is served for ``host`` now."""
        return self._names.certificates.get(host)

    # -- life

    async def load(self) -> None:
        """Takes what the cache holds; to be called before ports are opened."""
        if not self.options.cache_dir:
            logger.warning(
                "certificates are kept in memory only: every start asks for new ones, and"
                " authorities limit how many a week",
                key="http_server.tls_autocert.cache_dir",
            )
        for task in self._tasks.values():
            kept = await in_thread("acme-load", partial(self._take, task.host))
            task.due = self._renewal(kept) if kept else self._clock.time()

    async def start(self) -> None:
        """Begins to get and renew; to be called once ports are open, as challenges need them."""
        self._keeper = asyncio.get_running_loop().create_task(self._keep(), name="acme")

    async def stop(self) -> None:
        """Ends the work; an attempt under way is given up."""
        if self._keeper is not None:
            self._keeper.cancel()
            with suppress(asyncio.CancelledError):
                await self._keeper
            self._keeper = None
        if self._working is not None:
            # It takes its challenge back.
            await asyncio.wait([self._working], timeout=_STOP_WAIT)

    async def _keep(self) -> None:
        while True:
            task = min(self._tasks.values(), key=lambda task: task.due)
            left = task.due - self._clock.time()
            if left > 0:
                await self._nap(min(left, _LONGEST_NAP))
            else:
                await self._supply(task)

    async def _nap(self, seconds: float) -> None:
        self._wake.clear()
        timer = self._clock.call_later(seconds, self._wake.set)
        try:
            await self._wake.wait()
        finally:
            timer.cancel()

    def _wanted(self, host: str) -> None:
        """A client asked for a name without certificate."""
        task = self._tasks[host]
        if task.soonest < task.due:
            task.due = task.soonest
            self._wake.set()

    # -- one attempt

    async def _supply(self, task: _Task) -> None:
        stop = threading.Event()
        self._working = in_thread("acme-issue", lambda: self._obtain(task.host, stop))
        # Nobody may be there any more to hear of its failure.
        self._working.add_done_callback(lambda done: done.cancelled() or done.exception())
        try:
            async with asyncio.timeout(self.options.issue_timeout + _THREAD_GRACE):
                certificate = await asyncio.shield(self._working)
        except _Busy:
            task.due = self._clock.time() + _BUSY_WAIT
        except IssueError as error:
            self._failed(task, str(error), error.retry_after)
        except TimeoutError:
            self._failed(task, "it took too long")
        except Exception as error:  # noqa: BLE001 - whatever it is, the next attempt comes
            self._failed(task, f"{type(error).__name__}: {error}")
        else:
            task.failures, task.due = 0, self._renewal(certificate)
            task.soonest = task.due
        finally:
            stop.set()

    def _failed(self, task: _Task, reason: str, asked: float = 0.0) -> None:
        task.failures += 1
        now = self._clock.time()
        delay = retry_delay(task.failures, self._draw(), asked)
        task.due = now + delay
        task.soonest = now + max(WANTED_WAIT, asked)
        current = self.certificate(task.host)
        is_served = current is not None and current.is_valid(now)
        log = logger.warning if is_served else logger.error
        log(
            "no certificate obtained",
            host=task.host,
            reason=reason,
            retry_in=round(delay),
            served_until=_iso(current.not_after) if current else "nothing is served",
        )

    def _renewal(self, certificate: Certificate) -> float:
        return renewal_time(certificate.not_before, certificate.not_after, self._draw())

    # -- on worker threads

    def _take(self, host: str) -> Certificate | None:
        """Serves what the cache has for ``host``, if that is good and newer than what is served."""
        for name in (host, host + RSA_SUFFIX):
            try:
                pem = self._cache.get(name)
                if pem is None:
                    continue
                found = Certificate.parse(pem, host)
                if not found.is_valid(self._clock.time()):
                    logger.info("certificate in the cache has expired", host=host, file=name)
                    continue
                current = self.certificate(host)
                if current is not None and found.not_after <= current.not_after:
                    continue
                self._put(host, found)
            except (OSError, ValueError) as error:
                logger.warning(
                    "certificate in the cache is of no use", host=host, file=name, reason=str(error)
                )
                continue
            logger.info(
                "certificate taken from the cache", host=host, expires=_iso(found.not_after)
            )
            return found
        return None

    def _put(self, host: str, certificate: Certificate) -> None:
        self._names.put(host, certificate)
        self._served[host] = certificate.not_after

    def _obtain(self, host: str, stop: threading.Event) -> Certificate:
        with self._cache.exclusively() as is_ours:
            # Another process may have been quicker.
            kept = self._take(host)
            if kept is not None and self._clock.time() < renewal_time(
                kept.not_before, kept.not_after, 0.0
            ):
                return kept
            if not is_ours:
                raise _Busy
            pem = self._issuer.issue(host, stop)
            try:
                certificate = Certificate.parse(pem, host)
                self._put(host, certificate)
            except (ValueError, ssl.SSLError) as error:
                raise IssueError(f"the authority's certificate is of no use: {error}") from None
            logger.info("certificate obtained", host=host, expires=_iso(certificate.not_after))
            try:
                self._cache.put(host, pem)
            except OSError as error:
                logger.error(  # noqa: TRY400 - a traceback helps no operator
                    "certificate cannot be kept",
                    key="http_server.tls_autocert.cache_dir",
                    error=str(error),
                )
            return certificate


def _cache(options: AutocertOptions) -> Cache:
    return FolderCache(options.cache_dir) if options.cache_dir else MemoryCache()


def _issuer(options: AutocertOptions, cache: Cache, challenges: Challenges) -> Issuer:
    # Takes a while, and comes with an extra.
    from flyball.server.acme.issuer import AcmeIssuer

    return AcmeIssuer(options, cache, challenges)


def _iso(moment: float) -> str:
    return dt.datetime.fromtimestamp(moment, dt.UTC).isoformat(timespec="seconds")

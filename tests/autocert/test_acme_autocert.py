"""When certificates are got and renewed, with a clock and an authority of the test."""

import asyncio
import threading

import pytest
import structlog
from acme_certs import DAY, pair
from waiting import until

from flyball.server.acme import Autocert, AutocertOptions, IssueError
from flyball.server.acme.cache import FolderCache, MemoryCache
from flyball.testing.clock import TestClock


class Authority:
    """Issues certificates of 90 days at once, unless the test says otherwise."""

    def __init__(self, clock):
        self.clock = clock
        self.asked = []
        self.failure = None
        self.life = 90 * DAY
        self.gate = threading.Event()
        self.gate.set()

    def issue(self, host, stop):
        self.asked.append(host)
        while not self.gate.wait(0.001):
            if stop.is_set():
                raise IssueError("the server stops")
        if self.failure is not None:
            raise self.failure
        now = self.clock.time()
        return pair(host, start=now, end=now + self.life)


class World:
    def __init__(self):
        self.clock = TestClock()
        self.authority = Authority(self.clock)
        self.cache = MemoryCache()
        self.served = {}
        self.running = []

    async def start(self, *hosts, cache=None, **options):
        autocert = Autocert(
            AutocertOptions(hosts, **options),
            clock=self.clock,
            cache=cache or self.cache,
            issuer=self.authority,
            draw=lambda: 0.0,
            served=self.served,
        )
        autocert.context()
        await autocert.load()
        await autocert.start()
        self.running.append(autocert)
        return autocert

    async def rests(self):
        """All work is done: only a timer is left."""
        await until(lambda: self.clock.pending)

    async def advance(self, seconds):
        self.clock.advance(seconds)
        await asyncio.sleep(0)
        await self.rests()


@pytest.fixture
async def world():
    world = World()
    yield world
    world.authority.gate.set()
    for autocert in world.running:
        await autocert.stop()


@pytest.fixture
def logs():
    with structlog.testing.capture_logs() as records:
        yield records


def failures(logs):
    return [r for r in logs if r["event"] == "no certificate obtained"]


async def test_all_names_are_supplied_at_start(world):
    autocert = await world.start("a.test", "b.test")
    assert autocert.certificate("a.test") is None
    await world.rests()
    assert world.authority.asked == ["a.test", "b.test"]
    for host in ("a.test", "b.test"):
        assert autocert.certificate(host).not_before == world.clock.time()
        assert world.cache.get(host) == autocert.certificate(host).pem


async def test_a_start_takes_what_the_cache_has(world, logs):
    now = world.clock.time()
    world.cache.put("a.test", pair("a.test", start=now - DAY, end=now + 89 * DAY))
    world.cache.put("b.test+rsa", pair("b.test", start=now - DAY, end=now + 89 * DAY, kind="rsa"))
    autocert = await world.start("a.test", "b.test")
    assert autocert.certificate("a.test").pem == world.cache.get("a.test")
    assert autocert.certificate("b.test").pem == world.cache.get("b.test+rsa")
    await world.rests()
    assert world.authority.asked == []
    assert [r["host"] for r in logs if r["event"] == "certificate taken from the cache"] == [
        "a.test",
        "b.test",
    ]


async def test_files_of_no_use_are_named_and_replaced(world, logs):
    now = world.clock.time()
    world.cache.put("a.test", b"nonsense")
    world.cache.put("b.test", pair("other.test", start=now - DAY, end=now + DAY))
    world.cache.put("c.test", pair("c.test", start=now - 90 * DAY, end=now - 1))
    autocert = await world.start("a.test", "b.test", "c.test")
    assert all(autocert.certificate(host) is None for host in autocert.options.hosts)
    await world.rests()
    assert world.authority.asked == ["a.test", "b.test", "c.test"]
    reasons = [r["reason"] for r in logs if r["event"] == "certificate in the cache is of no use"]
    assert reasons[:2] == ["no private key that can be read", "the certificate is not for b.test"]


async def test_renewal_in_time(world):
    autocert = await world.start("a.test")
    await world.rests()
    first = autocert.certificate("a.test")
    for _ in range(60):
        assert len(world.authority.asked) == 1
        await world.advance(DAY)
    assert world.authority.asked == ["a.test", "a.test"]
    assert autocert.certificate("a.test").not_after == first.not_after + 60 * DAY
    assert world.served == {"a.test": first.not_after + 60 * DAY}


async def test_a_clock_that_jumps_is_noticed(world):
    await world.start("a.test")
    await world.rests()
    world.clock._start += 60 * DAY
    await world.advance(3600)
    assert len(world.authority.asked) == 2


async def test_failures_are_told_and_retried(world, logs):
    world.authority.failure = IssueError("DNS problem: NXDOMAIN looking up A (dns)")
    await world.start("a.test")
    await world.rests()
    [told] = failures(logs)
    assert told["log_level"] == "error"
    assert told["host"] == "a.test"
    assert told["reason"] == "DNS problem: NXDOMAIN looking up A (dns)"
    assert told["retry_in"] == 60
    assert told["served_until"] == "nothing is served"
    await world.advance(59)
    assert len(world.authority.asked) == 1
    await world.advance(1)
    assert len(world.authority.asked) == 2
    await world.advance(179)
    assert len(world.authority.asked) == 2
    world.authority.failure = None
    await world.advance(1)
    assert len(world.authority.asked) == 3
    assert world.running[0].certificate("a.test") is not None
    assert len(failures(logs)) == 2


async def test_the_wait_that_the_authority_asks_for(world):
    world.authority.failure = IssueError("too many certificates (rateLimited)", 7200)
    autocert = await world.start("a.test")
    await world.rests()
    autocert._wanted("a.test")
    await world.advance(7199)
    assert len(world.authority.asked) == 1
    await world.advance(1)
    assert len(world.authority.asked) == 2


async def test_a_valid_certificate_is_served_while_renewal_fails(world, logs):
    autocert = await world.start("a.test")
    await world.rests()
    first = autocert.certificate("a.test")
    world.authority.failure = IssueError("maintenance")
    await world.advance(60 * DAY)
    assert autocert.certificate("a.test") is first
    [told] = failures(logs)
    assert told["log_level"] == "warning"
    assert told["served_until"] == "2027-04-15T08:00:00+00:00"
    await world.advance(31 * DAY)
    assert autocert.certificate("a.test") is first
    assert failures(logs)[-1]["log_level"] == "error"
    world.authority.failure = None
    await world.advance(6 * 3600)
    assert autocert.certificate("a.test").not_after > first.not_after


async def test_one_bad_name_does_not_hold_up_the_others(world):
    class Choosy(Authority):
        def issue(self, host, stop):
            if host == "bad.test":
                raise IssueError("no")
            return super().issue(host, stop)

    world.authority = Choosy(world.clock)
    autocert = await world.start("bad.test", "a.test")
    await world.rests()
    assert autocert.certificate("a.test") is not None


async def test_clients_that_want_a_name_bring_the_next_attempt_forward(world):
    world.authority.failure = IssueError("no")
    autocert = await world.start("a.test")
    await world.rests()
    for wait in (60, 180, 540, 1620):
        await world.advance(wait)
    assert len(world.authority.asked) == 5
    # The next one would come in 81 minutes.
    autocert._wanted("a.test")
    await world.advance(719)
    assert len(world.authority.asked) == 5
    await world.advance(1)
    assert len(world.authority.asked) == 6


@pytest.mark.parametrize(
    ("failure", "reason"),
    [
        (ZeroDivisionError("oops"), "ZeroDivisionError: oops"),
        (IssueError("first line"), "first line"),
    ],
)
async def test_whatever_fails_the_next_attempt_comes(world, logs, failure, reason):
    world.authority.failure = failure
    autocert = await world.start("a.test")
    await world.rests()
    assert failures(logs)[0]["reason"] == reason
    assert "exc_info" not in failures(logs)[0]
    world.authority.failure = None
    await world.advance(60)
    assert autocert.certificate("a.test") is not None


async def test_an_authority_that_sends_something_else(world, logs):
    world.authority.issue = lambda *_: pair("other.test", start=0, end=1)
    await world.start("a.test")
    await world.rests()
    assert "the certificate is not for a.test" in failures(logs)[0]["reason"]


async def test_a_worker_that_never_comes_back(world, logs):
    autocert = await world.start("a.test", issue_timeout=-60.0)
    await world.rests()
    assert failures(logs)[0]["reason"] == "it took too long"
    await autocert.stop()


async def test_a_full_disk_does_not_keep_a_certificate_from_use(world, logs, tmp_path):
    class Full(MemoryCache):
        def put(self, name, data):
            raise OSError(28, "No space left on device")

    autocert = await world.start("a.test", cache=Full())
    await world.rests()
    assert autocert.certificate("a.test") is not None
    [told] = [r for r in logs if r["event"] == "certificate cannot be kept"]
    assert "No space left" in told["error"]


async def test_a_file_that_cannot_be_read(world, logs):
    class Broken(MemoryCache):
        def get(self, name):
            raise PermissionError(13, "Permission denied")

    autocert = await world.start("a.test", cache=Broken())
    await world.rests()
    assert autocert.certificate("a.test") is not None
    assert autocert.challenges.text_for("abc") is None
    assert "Permission denied" in str(logs)


async def test_another_process_is_at_it(world, tmp_path):
    theirs, ours = FolderCache(tmp_path), FolderCache(tmp_path)
    with theirs.exclusively():
        autocert = await world.start("a.test", cache=ours)
        await world.rests()
        assert world.authority.asked == []
        now = world.clock.time()
        theirs.put("a.test", pair("a.test", start=now, end=now + 90 * DAY))
    await world.advance(5)
    assert autocert.certificate("a.test").pem == theirs.get("a.test")
    assert world.authority.asked == []


async def test_another_process_has_renewed(world):
    autocert = await world.start("a.test")
    await world.rests()
    now = world.clock.time() + 60 * DAY
    newer = pair("a.test", start=now, end=now + 90 * DAY)
    world.clock.advance(59 * DAY)
    await world.rests()
    world.cache.put("a.test", newer)
    await world.advance(DAY)
    assert autocert.certificate("a.test").pem == newer
    assert len(world.authority.asked) == 1


async def test_stopping_gives_an_attempt_up(world, logs):
    world.authority.gate.clear()
    autocert = await world.start("a.test")
    await until(lambda: world.authority.asked)
    await autocert.stop()
    assert autocert._working.done()
    assert failures(logs) == []
    assert autocert.certificate("a.test") is None


async def test_stopping_what_was_never_started(world):
    autocert = Autocert(AutocertOptions(("a.test",)), issuer=world.authority)
    await autocert.stop()


async def test_memory_only_is_warned_about(world, logs, tmp_path):
    await world.start("a.test")
    assert logs[0]["key"] == "http_server.tls_autocert.cache_dir"
    logs.clear()
    await world.start("a.test", cache_dir=str(tmp_path))
    assert not [r for r in logs if "key" in r]

"""When a link tries again, and what its watch does."""

import asyncio

from waiting import until

from flyball.core.errors import FlyballError
from flyball.engines.common.links import LinkWatch, forget, keep_trying, retry_delays


class Connection:
    """What a watch sees of a connection."""

    def __init__(self):
        self.heard_at = self.waits_since = asyncio.get_running_loop().time()
        self.waiting = False
        self.events = []

    def abort(self, reason):
        self.events.append(reason)


def watch(limit=0.08):
    return LinkWatch(limit, lambda c: c.waiting, lambda c: c.events.append("asked"))


def test_attempts_come_less_and_less_often_and_spread():
    found = [delay for _, delay in zip(range(12), retry_delays(), strict=False)]
    bounds = [min(0.05 * 2**n, 1.0) for n in range(12)]
    assert all(bound / 2 <= delay <= bound for delay, bound in zip(found, bounds, strict=True))


async def test_connecting_goes_on_whatever_fails(caplog):
    failures, told = iter([FlyballError("no"), TimeoutError(), ValueError("odd")]), []

    async def connect():
        for failure in failures:
            raise failure

    await keep_trying(connect, told.append)
    assert told == ["no", "no answer", "ValueError: odd"]
    # What is expected is the callee's to tell; anything else has its traceback in the log.
    assert [record.exc_info[0] for record in caplog.records] == [ValueError]


async def test_a_connection_of_which_nothing_is_heard_is_asked():
    connection, looks = Connection(), watch()
    looks.start(connection)
    await until(lambda: connection.events)
    looks.stop()
    assert set(connection.events) == {"asked"}


async def test_a_connection_that_does_not_answer_is_given_up_once():
    connection, looks = Connection(), watch()
    connection.waiting = True
    looks.start(connection)
    await until(lambda: connection.events)
    await asyncio.sleep(0)
    assert connection.events == ["no answer within 0.08 s"]
    looks.stop()
    looks.stop()


async def test_whatever_becomes_of_a_forgotten_answer():
    loop = asyncio.get_running_loop()
    failed, cancelled, fine = (loop.create_future() for _ in range(3))
    failed.set_exception(ValueError())
    cancelled.cancel()
    fine.set_result(1)
    for future in (failed, cancelled, fine):
        forget(future)

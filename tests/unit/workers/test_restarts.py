"""When what has ended is started again."""

import pytest

from flyball.core.errors import ConfigError
from flyball.engines.redis import embedded
from flyball.server.workers import supervisor
from flyball.server.workers.process import LONGEST_DELAY, SETTLED, Restarts
from flyball.server.workers.supervisor import Store


class Time:
    now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def time():
    return Time()


def test_ever_later_while_it_ends_at_once(time):
    restarts, delays = Restarts(time), []
    for _ in range(10):
        restarts.started()
        time.now += 0.01
        delays.append(restarts.ended())
        assert not restarts.is_due
        time.now += delays[-1]
        assert restarts.is_due
    assert delays[0] < 1
    assert delays == sorted(delays)
    assert delays[-1] == LONGEST_DELAY
    assert restarts.in_a_row == 10
    restarts.started()
    time.now += SETTLED + 1
    assert restarts.ended() == delays[0]
    assert restarts.in_a_row == 1


class Server:
    """In place of the embedded one: does not start while it is ``broken``."""

    url = "unix://x"
    ended = True
    broken = True
    starts = 0

    async def start(self):
        self.starts += 1
        if self.broken:
            raise ConfigError("no program")
        self.ended = False

    def stop(self):
        self.ended = True


async def test_a_store_that_does_not_start_again_is_tried_again(time, monkeypatch):
    monkeypatch.setattr(embedded, "EmbeddedServer", Server)
    store = Store()
    store._restarts = Restarts(time)
    told = []
    monkeypatch.setattr(supervisor.logger, "error", lambda text, **more: told.append((text, more)))
    server = store._server
    await store.look()
    assert (server.starts, [text for text, _ in told]) == (
        0,
        ["the embedded store has ended and is started again, empty"],
    )
    time.now += 1
    await store.look()
    assert told[-1] == ("the embedded store does not start", {"error": "no program"})
    await store.look()  # told, and waits
    await store.look()
    assert server.starts == 1
    assert told[-1][1]["in_a_row"] == 2
    server.broken = False
    time.now += 10
    await store.look()
    assert not server.ended
    await store.look()
    assert len(told) == 3

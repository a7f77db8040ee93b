"""What workers say of each other, and of those that say nothing."""

import asyncio
import json

import pytest
from waiting import PATIENCE

from flyball.http.listener import Listener, ListenerOptions
from flyball.http.messages import plain_error
from flyball.http.routes import Route, Routes
from flyball.server.common.health import Health
from flyball.server.common.worker_place import WorkerPlace
from flyball.server.http import HEALTH, METRICS, Siblings, health_route, metrics_route, siblings


class Page:
    """Metrics of a worker: one counter."""

    def __init__(self, value):
        self.value = value

    def collect(self):
        from prometheus_client.core import CounterMetricFamily

        yield CounterMetricFamily("a", "x", self.value)


@pytest.fixture
async def place(tmp_path):
    """The first of three workers; the second is there."""
    place = WorkerPlace(1, 3, str(tmp_path))
    problems = ["redis: no answer"]
    degraded = ["consumer a, group: away"]
    health = Health(problems, degraded)
    rows = [health_route(HEALTH, lambda: health), metrics_route([Page(3)], METRICS)]
    listener = Listener(ListenerOptions(path=str(place.socket_of(2))), Routes(rows))
    await listener.start()
    yield place
    await listener.close(grace=0.1)


@pytest.fixture
async def silent(place):
    """The third takes connections, and says nothing."""
    ends = []

    async def serve(reader, writer):
        ends.append(writer)
        await reader.read()

    server = await asyncio.start_unix_server(serve, str(place.socket_of(3)))
    yield
    server.close()
    for writer in ends:
        writer.close()
        await writer.wait_closed()


def answer(route):
    return asyncio.wait_for(route.handler(None, b""), PATIENCE)


async def test_health(place):
    route = health_route("/health", lambda: Health(["own"]), Siblings(place))
    told = await answer(route)
    assert told.status == 503
    assert json.loads(told.body) == {
        "problems": [
            "worker 1: own",
            "worker 2: redis: no answer",
            "worker 3 does not answer: No such file or directory",
        ],
        "degraded": ["worker 2: consumer a, group: away"],
    }


async def test_a_worker_that_stands_is_not_waited_for(place, silent, monkeypatch):
    monkeypatch.setattr(siblings, "HEALTH_TIMEOUT", 0.01)
    health = await Siblings(place).health(Health())
    assert health.problems[-1] == "worker 3 does not answer within 0.01 s"


async def test_a_worker_that_ends_within_its_answer(place):
    async def serve(reader, writer):
        await reader.readline()
        writer.write(b"HTTP/1.1 20")
        writer.close()
        await writer.wait_closed()

    server = await asyncio.start_unix_server(serve, str(place.socket_of(3)))
    health = await Siblings(place).health(Health())
    assert health.problems[-1] == "worker 3 does not answer: it ended"
    server.close()


async def test_metrics_are_added_up_and_say_whose_are_missing(place):
    told = await answer(metrics_route([Page(4)], "/metrics", Siblings(place)))
    lines = told.body.decode().splitlines()
    assert "a_total 7.0" in lines
    assert lines[-1] == "# worker 3 does not answer: No such file or directory"


@pytest.fixture
async def broken(place):
    """The third fails to say how it is."""

    def fail():
        raise RuntimeError("broken")

    rows = [health_route(HEALTH, fail), Route(METRICS, lambda *_: plain_error(500))]
    listener = Listener(ListenerOptions(path=str(place.socket_of(3))), Routes(rows))
    await listener.start()
    yield
    await listener.close(grace=0.1)


async def test_a_worker_that_fails_hides_no_other(place, broken):
    problems = (await Siblings(place).health(Health())).problems
    assert problems == ["worker 2: redis: no answer", "worker 3 does not answer: status 500"]
    told = await answer(metrics_route([Page(4)], "/metrics", Siblings(place)))
    lines = told.body.decode().splitlines()
    assert "a_total 7.0" in lines
    assert lines[-1] == "# worker 3 does not answer: status 500"

"""The time of JetStream servers, as their answers tell it."""

import json
import time

import pytest

from flyball.engines.nats.jetstream import api
from flyball.engines.nats.jetstream.api import ApiError, JetStream


class Link:
    """Answers whatever is asked with what a test says."""

    def __init__(self, **answer):
        self.answer = answer
        self.asked = 0

    async def request_many(self, *_):
        self.asked += 1
        return [(b"", json.dumps(self.answer).encode())]


@pytest.mark.parametrize("text", ["2033-05-18T03:33:20Z", "2033-05-18T03:33:20.123456789Z"])
async def test_it_is_that_of_the_servers(text):
    jetstream = JetStream(Link(ts=text), (), leader=False)
    assert abs(jetstream.now() - time.time()) < 60
    await jetstream._info("s")
    assert 0 <= jetstream.now() - 2_000_000_000 < 60


@pytest.mark.parametrize("answer", [{}, {"ts": None}, {"ts": "noon"}, {"ts": 5}])
async def test_an_answer_without_it_is_refused(answer):
    with pytest.raises(ApiError, match="does not tell its time"):
        await JetStream(Link(**answer), (), leader=False)._info("s")


async def test_such_an_answer_does_not_end_the_looks(monkeypatch):
    monkeypatch.setattr(api, "CLOCK_INTERVAL", 0)
    link = Link()
    watch = JetStream(link, [{"name": "s"}], leader=False)._watch_clock()
    for _ in range(3):  # steps over its sleeps
        watch.send(None)
    watch.close()
    assert link.asked == 2

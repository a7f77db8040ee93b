"""What the port for http-01 challenges answers."""

import asyncio

import pytest
from asking import ask

from flyball.server.acme.cache import MemoryCache
from flyball.server.acme.challenges import Challenges
from flyball.server.acme.http01 import challenge_routes


async def call(rows, path, *, method="GET", host="a.test", query=""):
    headers = {} if host is None else {"host": host}
    answer = ask(rows, method, path, query, headers)
    if isinstance(answer, asyncio.Future):
        answer = await answer
    return answer.status, dict(answer.fields()), answer.body


async def test_challenges_are_answered_while_they_are_pending():
    challenges = Challenges(MemoryCache())
    rows = challenge_routes(challenges)
    path = "/.well-known/acme-challenge/abc"
    with challenges.http("abc", "abc.thumbprint"):
        status, headers, body = await call(rows, path)
        assert (status, body) == (200, b"abc.thumbprint")
        assert headers["Content-Type"].startswith("text/plain")
        assert (await call(rows, path + "d"))[0] == 404
    assert (await call(rows, path))[0] == 404
    assert (await call(rows, "/.well-known/acme-challenge/"))[0] == 404


@pytest.mark.parametrize(
    ("host", "query", "place"),
    [
        ("a.test", "", "https://a.test/x/y"),
        ("a.test:8080", "q=1&r", "https://a.test/x/y?q=1&r"),
        ("[::1]:80", "", "https://[::1]/x/y"),
    ],
)
async def test_the_rest_is_sent_to_https(host, query, place):
    rows = challenge_routes(Challenges(MemoryCache()))
    for method in ("GET", "HEAD"):
        status, headers, _ = await call(rows, "/x/y", method=method, host=host, query=query)
        assert (status, headers["Location"]) == (302, place)


@pytest.mark.parametrize(
    ("method", "host"),
    [("POST", "a.test"), ("GET", None), ("GET", "a b"), ("GET", "evil.test/@a.test")],
)
async def test_what_cannot_be_sent_there(method, host):
    rows = challenge_routes(Challenges(MemoryCache()))
    assert (await call(rows, "/", method=method, host=host))[::2] == (400, b"Use HTTPS\n")

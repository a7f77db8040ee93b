"""What the port for http-01 challenges answers."""

import pytest

from flyball.server.acme.cache import MemoryCache
from flyball.server.acme.challenges import Challenges
from flyball.server.acme.http01 import challenge_app


async def call(app, path, *, method="GET", host=b"a.test", query=b""):
    sent = []
    scope = {
        "type": "http",
        "method": method,
        "path": path,
        "raw_path": path.encode(),
        "query_string": query,
        "headers": [] if host is None else [(b"host", host)],
    }

    async def send(message):
        sent.append(message)

    await app(scope, None, send)
    return sent[0]["status"], dict(sent[0]["headers"]), sent[1]["body"]


async def test_challenges_are_answered_while_they_are_pending():
    challenges = Challenges(MemoryCache())
    app = challenge_app(challenges)
    path = "/.well-known/acme-challenge/abc"
    with challenges.http("abc", "abc.thumbprint"):
        status, headers, body = await call(app, path)
        assert (status, body) == (200, b"abc.thumbprint")
        assert headers[b"content-type"].startswith(b"text/plain")
        assert (await call(app, path + "d"))[0] == 404
    assert (await call(app, path))[0] == 404
    assert (await call(app, "/.well-known/acme-challenge/"))[0] == 404


@pytest.mark.parametrize(
    ("host", "query", "place"),
    [
        (b"a.test", b"", b"https://a.test/x/y"),
        (b"a.test:8080", b"q=1&r", b"https://a.test/x/y?q=1&r"),
        (b"[::1]:80", b"", b"https://[::1]/x/y"),
    ],
)
async def test_the_rest_is_sent_to_https(host, query, place):
    app = challenge_app(Challenges(MemoryCache()))
    for method in ("GET", "HEAD"):
        status, headers, _ = await call(app, "/x/y", method=method, host=host, query=query)
        assert (status, headers[b"location"]) == (302, place)


@pytest.mark.parametrize(
    ("method", "host"),
    [("POST", b"a.test"), ("GET", None), ("GET", b"a b"), ("GET", b"evil.test/@a.test")],
)
async def test_what_cannot_be_sent_there(method, host):
    app = challenge_app(Challenges(MemoryCache()))
    assert (await call(app, "/", method=method, host=host))[::2] == (400, b"Use HTTPS\n")


async def test_other_scopes_are_nothing_to_it():
    await challenge_app(Challenges(MemoryCache()))({"type": "websocket"}, None, None)

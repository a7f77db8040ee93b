"""What SockJS refuses, its limits and its pages."""

import json

import pytest
from sockjsclient import (
    CONNECT,
    FROM_PAGE,
    NO_CACHE,
    ORIGIN,
    Asker,
    ask,
    connected,
    new_session,
    replies,
    running,
    say,
)
from wsclient import RawClient, request


@pytest.fixture(params=["here", "elsewhere"])
def folder(request, tmp_path):
    """Where another process has the sessions, if one has."""
    return tmp_path if request.param == "elsewhere" else None


@pytest.fixture
async def server(request, folder):
    async with running(getattr(request, "param", {}), folder) as server:
        yield server


# -- requests that are refused


@pytest.mark.parametrize(
    ("body", "status", "text"),
    [
        ("", 400, "Payload expected."),
        ('["x', 400, "Broken JSON encoding."),
        ("1", 400, "Broken JSON encoding."),
        ("[1]", 400, "Broken JSON encoding."),
        (b"[\xff]", 400, "Broken JSON encoding."),
        ("[" * 4000, 400, "Broken JSON encoding."),
        (json.dumps(["x" * 501]), 413, "Request Entity Too Large"),
        ("x" * 8001, 413, "Request Entity Too Large"),
    ],
)
async def test_bad_bodies(server, body, status, text):
    session = new_session()
    poller = await Asker.open(server.port)
    assert await poller.poll(session) == "o"
    client = await ask(server, f"{session}/xhr_send", body, FROM_PAGE)
    assert client.status == status
    assert client.headers["Access-Control-Allow-Origin"] == ORIGIN
    assert await client.body() == text
    await say(server, session)  # an empty array is fine, and the session too
    await say(server, session, CONNECT)
    assert "connect" in replies(await poller.poll(session))[0]


async def test_halves_of_surrogate_pairs_are_taken(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    command = json.dumps('{"id":3,"rpc":{"method":"m","data":"X"}}').replace("X", "\\ud800")
    client = await ask(server, f"{session}/xhr_send", f"[{command}]")
    assert client.status == 204
    assert replies(await poller.poll(session)) == [{"id": 3, "rpc": {"data": "\ufffd"}}]


@pytest.mark.parametrize("receiver", ["htmlfile", "jsonp"])
@pytest.mark.parametrize(
    "query",
    ["", "c=", "c=%20", "c=*", "c=abc(", "c=abc%28", "c=a%0d%0ab", "c=%3Cscript%3E", "c=%C3%A9"],
)
async def test_callbacks_are_names(server, receiver, query):
    client = await ask(server, f"/s/0/a/{receiver}?{query}".rstrip("?"))
    assert client.status == 400
    assert client.headers["Content-Type"] == "text/plain; charset=utf-8"
    required = query in ("", "c=")
    expected = '"callback" parameter required' if required else 'invalid "callback" parameter'
    assert await client.body() == expected
    assert not server.node.pending_sessions


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/s", "GET"),
        ("/s/", "GET"),
        ("/s/info", "OPTIONS, GET"),
        ("/s/iframe.html", "GET"),
        ("/s/0/a/xhr", "OPTIONS, POST"),
        ("/s/0/a/xhr_streaming", "OPTIONS, POST"),
        ("/s/0/a/xhr_send", "OPTIONS, POST"),
        ("/s/0/a/eventsource", "GET"),
        ("/s/0/a/htmlfile", "GET"),
        ("/s/0/a/jsonp", "GET"),
        ("/s/0/a/jsonp_send", "POST"),
    ],
)
async def test_methods(server, path, allowed):
    client = await ask(server, path, method="PATCH")
    assert client.status == 405
    assert client.headers["Allow"] == allowed
    assert "Content-Type" not in client.headers
    if "OPTIONS" not in allowed:
        return
    headers = f"{FROM_PAGE}Access-Control-Request-Headers: a, b\r\n"
    client = await ask(server, path, method="OPTIONS", headers=headers)
    assert client.status == 204
    expires = client.headers.pop("Expires")
    assert expires.endswith(" GMT")
    assert client.headers == {
        "Access-Control-Allow-Credentials": "true",
        "Access-Control-Allow-Headers": "a, b",
        "Access-Control-Allow-Methods": allowed,
        "Access-Control-Allow-Origin": ORIGIN,
        "Access-Control-Max-Age": "31536000",
        "Cache-Control": "public, max-age=31536000",
    }


@pytest.mark.parametrize(
    "path",
    [
        *("/s/a", "/s/a.html", "/s//", "/s/a/a", "/s/a/a/", "/s/0/a/b/xhr", "/s/0//xhr"),
        *("/s/0/a.b/xhr", "/s/0.1/a/xhr", "/s/websocket", "/s/iframe.htm", "/s/IFRAME.HTML"),
        *("/s/iframe", "/s/iframe-/.html", "/s/iframe.HTML", f"/s/0/{'a' * 129}/xhr", "/s/0/a/raw"),
    ],
)
async def test_other_paths(server, path):
    client = await ask(server, path, "")
    assert client.status == 404
    assert not server.node.pending_sessions


OTHERS = {
    "an origin": "Origin: https://evil.example\r\n",
    "an origin like ours": "Origin: https://server.example.evil\r\n",
    "no origin at all": "Origin: null\r\n",
    "what is no origin": "Origin: http://[\r\n",
    "a referrer": "Referer: https://evil.example/page\r\n",
    "no referrer": "Sec-Fetch-Site: cross-site\r\n",
}
OURS = {
    "an allowed origin": FROM_PAGE,
    "our own origin": "Origin: https://server.example\r\n",
    "an allowed referrer": "Referer: https://www.example.com/page?x=1\r\n",
    "our own page": "Referer: http://server.example/s/iframe.html\r\n",
    "our own page, silent": "Sec-Fetch-Site: same-origin\r\n",
    "a program": "",
}
DEEDS = [
    "xhr",
    "xhr_streaming",
    "xhr_send",
    "eventsource",
    "htmlfile?c=c",
    "jsonp?c=c",
    "jsonp_send",
]


@pytest.mark.parametrize("deed", DEEDS)
@pytest.mark.parametrize("who", OTHERS)
async def test_other_pages_do_nothing_with_our_users(server, deed, who):
    post = deed.startswith("xhr") or deed == "jsonp_send"
    client = await ask(server, f"/s/0/a/{deed}", "" if post else None, OTHERS[who])
    assert client.status == 403
    assert not [h for h in client.headers if h.startswith("Access-Control")]
    assert not server.node.pending_sessions


@pytest.mark.parametrize("who", OURS)
async def test_pages_that_may(server, who):
    client = await ask(server, f"{new_session()}/jsonp?c=c", None, OURS[who])
    assert client.status == 200
    client = await ask(server, f"{new_session()}/xhr", "", OURS[who])
    assert client.status == 200


@pytest.mark.parametrize("server", [{"origins": ["*"]}], indirect=True)
async def test_all_pages_may(server):
    for headers in OTHERS.values():
        client = await ask(server, f"{new_session()}/jsonp?c=c", None, headers)
        assert client.status == 200


@pytest.mark.parametrize("server", [{"limits": {"limit": 1}}], indirect=True)
async def test_limits(server):
    session = new_session()
    poller = await Asker.open(server.port)
    await connected(server, poller, session)
    client = await ask(server, f"{new_session()}/xhr", "")
    assert (client.status, await client.body()) == (503, "")
    client = await RawClient.open(server.port)
    client.send(request(new_session() + "/websocket"))
    assert " 503 " in (await client.response())[0]
    await server.node.publish("a", 1)
    assert replies(await poller.poll(session))[0]["push"]["pub"]["data"] == 1


@pytest.mark.parametrize("server", [{"sockjs": {"max_pending": 3}}], indirect=True)
async def test_sessions_that_do_not_connect_are_bounded(server):
    for _ in range(3):
        client = await ask(server, f"{new_session()}/xhr", "")
        assert client.status == 200
    client = await ask(server, f"{new_session()}/xhr", "")
    assert client.status == 503
    server.clock.advance(5.1)
    client = await ask(server, f"{new_session()}/xhr", "")
    assert client.status == 200


# -- pages


async def test_greeting(server):
    for path in ("/s", "/s/"):
        client = await ask(server, path)
        assert client.headers["Content-Type"] == "text/plain; charset=UTF-8"
        assert await client.body() == "Welcome to SockJS!\n"


async def test_info(server):
    seen = []
    for _ in range(2):
        client = await ask(server, "/s/info", headers=FROM_PAGE)
        assert client.headers["Content-Type"] == "application/json; charset=UTF-8"
        assert client.headers["Cache-Control"] == NO_CACHE
        assert client.headers["Access-Control-Allow-Origin"] == ORIGIN
        found = json.loads(await client.body())
        seen.append(found.pop("entropy"))
        assert found == {"websocket": True, "cookie_needed": False, "origins": ["*:*"]}
    assert seen[0] != seen[1]
    assert all(0 <= n < 2**31 for n in seen)


@pytest.mark.parametrize(
    "name",
    [
        "iframe.html",
        "iframe-.html",
        "iframe-a.html",
        "iframe-0.1.2.html?t=1",
        "iframe-0.1.2abc-dirty.2144.html",
    ],
)
@pytest.mark.parametrize(
    "server", [{"sockjs": {"url": 'https://cdn.example/x.js?a&b"><script>'}}], indirect=True
)
async def test_iframe(server, name):
    client = await ask(server, f"/s/{name}")
    assert client.headers["Content-Type"] == "text/html; charset=UTF-8"
    assert client.headers["Cache-Control"] == "public, max-age=31536000"
    ancestors = client.headers["Content-Security-Policy"]
    assert ancestors == "frame-ancestors 'self' https://*.example.com"
    body = await client.body()
    assert '<script src="https://cdn.example/x.js?a&amp;b&quot;&gt;&lt;script&gt;">' in body
    assert "SockJS.bootstrap_iframe();" in body
    tag = client.headers["ETag"]
    for known in (tag, f"W/{tag}", f'"other", {tag}', "*"):
        await client.ask("/s/iframe.html", headers=f"If-None-Match: {known}\r\n")
        assert client.status == 304
        assert "Content-Length" not in client.headers
        assert "Content-Type" not in client.headers
    await client.ask("/s/iframe.html", headers='If-None-Match: "other"\r\n')
    assert (client.status, await client.body()) == (200, body)


async def test_the_address_is_the_client_s(server):
    session = new_session()
    poller = await ask(server, f"{session}/xhr", "", "X-Flyball-Peer: 192.0.2.1:5\r\n")
    assert await poller.body() == "o\n"
    await say(server, session, CONNECT)
    await poller.poll(session)
    (connected,) = server.node.hub.sessions.values()
    assert connected.remote_addr == "{}:{}".format(*poller.writer.get_extra_info("sockname"))

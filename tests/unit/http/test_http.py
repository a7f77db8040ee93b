"""Routing, the small endpoints and the demo page, called as ASGI apps."""

import asyncio
import json
import re

import pytest
from joserfc import jwt
from joserfc.jwk import OctKey

from flyball.core.errors import ConfigError
from flyball.core.metrics import Metrics
from flyball.server.http import (
    DemoOptions,
    Route,
    Router,
    build_apps,
    demo_routes,
    health_route,
    init_route,
    metrics_route,
)
from flyball.server.metrics import NodeCollector, ServerMetrics, process_registry
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy

SECRET = "a-secret-for-the-tests-of-the-demo"


class Answer:
    def __init__(self, messages):
        self.messages = messages
        self.status = messages[0].get("status")
        self.headers = {k.decode(): v.decode() for k, v in messages[0].get("headers", [])}
        self.body = b"".join(m.get("body", b"") for m in messages)


async def call(app, path, method="GET", headers=None, body=b"", **extra) -> Answer:
    sent = []
    parts = [body[:5], body[5:]] if len(body) > 5 else [body]

    async def receive():
        part = parts.pop(0)
        return {"type": "http.request", "body": part, "more_body": bool(parts)}

    async def send(message):
        sent.append(message)

    raw = [(k.lower().encode(), v.encode()) for k, v in (headers or {}).items()]
    scope = {"type": "http", "method": method, "path": path, "headers": raw, **extra}
    await app(scope, receive, send)
    return Answer(sent)


async def plain(_scope, _receive, send):
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": b"plain"})


async def test_unknown_paths_and_slashes_at_the_end_are_not_found():
    router = Router([health_route("/health/")])
    assert router.paths == {"/health"}
    assert (await call(router, "/health")).status == 200
    for path in ("/", "/health/", "/healthy", "/HEALTH", "/health/x"):
        answer = await call(router, path)
        assert (answer.status, answer.body) == (404, b"404 page not found\n")
        assert answer.headers["content-type"] == "text/plain; charset=utf-8"


async def test_the_path_below_a_mount_counts():
    router = Router([health_route()])
    assert (await call(router, "/app/health", root_path="/app")).status == 200


async def test_a_subtree_gets_what_nobody_else_has():
    async def fallback(_scope, _receive, send):
        await send({"type": "http.response.start", "status": 299, "headers": []})
        await send({"type": "http.response.body", "body": b""})

    router = Router([Route("/", fallback, subtree=True), health_route(), Route("/a", plain)])
    assert (await call(router, "/")).status == 299
    assert (await call(router, "/static/x.js")).status == 299
    assert (await call(router, "/health")).status == 200
    assert (await call(router, "/a/b")).status == 299
    narrow = Router([Route("/admin", plain, subtree=True)])
    assert (await call(narrow, "/admin/x")).body == b"plain"
    assert (await call(narrow, "/administrator")).status == 404


def test_two_endpoints_with_one_path_are_a_config_error():
    routes = [health_route("/x"), metrics_route([], "/x/")]
    with pytest.raises(ConfigError, match=r"'/x'.*health\.handler_prefix.*prometheus\."):
        Router(routes)


async def test_split_listeners_have_their_own_endpoints():
    routes = [health_route(), init_route(OriginPolicy())]
    apps = build_apps(routes, split=True)
    assert apps.external.paths == {"/connection/init"}
    assert apps.internal.paths == {"/health"}
    together = build_apps(routes)
    assert together.external is together.internal
    assert together.external.paths == {"/connection/init", "/health"}


async def test_requests_are_counted_by_route_when_asked_for():
    counted = ServerMetrics()
    app = build_apps([health_route()], counts=counted.http_requests).external
    await call(app, "/health")
    await call(app, "/health")
    await call(app, "/nothing")
    assert counted.http_requests == {("/health", "GET", 200): 2}


async def test_websockets_without_a_route_are_refused():
    sent = []

    async def send(message):
        sent.append(message)

    scope = {"type": "websocket", "path": "/health", "headers": []}
    router = Router([health_route()])
    await router(scope, None, send)
    assert sent == [{"type": "websocket.close", "code": 1000}]
    sent.clear()
    await router({**scope, "extensions": {"websocket.http.response": {}}}, None, send)
    assert sent[0]["status"] == 404


async def test_lifespan():
    inbox, sent = asyncio.Queue(), []
    inbox.put_nowait({"type": "lifespan.startup"})
    inbox.put_nowait({"type": "lifespan.shutdown"})

    async def send(message):
        sent.append(message["type"])

    await Router([])({"type": "lifespan"}, inbox.get, send)
    assert sent == ["lifespan.startup.complete", "lifespan.shutdown.complete"]


async def test_health():
    answer = await call(Router([health_route()]), "/health")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["content-length"] == "2"


async def test_metrics():
    class Hub:
        num_clients = num_users = num_subscriptions = num_channels = 1

    collectors = [NodeCollector(Hub(), Metrics()), process_registry()]
    answer = await call(Router([metrics_route(collectors)]), "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\ncentrifugo_node_num_clients 1\n" in answer.body
    assert b"\nprocess_resident_memory_bytes " in answer.body


async def test_connection_init():
    app = Router([init_route(OriginPolicy(["https://*.example.com"]))])
    answer = await call(
        app,
        "/connection/init",
        headers={"Origin": "https://a.example.com", "Access-Control-Request-Headers": "x-one"},
    )
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "https://a.example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "x-one"

    without = await call(app, "/connection/init")
    assert without.headers["access-control-allow-origin"] == ""

    foreign = await call(app, "/connection/init", headers={"Origin": "https://evil.test"})
    assert foreign.status == 200
    assert not any(name.startswith("access-control") for name in foreign.headers)

    wrong = await call(app, "/connection/init", method="POST")
    assert wrong.status == 405
    assert not any(name.startswith("access-control") for name in wrong.headers)


async def test_connection_init_is_limited():
    limits = ConnectionLimits(lambda: 5, limit=5)
    app = Router([init_route(OriginPolicy(), limits=limits)])
    answer = await call(app, "/connection/init")
    assert (answer.status, answer.body) == (503, b"")


@pytest.fixture
def demo():
    options = DemoOptions(websocket_path='/connection/"ws"', token_secret=SECRET)
    return Router(demo_routes(options))


async def test_the_demo_page_has_a_strict_policy_and_no_inline_code(demo):
    answer = await call(demo, "/demo", headers={"Host": "localhost:8000"})
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' ws://localhost:8000 wss://localhost:8000;" in policy
    assert "unsafe" not in policy
    page = answer.body.decode()
    assert "{{" not in page
    assert 'content="/connection/&quot;ws&quot;"' in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


async def test_a_strange_host_header_does_not_get_into_the_policy(demo):
    answer = await call(demo, "/demo", headers={"Host": "x; script-src *"})
    assert "connect-src 'self';" in answer.headers["content-security-policy"]


async def test_everything_the_demo_page_names_is_served(demo):
    page = (await call(demo, "/demo")).body.decode()
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        answer = await call(demo, path)
        assert answer.status == 200, path
        assert answer.body
        again = await call(demo, path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert (await call(demo, path, method="POST")).status == 405
    client = await call(demo, "/demo/centrifuge.js")
    assert b"globalThis.Centrifuge=" in client.body


async def test_demo_tokens_carry_the_name_and_are_for_demo_users_only(demo):
    async def ask(body, content_type="application/json; charset=utf-8", method="POST"):
        headers = {"Content-Type": content_type}
        return await call(demo, "/demo/token", method, headers, json.dumps(body).encode())

    answer = await ask({"user": "42", "name": " Ada "})
    assert answer.status == 200
    given = json.loads(answer.body)
    claims = jwt.decode(given["token"], OctKey.import_key(SECRET), algorithms=["HS256"]).claims
    assert claims["sub"] == given["user"] == "demo-42"
    assert claims["info"] == {"name": "Ada"}
    assert claims["exp"] > 0

    for wrong in (
        {"user": "42"},
        {"user": "4 2", "name": "Ada"},
        {"user": "42", "name": " "},
        {"user": "42", "name": "x" * 33},
        {"user": "42", "name": "x" * 5000},
        [],
    ):
        assert (await ask(wrong)).status == 400, wrong
    assert (await ask({"user": "42", "name": "Ada"}, "text/plain")).status == 415
    assert (await ask({}, method="GET")).status == 405


async def test_without_a_secret_the_demo_gives_no_tokens():
    router = Router(demo_routes())
    assert (await call(router, "/demo/token", "POST")).status == 404
    page = (await call(router, "/demo")).body.decode()
    assert '<meta name="flyball:tokens" content="">' in page

"""The small endpoints, the demo page and files, asked as rows of the route table."""

import json
import re

import pytest
from asking import ask
from hostile_json import NO_JSON
from joserfc import jwt
from joserfc.jwk import OctKey

from flyball.core.metrics import Metrics
from flyball.http.static import FOREVER, content_type, read_tree, static_routes
from flyball.server.http import DemoOptions, demo_routes, health_route, metrics_route
from flyball.server.metrics import NodeCollector, process_registry
from flyball.transports.common.init import init_route
from flyball.transports.common.limits import ConnectionLimits
from flyball.transports.common.origin import OriginPolicy

SECRET = "a-secret-for-the-tests-of-the-demo"


class Answer:
    def __init__(self, response):
        self.status, self.body = response.status, response.body
        self.headers = {name.lower(): value for name, value in response.fields()}


def call(rows, path, method="GET", headers=None, body=b""):
    given = {name.lower(): value for name, value in (headers or {}).items()}
    return Answer(ask(rows, method, path, headers=given, body=body))


def test_health():
    answer = call([health_route()], "/health")
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"].startswith("application/json")
    assert answer.headers["content-length"] == "2"


def test_metrics():
    class Hub:
        num_clients = num_users = num_subscriptions = num_channels = 1

    collectors = [NodeCollector(Hub(), Metrics()), process_registry()]
    answer = call([metrics_route(collectors)], "/metrics")
    assert answer.headers["content-type"] == "text/plain; version=0.0.4; charset=utf-8"
    assert b"\ncentrifugo_node_num_clients 1\n" in answer.body
    assert b"\nprocess_resident_memory_bytes " in answer.body


def test_connection_init():
    rows = [init_route(OriginPolicy(["https://*.example.com"]), "/connection/init")]
    answer = call(
        rows,
        "/connection/init",
        headers={"Origin": "https://a.example.com", "Access-Control-Request-Headers": "x-one"},
    )
    assert (answer.status, answer.body) == (200, b"{}")
    assert answer.headers["content-type"] == "application/json; charset=utf-8"
    assert answer.headers["access-control-allow-origin"] == "https://a.example.com"
    assert answer.headers["access-control-allow-credentials"] == "true"
    assert answer.headers["access-control-allow-headers"] == "x-one"

    without = call(rows, "/connection/init")
    assert without.headers["access-control-allow-origin"] == ""

    foreign = call(rows, "/connection/init", headers={"Origin": "https://evil.test"})
    assert foreign.status == 200
    assert not any(name.startswith("access-control") for name in foreign.headers)

    wrong = call(rows, "/connection/init", method="POST")
    assert wrong.status == 405
    assert not any(name.startswith("access-control") for name in wrong.headers)


def test_connection_init_is_limited():
    limits = ConnectionLimits(lambda: 5, limit=5)
    rows = [init_route(OriginPolicy(), "/connection/init", limits=limits)]
    answer = call(rows, "/connection/init")
    assert (answer.status, answer.body) == (503, b"")


@pytest.fixture
def demo():
    options = DemoOptions(websocket_path='/connection/"ws"', token_secret=SECRET)
    return demo_routes(options)


def test_the_demo_page_has_a_strict_policy_and_no_inline_code(demo):
    answer = call(demo, "/demo", headers={"Host": "localhost:8000"})
    assert answer.status == 200
    policy = answer.headers["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "connect-src 'self' ws://localhost:8000 wss://localhost:8000;" in policy
    assert "unsafe" not in policy
    page = answer.body.decode()
    assert "{{" not in page
    assert 'content="/connection/&quot;ws&quot;"' in page
    assert not re.search(r"<script(?![^>]*\bsrc=)|<style|\son\w+=|\sstyle=", page)


def test_a_strange_host_header_does_not_get_into_the_policy(demo):
    answer = call(demo, "/demo", headers={"Host": "x; script-src *"})
    assert "connect-src 'self';" in answer.headers["content-security-policy"]


def test_everything_the_demo_page_names_is_served(demo):
    page = call(demo, "/demo").body.decode()
    for path in re.findall(r'(?:src|href)="(/[^"]+)"', page):
        answer = call(demo, path)
        assert answer.status == 200, path
        assert answer.body
        again = call(demo, path, headers={"If-None-Match": answer.headers["etag"]})
        assert (again.status, again.body) == (304, b"")
        assert call(demo, path, method="POST").status == 405
    client = call(demo, "/demo/centrifuge.js")
    assert b"globalThis.Centrifuge=" in client.body


def test_demo_tokens_carry_the_name_and_are_for_demo_users_only(demo):
    def post(body, content_type="application/json; charset=utf-8", method="POST"):
        headers = {"Content-Type": content_type}
        return call(demo, "/demo/token", method, headers, json.dumps(body).encode())

    answer = post({"user": "42", "name": " Ada "})
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
        assert post(wrong).status == 400, wrong
    headers = {"Content-Type": "application/json"}
    for body in NO_JSON:
        assert call(demo, "/demo/token", "POST", headers, body).status == 400
    assert post({"user": "42", "name": "Ada"}, "text/plain").status == 415
    assert post({}, method="GET").status == 405


def test_without_a_secret_the_demo_gives_no_tokens():
    rows = demo_routes()
    assert call(rows, "/demo/token", "POST").status == 404
    page = call(rows, "/demo").body.decode()
    assert '<meta name="flyball:tokens" content="">' in page


# -- files


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "js").mkdir()
    (tmp_path / "index.html").write_text("<p>page</p>")
    (tmp_path / "js" / "app.js").write_text("run()")
    return tmp_path


def test_files_are_served_with_their_types(folder):
    rows = static_routes("/ui", read_tree(folder), headers=(("X-A", "1"),))
    page = call(rows, "/ui/index.html")
    assert (page.status, page.body) == (200, b"<p>page</p>")
    assert page.headers["content-type"] == "text/html; charset=utf-8"
    assert page.headers["cache-control"] == "no-cache"
    assert page.headers["x-a"] == "1"
    script = call(rows, "/ui/js/app.js", "HEAD")
    assert script.headers["content-type"] == "text/javascript; charset=utf-8"
    assert script.headers["content-length"] == "5"
    assert call(rows, "/ui/index.html", "POST").status == 405
    assert content_type("x.unknown") == content_type("x") == "application/octet-stream"


@pytest.mark.parametrize(
    "path",
    [
        "/ui",
        "/ui/",
        "/ui/js",
        "/ui/../secret",
        "/ui/js/../../secret",
        "/ui//etc/passwd",
        "/ui/%2e.",
    ],
)
def test_nothing_but_the_files_is_served(folder, path):
    (folder.parent / "secret").write_text("secret")
    assert call(static_routes("/ui", read_tree(folder)), path).status == 404


@pytest.mark.parametrize("given", ["{tag}", "W/{tag}", '"other", {tag}', "*"])
def test_known_files_are_not_sent_again(folder, given):
    rows = static_routes("/ui", read_tree(folder), cache_control=FOREVER)
    tag = call(rows, "/ui/index.html").headers["etag"]
    again = call(rows, "/ui/index.html", headers={"If-None-Match": given.format(tag=tag)})
    assert (again.status, again.body) == (304, b"")
    assert again.headers["etag"] == tag
    assert again.headers["cache-control"] == FOREVER
    assert call(rows, "/ui/index.html", headers={"If-None-Match": '"other"'}).status == 200

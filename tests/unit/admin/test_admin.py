"""Signing in, what needs it, and what is shown."""

import base64
import gzip
import hmac
import json
from itertools import product

import pytest
from admin_page import PASSWORD, SECRET, Page, made
from hostile_json import NO_JSON

from flyball.core.errors import ConfigError
from flyball.server.admin import attempts
from flyball.server.admin.attempts import Attempts
from flyball.server.admin.tokens import MAX_ENDED, TOKEN_TTL, AdminTokens
from flyball.testing import TestClock

GUARDED = (
    ("POST", "/admin/api"),
    ("GET", "/admin/settings"),
    ("GET", "/admin/config"),
    ("GET", "/admin/stats"),
    ("POST", "/admin/tail"),
    ("POST", "/admin/token"),
    ("POST", "/admin/check"),
    ("POST", "/admin/logout"),
)


async def signed_in(page):
    answer = await page.sign_in()
    assert answer.status == 200
    page.token = json.loads(answer.body)["token"]
    return page


# -- tokens


def test_token_is_the_originals():
    clock = TestClock()
    token = AdminTokens(SECRET, clock).make()
    whole = base64.urlsafe_b64decode(token)
    signed, mac = whole[:-33], whole[-32:]
    made, value = signed.split(b"|")
    assert int(made) == int(clock.time())
    assert base64.urlsafe_b64decode(value) == b"\x0d\x0c\x00\x0aauthorized"
    assert hmac.digest(SECRET.encode(), b"token|" + signed, "sha256") == mac


def test_tokens_end():
    clock = TestClock()
    tokens = AdminTokens(SECRET, clock)
    token = tokens.make()
    assert tokens.is_valid(token)
    clock.advance(TOKEN_TTL - 1)
    assert tokens.is_valid(token)
    clock.advance(1)
    assert not tokens.is_valid(token)
    assert tokens.end(token) is None


def test_token_from_the_future_is_refused():
    ahead, clock = TestClock(), TestClock()
    ahead.advance(3600)
    assert not AdminTokens(SECRET, clock).is_valid(AdminTokens(SECRET, ahead).make())


@pytest.mark.parametrize("token", ["", "x", "é", "fA==", "A" * 1000, "MXwyfDM="])
def test_no_token(token):
    assert not AdminTokens(SECRET, TestClock()).is_valid(token)


def test_token_of_another_secret_or_of_none():
    clock = TestClock()
    assert not AdminTokens(SECRET, clock).is_valid(AdminTokens("other", clock).make())
    assert not AdminTokens("", clock).is_valid(AdminTokens("", clock).make())


def test_each_changed_byte_is_noticed():
    tokens = AdminTokens(SECRET, TestClock())
    whole = base64.urlsafe_b64decode(tokens.make())
    for place in range(len(whole)):
        changed = bytearray(whole)
        changed[place] ^= 1
        assert not tokens.is_valid(base64.urlsafe_b64encode(changed).decode()), place


def test_a_session_that_begins_as_another_ends_has_a_token_of_its_own():
    tokens = AdminTokens(SECRET, TestClock())
    first = tokens.make()
    tokens.end(first)
    second = tokens.make()
    assert tokens.is_valid(second)
    assert not tokens.is_valid(first)


def test_ended_sessions_are_bounded():
    tokens = AdminTokens(SECRET, TestClock())
    token = tokens.make()
    tokens.end(token)
    assert not tokens.is_valid(token)
    for number in range(MAX_ENDED):
        tokens.forget(b"%d" % number)
    assert len(tokens._ended) == MAX_ENDED


# -- sign in


async def test_sign_in_and_out(page):
    await signed_in(page)
    assert json.loads((await page.ask("GET", "/admin/init")).body) == {
        "authenticated": True,
        "edition": "oss",
        "insecure": False,
    }
    assert (await page.ask("GET", "/admin/settings")).status == 200
    assert (await page.ask("POST", "/admin/logout")).status == 204
    assert (await page.ask("GET", "/admin/settings")).status == 401
    assert (await page.ask("POST", "/admin/logout")).status == 401


async def test_strangers(page):
    answer = await page.ask("GET", "/admin/init")
    assert json.loads(answer.body)["authenticated"] is False
    for method, path in GUARDED:
        answer = await page.ask(method, path)
        assert (answer.status, answer.body) == (401, b""), path
        assert ("Cache-Control", "no-store") in answer.headers


@pytest.mark.parametrize("body", [b"", b"password", b"password=", b"password=%ff", b"x" * 4000])
async def test_wrong_password(page, body):
    answer = await page.ask("POST", "/admin/auth", body)
    assert (answer.status, answer.body) == (400, b"Bad Request\n")


async def test_long_form_is_not_read(page):
    assert (await page.ask("POST", "/admin/auth", b"x" * 5000)).status == 413


async def test_attempts_are_paced(page):
    for _ in range(10):
        assert (await page.sign_in("guess")).status == 400
    answer = await page.sign_in()
    assert answer.status == 429
    assert ("Retry-After", "6") in answer.headers
    page.clock.advance(6)
    assert (await page.sign_in()).status == 200
    assert (await page.sign_in()).status == 200  # what was right takes nothing


async def test_each_address_has_its_own_attempts(page):
    page.host = "192.0.2.1"
    for _ in range(10):
        await page.sign_in("guess")
    assert (await page.sign_in()).status == 429
    page.host = "192.0.2.2"
    assert (await page.sign_in()).status == 200


async def test_one_stranger_has_many_addresses_of_ipv6(page):
    for number in range(10):
        page.host = f"2001:db8::{number}"
        await page.sign_in("guess")
    page.host = "2001:db8::ffff"
    assert (await page.sign_in()).status == 429
    page.host = "2001:db8:0:1::1"
    assert (await page.sign_in()).status == 200


async def test_many_addresses_together_have_a_budget(page):
    page.host = "192.0.2.1"
    assert (await page.sign_in()).status == 200
    for number in range(100):
        page.host = f"198.51.100.{number}"
        assert (await page.sign_in("guess")).status == 400
    page.host = "203.0.113.1"
    answer = await page.sign_in()
    assert answer.status == 429
    assert ("Retry-After", "1") in answer.headers
    # Who has signed in before is not kept out by strangers.
    page.host = "192.0.2.1"
    assert (await page.sign_in("typo")).status == 400
    assert (await page.sign_in()).status == 200
    page.host = "203.0.113.1"
    page.clock.advance(0.6)
    assert (await page.sign_in()).status == 200


def test_addresses_are_bounded(monkeypatch):
    monkeypatch.setattr(attempts, "MAX_ADDRESSES", 3)
    guarded = Attempts(TestClock())
    for host in ("a", "b", "c", "d"):
        assert guarded.take(host) == 0
        guarded.succeeded(host)
    assert list(guarded._addresses) == list(guarded._known) == ["b", "c", "d"]


@pytest.mark.parametrize("missing", ["PASSWORD", "SECRET"])
async def test_nobody_signs_in_without_password_or_secret(missing, capsys):
    page = await made(**{f"FLYBALL_ADMIN_{missing}": ""})
    assert (await page.sign_in(PASSWORD if missing == "SECRET" else "")).status == 400
    assert (await page.ask("GET", "/admin/settings")).status == 401
    assert f"admin.{missing.lower()}" in capsys.readouterr().out


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example", "host": "localhost:8000"},
        {"origin": "null", "host": "localhost:8000"},
        {"sec-fetch-site": "cross-site"},
    ],
)
async def test_pages_of_other_sites(headers):
    page = await made(FLYBALL_ADMIN_INSECURE="true")
    for method, path in (*GUARDED, ("POST", "/admin/auth")):
        assert (await page.ask(method, path, **headers)).status == 403
    same = {"origin": "http://localhost:8000", "host": "localhost:8000"}
    assert (await page.ask("GET", "/admin/settings", **same)).status == 200


async def test_insecure():
    page = await made(
        FLYBALL_ADMIN_INSECURE="true", FLYBALL_ADMIN_PASSWORD="", FLYBALL_ADMIN_SECRET=""
    )
    assert json.loads((await page.ask("GET", "/admin/init")).body)["insecure"] is True
    assert (await page.sign_in("")).status == 200
    settings = json.loads((await page.ask("GET", "/admin/settings")).body)
    assert "admin.insecure" in settings["insecure"]


# -- the page


async def test_page_is_served_with_headers(page):
    answer = await page.ask("GET", "/", host="localhost:8000")
    headers = dict(answer.headers)
    policy = headers["Content-Security-Policy"]
    assert answer.status == 200
    assert "default-src 'none'" in policy
    assert "connect-src 'self' ws://localhost:8000 wss://localhost:8000" in policy
    assert headers["X-Frame-Options"] == "DENY"
    assert headers["Cache-Control"] == "no-store"
    nonce = policy.partition("'nonce-")[2].partition("'")[0]
    assert nonce.encode() in answer.body
    assert b"{{nonce}}" not in answer.body
    other = dict((await page.ask("GET", "/")).headers)["Content-Security-Policy"]
    assert nonce not in other


async def test_scripts_are_compressed_for_those_who_take_it(page):
    path = next(row.path for row in page.admin.routes() if row.path.endswith(".js"))
    plain = await page.ask("GET", path, **{"accept-encoding": "br, gzip;q=0"})
    packed = await page.ask("GET", path, **{"accept-encoding": "br, gzip"})
    headers = dict(packed.headers)
    assert gzip.decompress(packed.body) == plain.body
    assert headers["Content-Encoding"] == "gzip"
    assert ("Vary", "Accept-Encoding") in plain.headers
    assert headers["ETag"] != dict(plain.headers)["ETag"]
    known = {"accept-encoding": "gzip", "if-none-match": headers["ETag"]}
    assert (await page.ask("GET", path, **known)).status == 304


async def test_host_that_is_none_gets_into_no_policy(page):
    answer = await page.ask("GET", "/", host="x; script-src *")
    assert "script-src *" not in dict(answer.headers)["Content-Security-Policy"]


async def test_prefix_and_port():
    page = await made(FLYBALL_ADMIN_HANDLER_PREFIX="/ops/")
    paths = {row.path for row in page.admin.routes()}
    assert {"/ops", "/ops/", "/ops/admin/auth", "/ops/admin/api"} <= paths
    assert all(path.startswith("/ops") for path in paths)
    moved = await page.ask("GET", "/ops")
    assert (moved.status, dict(moved.headers)["Location"]) == (302, "/ops/")
    assert (await page.ask("GET", "/ops/")).status == 200
    assert all(row.internal for row in page.admin.routes())
    outside = await made(FLYBALL_ADMIN_EXTERNAL="true")
    assert not any(row.internal for row in outside.admin.routes())


async def test_own_page(tmp_path):
    (tmp_path / "js").mkdir()
    (tmp_path / "js" / "app.js").write_text("let a")
    (tmp_path / "index.html").write_text("mine")
    page = await made(FLYBALL_ADMIN_WEB_PATH=str(tmp_path))
    assert (await page.ask("GET", "/")).body == b"mine"
    script = await page.ask("GET", "/js/app.js")
    assert (script.body, script.content_type) == (b"let a", "text/javascript; charset=utf-8")
    assert (await page.ask("GET", "/js/../index.html")).status == 404


@pytest.mark.parametrize("exists", [False, True])
def test_own_page_that_is_none(tmp_path, exists):
    path = tmp_path if exists else tmp_path / "none"
    with pytest.raises(ConfigError, match=r"admin\.web_path"):
        Page(FLYBALL_ADMIN_WEB_PATH=str(path))


# -- commands and facts


async def test_commands(page):
    await signed_in(page)
    body = b'{"method":"publish","params":{"channel":"a","data":{}}}\n{"method":"info"}'
    answer = await page.ask("POST", "/admin/api", body)
    first, second = map(json.loads, answer.body.splitlines())
    assert first == {"result": {}}
    assert [node["uid"] for node in second["result"]["nodes"]] == [page.server.node.id]
    assert (await page.ask("POST", "/admin/api", b"{")).status == 400


async def test_settings(page):
    await signed_in(page)
    settings = json.loads((await page.ask("GET", "/admin/settings")).body)
    publish = next(m for m in settings["methods"] if m["name"] == "publish")
    kinds = {f["name"]: f["kind"] for f in publish["fields"]}
    assert publish["doc"] == "Publishes into a stream channel."
    assert kinds["channel"] == "text"
    assert kinds["data"] == kinds["tags"] == "json"
    assert kinds["skip_history"] == "flag"
    assert kinds["version"] == "number"
    broadcast = next(m for m in settings["methods"] if m["name"] == "broadcast")
    assert {"name": "channels", "kind": "list"} in broadcast["fields"]
    assert settings["api"] == "/api"


async def test_config_tells_sources_and_no_secrets(page):
    await signed_in(page)
    answer = await page.ask("GET", "/admin/config")
    entries = {entry["path"]: entry for entry in json.loads(answer.body)}
    assert entries["admin.enabled"]["value"] is True
    assert entries["admin.enabled"]["source"] == "environment variable FLYBALL_ADMIN_ENABLED"
    assert entries["admin.external"]["source"] == "default"
    assert entries["admin.external"]["help"]
    for secret in (PASSWORD, SECRET, "the api key", "the secret of tokens"):
        assert json.dumps(secret).encode() not in answer.body
    assert entries["admin.password"]["value"]
    assert entries["grpc_api.key"]["value"] == ""


async def test_passwords_in_addresses_are_hidden():
    page = await made(
        FLYBALL_ADMIN_INSECURE="true",
        FLYBALL_CLIENT_PROXY_CONNECT_ENDPOINT="http://me:hush@backend.example/x",
        FLYBALL_CLIENT_PROXY_CONNECT_HTTP_STATIC_HEADERS='{"X-Key": "hush"}',
    )
    answer = await page.ask("GET", "/admin/config")
    assert b"hush" not in answer.body
    assert b"@backend.example/x" in answer.body


async def test_stats(page):
    await signed_in(page)
    first = json.loads((await page.ask("GET", "/admin/stats")).body)
    (node,) = first["nodes"]
    assert node["num_clients"] == 0
    assert node["memory"] > 0
    assert node["problems"] == []
    await page.server.node.publish("a", {})
    again = json.loads((await page.ask("GET", "/admin/stats")).body)
    assert again == first  # one answer for everybody in a second
    page.clock.advance(1)
    assert json.loads((await page.ask("GET", "/admin/stats")).body)["time"] > first["time"]


async def test_tokens_of_clients(page):
    await signed_in(page)

    async def post(path, value):
        return json.loads((await page.ask("POST", path, json.dumps(value).encode())).body)

    token = (await post("/admin/token", {"claims": {"sub": "42"}}))["token"]
    found = await post("/admin/check", {"token": token})
    assert (found["valid"], found["user"], found["claims"]) == (True, "42", '{"sub":"42"}')
    found = await post("/admin/check", {"token": token, "subscription": True})
    assert (found["valid"], found["reason"]) == (False, "it names no channel")
    token = (await post("/admin/token", {"claims": {"sub": "42", "channel": "c"}}))["token"]
    found = await post("/admin/check", {"token": token, "subscription": True})
    assert (found["valid"], found["channel"]) == (True, "c")
    token = (await post("/admin/token", {"claims": {"sub": "42", "exp": 1}}))["token"]
    assert (await post("/admin/check", {"token": token}))["valid"] is False
    assert (await post("/admin/check", {"token": "rubbish"}))["valid"] is False
    assert "object" in (await post("/admin/token", {"claims": 1}))["error"]
    for path, body in product(("/admin/token", "/admin/check", "/admin/tail"), NO_JSON):
        assert (await page.ask("POST", path, body)).status in (400, 413)


async def test_no_secret_no_token():
    page = await made(FLYBALL_ADMIN_INSECURE="true", FLYBALL_CLIENT_TOKEN_HMAC_SECRET_KEY="")
    answer = await page.ask("POST", "/admin/token", b'{"claims":{}}')
    assert "client.token.hmac_secret_key" in json.loads(answer.body)["error"]


def test_page_is_off_by_default():
    from flyball.server.app import Server
    from flyball.server.config import load_config

    assert Server(load_config(environ={}).config)._admin is None

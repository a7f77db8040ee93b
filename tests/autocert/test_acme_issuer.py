"""What is made of an authority that refuses, lies, or is not there.

That it works with one that does not is seen in ``test_pebble.py``.
"""

import base64
import json
import threading
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from acme import messages
from acme_certs import key_pem, make_key
from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
)

from flyball.server.acme import AutocertOptions, IssueError
from flyball.server.acme.cache import MemoryCache
from flyball.server.acme.challenges import Challenges
from flyball.server.acme.issuer import AcmeIssuer, _problem_text

PROBLEM = "application/problem+json"
ERROR = "urn:ietf:params:acme:error:"


class Authority:
    """Answers with what the test puts into ``answers``: path to (status, headers, body)."""

    def __init__(self):
        authority = self

        class Handler(BaseHTTPRequestHandler):
            def answer(self):
                size = int(self.headers.get("Content-Length", 0))
                authority.bodies.append((self.path, self.rfile.read(size)))
                status, headers, body = authority.answers.get(self.path, (404, {}, b"{}"))
                if not isinstance(body, bytes):
                    body = json.dumps(body).encode()
                self.send_response(status)
                for name, value in {"Content-Length": len(body), **headers}.items():
                    self.send_header(name, str(value))
                self.send_header("Replay-Nonce", "bm9uY2U")
                self.end_headers()
                if self.command != "HEAD":
                    self.wfile.write(body)

            do_GET = do_POST = do_HEAD = answer

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        self.bodies = []
        self.thread = threading.Thread(target=self.server.serve_forever, args=(0.01,))
        self.thread.start()
        directory = {
            name: f"{self.url}/{name}"
            for name in ("newNonce", "newAccount", "newOrder", "revokeCert", "keyChange")
        }
        self.answers = {
            "/dir": (200, {"Content-Type": "application/json"}, directory),
            "/newNonce": (200, {}, b""),
            "/newAccount": (201, {"Location": f"{self.url}/account/1"}, {"status": "valid"}),
        }

    def order(self, *, challenges, status="pending", error=None):
        """An order with one authorization of that status."""
        self.answers["/newOrder"] = (
            201,
            {"Location": f"{self.url}/order/1"},
            {
                "status": "pending",
                "authorizations": [f"{self.url}/authz/1"],
                "finalize": f"{self.url}/finalize/1",
            },
        )
        offered = [
            {
                "type": kind,
                "url": f"{self.url}/chall/{kind}",
                "token": "t" * 43,
                "status": "pending",
            }
            for kind in challenges
        ]
        if error:
            offered[0]["error"] = error
        self.answers["/authz/1"] = (
            200,
            {},
            {
                "status": status,
                "identifier": {"type": "dns", "value": "a.test"},
                "challenges": offered,
            },
        )
        for challenge in offered:
            path = challenge["url"].removeprefix(self.url)
            self.answers[path] = (200, {"Link": f'<{self.url}/authz/1>;rel="up"'}, challenge)

    def refuse(self, path, kind, detail, *, status=403, **headers):
        self.answers[path] = (
            status,
            {"Content-Type": PROBLEM, **{k.replace("_", "-"): v for k, v in headers.items()}},
            {"type": ERROR + kind, "detail": detail},
        )

    def close(self):
        self.server.shutdown()
        self.thread.join()
        self.server.server_close()


@pytest.fixture
def authority():
    authority = Authority()
    yield authority
    authority.close()


def issue(directory, *, cache=None, stop=None, **options):
    cache = cache or MemoryCache()
    options.setdefault("issue_timeout", 10.0)
    issuer = AcmeIssuer(
        AutocertOptions(("a.test",), directory=directory, **options), cache, Challenges(cache)
    )
    with pytest.raises(IssueError) as caught:
        issuer.issue("a.test", stop or threading.Event())
    assert "\n" not in str(caught.value)
    assert " at 0x" not in str(caught.value)
    return caught.value


def test_nobody_there():
    error = issue("http://127.0.0.1:1/dir")
    assert "cannot be reached" in str(error)
    assert "Connection refused" in str(error)


def test_something_else_there(authority):
    for body in (b"<html>hello</html>", b"[]", b"{}", b'{"newNonce": 1}'):
        authority.answers["/dir"] = (200, {"Content-Type": "application/json"}, body)
        assert "of no use" in str(issue(f"{authority.url}/dir"))


def test_the_contact_is_given(authority):
    authority.refuse("/newAccount", "invalidContact", "example.test is no mail domain", status=400)
    error = issue(f"{authority.url}/dir", email="me@example.test")
    assert str(error) == "example.test is no mail domain (invalidContact)"
    path, body = authority.bodies[-1]
    assert path == "/newAccount"
    assert json.loads(body)["signature"]


def test_rate_limits_say_when_to_come_back(authority):
    authority.refuse("/newOrder", "rateLimited", "too many", status=429, Retry_After="7200")
    assert issue(f"{authority.url}/dir").retry_after == 7200
    authority.refuse("/newOrder", "rateLimited", "too many", status=429, Retry_After="soon")
    assert issue(f"{authority.url}/dir").retry_after == 0
    later = formatdate(4_000_000_000, usegmt=True)
    authority.refuse("/newOrder", "rateLimited", "too many", status=429, Retry_After=later)
    assert issue(f"{authority.url}/dir").retry_after > 10**8


def test_a_check_that_fails(authority):
    detail = "203.0.113.7: Timeout during connect (likely firewall problem)"
    authority.order(
        challenges=["tls-alpn-01"],
        status="invalid",
        error={"type": ERROR + "connection", "detail": detail},
    )
    # Known as pending at first.
    pending = json.loads(json.dumps(authority.answers["/authz/1"]))
    pending[2]["status"] = "pending"
    authority.answers["/authz/1"], failed = tuple(pending), authority.answers["/authz/1"]
    answered = authority.answers["/chall/tls-alpn-01"]

    class Swap(dict):
        def get(self, path, default=None):
            if path == "/chall/tls-alpn-01":
                self["/authz/1"] = failed
                return answered
            return super().get(path, default)

    authority.answers = Swap(authority.answers)
    cache = MemoryCache()
    assert str(issue(f"{authority.url}/dir", cache=cache)) == f"{detail} (connection)"
    assert cache.get("a.test+token") is None


def test_a_challenge_that_is_not_offered(authority):
    authority.order(challenges=["dns-01", "http-01"])
    error = issue(f"{authority.url}/dir")
    assert str(error) == (
        "the authority offers no tls-alpn-01 challenge, only dns-01, http-01;"
        " http_server.tls_autocert.http switches to http-01"
    )


def test_a_check_that_never_ends(authority):
    authority.order(challenges=["http-01"])
    error = issue(f"{authority.url}/dir", http=True, issue_timeout=1.0)
    assert str(error) == "the authority did not finish in time"


def test_a_server_that_stops(authority):
    authority.order(challenges=["tls-alpn-01"])
    stop = threading.Event()
    stop.set()
    assert str(issue(f"{authority.url}/dir", stop=stop)) == "the server stops"


def test_account_keys(authority):
    authority.refuse("/newAccount", "unauthorized", "enough seen")
    for key, algorithm in (
        (make_key("rsa"), "RS256"),
        (make_key("ec"), "ES256"),
        (ec.generate_private_key(ec.SECP384R1()), "ES384"),
        (ec.generate_private_key(ec.SECP521R1()), "ES512"),
    ):
        cache = MemoryCache()
        cache.put("acme_account+key", key_pem(key))
        assert "enough seen" in str(issue(f"{authority.url}/dir", cache=cache))
        protected = json.loads(authority.bodies[-1][1])["protected"]
        header = json.loads(base64.urlsafe_b64decode(protected + "=="))
        assert header["alg"] == algorithm


def test_account_keys_of_no_use():
    cache = MemoryCache()
    cache.put("acme_account+key", b"nonsense")
    assert str(issue("http://127.0.0.1:1/", cache=cache)) == (
        "acme_account+key in the cache: no private key that can be read; remove it"
    )
    other = ed25519.Ed25519PrivateKey.generate()
    pem = other.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    cache.put("acme_account+key", pem)
    assert "neither an EC nor an RSA key" in str(issue("http://127.0.0.1:1/", cache=cache))


def test_a_cache_that_cannot_be_written():
    class Full(MemoryCache):
        def put(self, name, data):
            raise OSError(28, "No space left on device")

    assert "No space left" in str(issue("http://127.0.0.1:1/", cache=Full()))


def test_problems_inside_problems():
    part = messages.Error(typ=ERROR + "caa", detail="CAA forbids it")
    whole = messages.Error(typ=ERROR + "compound", detail="see below", subproblems=(part,))
    assert _problem_text(whole) == "see below (compound); CAA forbids it (caa)"
    assert _problem_text(messages.Error(typ="about:blank")) == "no reason (about:blank)"

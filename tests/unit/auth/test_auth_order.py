"""What is looked at before the signature, and what only after it."""

import contextlib
import re
import time

import pytest

from flyball.aio.eager import start_eagerly
from flyball.server.auth import sources
from flyball.server.auth.claims import ClaimsReader, ConnectClaims
from flyball.server.auth.errors import InvalidToken
from flyball.server.auth.jose import encode, unsigned
from flyball.server.auth.make import sign
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.testing import TestClock

SECRET = "a-secret-of-at-least-thirty-two-bytes"
OPTIONS = TokenOptions(
    hmac_secret_key=SECRET,
    issuer_regex=r"^https://(\w+-?)+\.example\.com$",
    audience_regex=r"^(a+)+$",
)


class Watched:
    """A pattern that tells on what it was tried."""

    def __init__(self, pattern):
        self.pattern = re.compile(pattern)
        self.tried = []

    def search(self, text):
        self.tried.append(text)
        return self.pattern.search(text) is not None


def watched(options, monkeypatch):
    patterns = []

    def compile_watched(pattern, _option):
        patterns.append(Watched(pattern))
        return patterns[-1]

    monkeypatch.setattr(sources, "compile_pattern", compile_watched)
    return TokenVerifier(options, TestClock()), patterns


@pytest.mark.parametrize("method", ["verify_connect_token", "verify_subscribe_token"])
def test_patterns_are_never_tried_on_forged_tokens(monkeypatch, method):
    """A long text costs more than the signature: strangers do not make us pay that."""
    checking, patterns = watched(OPTIONS, monkeypatch)
    claims = {"iss": "https://" + "a" * 8 + "!", "aud": ["a" * 8 + "!"], "channel": "ch"}
    with pytest.raises(InvalidToken, match="signature"):
        start_eagerly(getattr(checking, method)(sign(claims, "not-the-secret")))
    assert [pattern.tried for pattern in patterns] == [[], []]


@pytest.mark.parametrize("method", ["verify_connect_token", "verify_subscribe_token"])
def test_claims_of_forged_tokens_are_not_read(method):
    checking = TokenVerifier(OPTIONS, TestClock())
    for claims in ({"sub": 5}, {"iss": "x" * 5000}):
        with pytest.raises(InvalidToken, match="signature"):
            start_eagerly(getattr(checking, method)(sign(claims, "not-the-secret")))


@pytest.mark.parametrize("claims", [b'{"x":"' + b"A" * 40_000 + b'"}', b'"A' * 20_000])
def test_texts_of_capitals_take_no_time(claims):
    """Each letter could begin a name: looked at to the end of the text, that would be seconds."""
    reader = ClaimsReader(ConnectClaims)
    start = time.process_time()
    with contextlib.suppress(InvalidToken):
        reader.read(unsigned(claims))
    assert time.process_time() - start < 1


def test_patterns_are_tried_on_signed_tokens(monkeypatch):
    checking, patterns = watched(OPTIONS, monkeypatch)
    claims = {"sub": "42", "iss": "https://one.example.com", "aud": ["b", "aa"]}
    assert start_eagerly(checking.verify_connect_token(sign(claims, SECRET))).user == "42"
    assert [pattern.tried for pattern in patterns] == [["https://one.example.com"], ["b", "aa"]]
    for wrong, name in (({"iss": "https://x.org"}, "issuer_regex"), ({"aud": "b"}, "audience")):
        with pytest.raises(InvalidToken, match=name):
            start_eagerly(checking.verify_connect_token(sign(claims | wrong, SECRET)))


def test_skipping_the_signature_does_not_skip_the_source():
    with pytest.raises(InvalidToken, match="issuer_regex"):
        start_eagerly(
            TokenVerifier(OPTIONS, TestClock(), verify_signatures=False).verify_connect_token(
                sign({"iss": "https://x.org", "aud": "a"}, "whatever")
            )
        )


@pytest.mark.parametrize(
    "claims",
    [
        b'{"info":{"n":"\xff"}}',
        b'{"meta":{"n":"\xff"}}',
        b'{"subs":{"ch":{"data":"\xff"}}}',
        b'{"subs":{"ch":{"info":"\xff"}}}',
    ],
)
def test_payloads_are_utf8(claims):
    """Raw payloads are handed on: broken ones would fail when they reach other clients."""
    import hashlib
    import hmac

    signed = encode(b'{"alg":"HS256"}') + b"." + encode(claims)
    digest = hmac.new(SECRET.encode(), signed, hashlib.sha256).digest()
    text = (signed + b"." + encode(digest)).decode()
    options = TokenOptions(hmac_secret_key=SECRET)
    with pytest.raises(InvalidToken):
        start_eagerly(TokenVerifier(options, TestClock()).verify_connect_token(text))

"""Tokens: keys and algorithms, claims, expiry, and what is refused."""

import base64
import datetime as dt
import json
import re
import time
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import given
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, RSAKey

from flyball.aio.eager import start_eagerly
from flyball.core.errors import ConfigError, Error
from flyball.core.types import Raw
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.auth.make import sign, token_for
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.testing import TestClock

SECRET = "a-secret-of-at-least-thirty-two-bytes"
NOW = 1_800_000_000
OPTIONS = TokenOptions(hmac_secret_key=SECRET)


def verifier(options=OPTIONS, **changes):
    return TokenVerifier(replace(options, **changes), TestClock(NOW))


def connect(token, options=OPTIONS, **changes):
    return start_eagerly(verifier(options, **changes).verify_connect_token(token))


def subscribe(token, options=OPTIONS, **changes):
    return start_eagerly(verifier(options, **changes).verify_subscribe_token(token))


def token(secret=SECRET, **claims):
    return sign(claims, secret)


def encode(algorithm, claims, key):
    return jwt.encode({"alg": algorithm}, claims, key, algorithms=[algorithm])


def pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


@pytest.fixture(scope="module")
def rsa_key():
    return rsa.generate_private_key(65537, 2048)


class TestKeys:
    @pytest.mark.parametrize("algorithm", ["HS256", "HS384", "HS512"])
    def test_hmac(self, algorithm):
        text = encode(algorithm, {"sub": "42"}, OctKey.import_key(SECRET))
        assert connect(text).user == "42"
        with pytest.raises(InvalidToken, match="signature"):
            connect(text, hmac_secret_key="another-secret-of-thirty-two-bytes!")

    @pytest.mark.parametrize("algorithm", ["RS256", "RS384", "RS512"])
    def test_rsa(self, rsa_key, algorithm):
        options = TokenOptions(rsa_public_key=pem(rsa_key.public_key()))
        text = encode(algorithm, {"sub": "42"}, RSAKey.import_key(rsa_key))
        assert connect(text, options).user == "42"
        other = RSAKey.import_key(rsa.generate_private_key(65537, 2048))
        with pytest.raises(InvalidToken, match="signature"):
            connect(encode(algorithm, {"sub": "42"}, other), options)

    @pytest.mark.parametrize(
        ("algorithm", "curve"),
        [("ES256", ec.SECP256R1()), ("ES384", ec.SECP384R1()), ("ES512", ec.SECP521R1())],
    )
    def test_ecdsa(self, algorithm, curve):
        key = ec.generate_private_key(curve)
        options = TokenOptions(ecdsa_public_key=pem(key.public_key()))
        text = encode(algorithm, {"sub": "42"}, ECKey.import_key(key))
        assert connect(text, options).user == "42"
        head, body, signature = text.split(".")
        with pytest.raises(InvalidToken):
            connect(f"{head}.{body}.{signature[:-4]}", options)

    def test_certificate(self, rsa_key):
        name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "x")])
        when = dt.datetime(2025, 1, 1, tzinfo=dt.UTC)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(rsa_key.public_key())
            .serial_number(1)
            .not_valid_before(when)
            .not_valid_after(when.replace(year=2045))
            .sign(rsa_key, hashes.SHA256())
        )
        text = certificate.public_bytes(serialization.Encoding.PEM).decode()
        signed = encode("RS256", {"sub": "42"}, RSAKey.import_key(rsa_key))
        assert connect(signed, TokenOptions(rsa_public_key=text)).user == "42"

    def test_a_public_key_is_no_hmac_secret(self, rsa_key):
        public = pem(rsa_key.public_key())
        forged = sign({"sub": "42"}, public)
        with pytest.raises(InvalidToken, match="no key for algorithm 'HS256'"):
            connect(forged, TokenOptions(rsa_public_key=public))

    def test_none_and_unknown_algorithms(self):
        for algorithm in ("none", "None", "", "HS1", "PS256"):
            head = base64.urlsafe_b64encode(json.dumps({"alg": algorithm}).encode())
            text = f"{head.rstrip(b'=').decode()}.{token(sub='42').split('.')[1]}."
            with pytest.raises(InvalidToken):
                connect(text)

    def test_demanded_extensions(self):
        head = base64.urlsafe_b64encode(b'{"alg":"HS256","crit":["b64"]}').rstrip(b"=").decode()
        with pytest.raises(InvalidToken, match="crit"):
            connect(f"{head}.e30.e30")

    def test_no_keys(self):
        with pytest.raises(InvalidToken, match="no key"):
            connect(token(sub="42"), TokenOptions())

    def test_previous_secret(self):
        old = token("the-previous-secret-of-thirty-two-bytes", sub="42")
        previous = {"hmac_previous_secret_key": "the-previous-secret-of-thirty-two-bytes"}
        assert connect(old, **previous).user == "42"
        until = {**previous, "hmac_previous_secret_key_valid_until": NOW + 1}
        assert connect(old, **until).user == "42"
        until["hmac_previous_secret_key_valid_until"] = NOW - 1
        with pytest.raises(InvalidToken, match="signature"):
            connect(old, **until)

    def test_skipped_signature(self):
        forged = token("whatever", sub="42", exp=NOW - 1)
        unsigned = TokenVerifier(OPTIONS, TestClock(NOW), verify_signatures=False)
        with pytest.raises(TokenExpired):
            start_eagerly(unsigned.verify_connect_token(forged))

    @pytest.mark.parametrize(
        ("changes", "key"),
        [
            ({"rsa_public_key": "nonsense"}, "rsa_public_key"),
            ({"ecdsa_public_key": "nonsense"}, "ecdsa_public_key"),
            ({"issuer": "a", "issuer_regex": "a"}, "issuer"),
            ({"audience_regex": "("}, "audience_regex"),
            ({"jwks_public_endpoint": "ftp://x/y"}, "jwks_public_endpoint"),
            ({"jwks_public_endpoint": "https://x/{{tenant}}"}, "tenant"),
            (
                {
                    "jwks_public_endpoint": "https://x/{{tenant}}/keys",
                    "issuer_regex": "https://(?P<tenant>[a-z]+)",
                },
                "tenant",
            ),
        ],
    )
    def test_wrong_options_name_their_key(self, changes, key):
        with pytest.raises(ConfigError, match=key):
            verifier(**changes)

    def test_wrong_kind_of_key(self, rsa_key):
        with pytest.raises(ConfigError, match="EC public key"):
            verifier(ecdsa_public_key=pem(rsa_key.public_key()))


class TestConnectClaims:
    def test_all(self):
        verified = connect(
            token(
                sub="42",
                exp=NOW + 60,
                info={"name": "Bob"},
                meta={"m": 1},
                subs={
                    "news": {"info": {"a": 1}, "data": {"d": 2}},
                    "chat": {"override": {"presence": {"value": True}, "unknown": 1}},
                },
                channels=["ignored"],
            )
        )
        assert (verified.user, verified.expire_at) == ("42", NOW + 60)
        assert (verified.info, verified.meta) == (Raw(b'{"name":"Bob"}'), Raw(b'{"m":1}'))
        assert set(verified.subs) == {"news", "chat"}
        assert verified.subs["news"].info == Raw(b'{"a":1}')
        assert verified.subs["news"].data == Raw(b'{"d":2}')
        assert verified.subs["chat"].overrides == {"presence": True}

    def test_channels(self):
        assert set(connect(token(channels=["a", "b"])).subs) == {"a", "b"}

    def test_base64_wins(self):
        b64 = base64.b64encode(b"\x00binary").decode()
        assert connect(token(info={"a": 1}, b64info=b64)).info == Raw(b"\x00binary")
        with pytest.raises(Error, match="internal") as refused:
            connect(token(b64info="*"))
        assert refused.value.code == 100

    @pytest.mark.parametrize(
        ("claims", "expected"),
        [
            ({}, 0),
            ({"exp": NOW + 10}, NOW + 10),
            ({"exp": NOW + 10, "expire_at": NOW + 99}, NOW + 99),
            ({"exp": NOW + 10, "expire_at": 0}, 0),
            ({"exp": NOW + 10, "expire_at": -1}, 0),
            ({"exp": NOW * 2}, NOW + 365 * 24 * 3600),
        ],
    )
    def test_expiry(self, claims, expected):
        assert connect(token(**claims)).expire_at == expected

    def test_expired(self):
        with pytest.raises(TokenExpired):
            connect(token(exp=NOW))
        with pytest.raises(TokenExpired):
            connect(token(exp=NOW - 1, expire_at=NOW + 100))

    def test_expired_and_forged_is_forged(self):
        with pytest.raises(InvalidToken):
            connect(token("wrong", exp=NOW - 1))

    def test_not_yet(self):
        with pytest.raises(TokenExpired, match="nbf"):
            connect(token(nbf=NOW + 1))
        assert connect(token(nbf=NOW)).user == ""

    def test_subscription_token_does_not_connect(self):
        with pytest.raises(InvalidToken, match="subscription token"):
            connect(token(sub="42", channel="x"))

    @pytest.mark.parametrize(
        "claims",
        [
            {"sub": 42},
            {"exp": "soon"},
            {"channels": "a"},
            {"subs": []},
            {"meta": 1, "jti": 5},
            {"iss": 1},
            {"aud": {}},
            {"expire_at": "x"},
            {"subs": {"a": {"override": 1}}},
        ],
    )
    def test_wrong_types(self, claims):
        with pytest.raises(InvalidToken):
            connect(token(**claims))

    def test_user_id_claim(self):
        assert connect(token(sub="x", uid="42"), user_id_claim="uid").user == "42"
        assert connect(token(sub="x", uid=42), user_id_claim="uid").user == "42"
        assert connect(token(sub="x"), user_id_claim="uid").user == ""

    def test_issuer_and_audience(self):
        good = token(iss="me", aud=["you", "them"])
        assert connect(good, issuer="me", audience="them").user == ""
        assert connect(good, issuer_regex="^m", audience_regex="^you$").user == ""
        for changes in (
            {"issuer": "m"},
            {"audience": "yo"},
            {"issuer_regex": "^x"},
            {"audience_regex": "^x"},
        ):
            with pytest.raises(InvalidToken, match=r"iss|aud"):
                connect(good, **changes)
        with pytest.raises(InvalidToken):
            connect(token(), issuer="me")


class TestSubscribeClaims:
    def test_all(self):
        verified = subscribe(
            token(
                sub="42",
                channel="news",
                client="c",
                exp=NOW + 5,
                info={"a": 1},
                b64data=base64.b64encode(b"x").decode(),
                override={"force_recovery": {"value": False}},
            )
        )
        assert (verified.user, verified.channel, verified.client) == ("42", "news", "c")
        assert (verified.expire_at, verified.info) == (NOW + 5, Raw(b'{"a":1}'))
        assert verified.data == Raw(b"x")
        assert verified.overrides == {"recoverable": False}

    def test_needs_a_channel(self):
        with pytest.raises(InvalidToken, match="channel"):
            subscribe(token(sub="42"))


@pytest.mark.parametrize(
    "text", ["", ".", "..", "a.b", "a.b.c.d", "ä.b.c", "e30.e30.e30", "x" * 70000]
)
def test_garbage(text):
    with pytest.raises(InvalidToken):
        connect(text)


def test_padding_is_not_part_of_the_form():
    head, body, signature = token(sub="42").split(".")
    with pytest.raises(InvalidToken):
        connect(f"{head}=.{body}.{signature}")


def test_details_hold_no_secrets():
    good = token("wrong", sub="42")
    with pytest.raises(InvalidToken) as caught:
        connect(good)
    assert SECRET not in str(caught.value)
    assert good.split(".")[2] not in str(caught.value)


@given(st.data())
def test_damaged_tokens_are_refused(data):
    good = token(sub="42", exp=NOW + 60)
    position = data.draw(st.integers(0, len(good) - 1))
    letter = data.draw(st.characters(max_codepoint=0x2FF))
    damaged = good[:position] + letter + good[position + 1 :]
    if damaged == good:
        return
    with pytest.raises((InvalidToken, TokenExpired)):
        connect(damaged)


@given(st.text(max_size=200))
def test_any_text_is_refused(text):
    with pytest.raises((InvalidToken, TokenExpired)):
        connect(text)


def test_made_tokens():
    text = token_for(OPTIONS, "42", 60, NOW)
    assert json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "==")) == {
        "sub": "42",
        "exp": NOW + 60,
        "iat": NOW,
    }
    assert connect(text).user == "42"
    assert subscribe(token_for(OPTIONS, "42", -1, NOW, "ch")).expire_at == 0
    with pytest.raises(ConfigError, match="hmac_secret_key"):
        token_for(TokenOptions(), "42", 60, NOW)


def test_captured_tokens_of_the_original():
    """Every token in the captured sessions is right, or wrong in the way the capture says."""
    lines = Path(__file__).parents[2].joinpath("golden", "wire-examples.jsonl").read_text()
    seen = 0
    for line in lines.splitlines():
        row = json.loads(line)
        for sent in row["sent"]:
            if not isinstance(sent, str) or '"token":"eyJ' not in sent or "connect" not in sent:
                continue
            text = json.loads(sent[sent.index("{") :])["connect"]["token"]
            claims = json.loads(base64.urlsafe_b64decode(text.split(".")[1] + "=="))
            if "channel" in claims:
                continue
            clock = TestClock(claims["exp"] - 1 if claims.get("exp", 0) > 1 else time.time())
            options = TokenOptions(hmac_secret_key="secret")
            checking = TokenVerifier(options, clock).verify_connect_token(text)
            if claims.get("exp") == 1:
                with pytest.raises(TokenExpired):
                    start_eagerly(checking)
            else:
                assert start_eagerly(checking).user == claims.get("sub", "")
            seen += 1
    assert seen > 20


def test_captured_tokens_of_both_kinds():
    """Whatever the frame it came in, a captured token has the right signature and form."""
    text = Path(__file__).parents[2].joinpath("golden", "wire-examples.jsonl").read_text()
    found = set(re.findall(r"eyJ[\w-]+\.[\w-]+\.[\w-]+", text))
    kinds = {"connect": 0, "subscribe": 0}
    for captured in found:
        claims = json.loads(base64.urlsafe_b64decode(captured.split(".")[1] + "=="))
        exp = claims.get("exp", NOW)
        checking = TokenVerifier(TokenOptions(hmac_secret_key="secret"), TestClock(exp - 1))
        if "channel" in claims:
            kinds["subscribe"] += 1
            verified = start_eagerly(checking.verify_subscribe_token(captured))
            assert (verified.user, verified.channel) == (claims["sub"], claims["channel"])
            with pytest.raises(InvalidToken, match="channel"):
                start_eagerly(checking.verify_connect_token(captured))
        else:
            kinds["connect"] += 1
            verified = start_eagerly(checking.verify_connect_token(captured))
            assert verified.user == claims.get("sub", "")
            assert verified.subs.keys() == claims.get("subs", {}).keys()
        assert verified.expire_at == claims.get("exp", 0)
    assert kinds["connect"] > 15
    assert kinds["subscribe"] > 5

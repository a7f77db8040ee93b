"""Tokens from strangers: whatever they hold, they are refused, and nothing else happens."""

import base64
import contextlib
import hashlib
import hmac
import json

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey

from flyball.aio.eager import start_eagerly
from flyball.core.errors import ConfigError, Error
from flyball.core.types import Raw
from flyball.server.auth.claims import ConnectToken, SubscribeToken
from flyball.server.auth.endpoint import EndpointTemplate
from flyball.server.auth.errors import InvalidToken, TokenExpired
from flyball.server.auth.jwks import JwksClient
from flyball.server.auth.make import sign
from flyball.server.auth.options import TokenOptions
from flyball.server.auth.verifier import TokenVerifier
from flyball.testing import TestClock

SECRET = "a-secret-of-at-least-thirty-two-bytes"
NOW = 1_800_000_000
YEAR = 365 * 24 * 3600


def part(value):
    raw = value if isinstance(value, bytes) else json.dumps(value).encode()
    return base64.urlsafe_b64encode(raw).rstrip(b"=").decode()


def raw_token(claims: bytes, head=b'{"alg":"HS256"}', digest=hashlib.sha256):
    signed = f"{part(head)}.{part(claims)}"
    signature = hmac.new(SECRET.encode(), signed.encode(), digest).digest()
    return f"{signed}.{part(signature)}"


def checking(**options):
    return TokenVerifier(TokenOptions(**{"hmac_secret_key": SECRET, **options}), TestClock(NOW))


def connect(text, **options):
    return start_eagerly(checking(**options).verify_connect_token(text))


def subscribe(text, **options):
    return start_eagerly(checking(**options).verify_subscribe_token(text))


def pem(key):
    return key.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    ).decode()


# -- algorithms


def test_each_key_takes_its_own_algorithms_only():
    rsa_key, ec_key = rsa.generate_private_key(65537, 2048), ec.generate_private_key(ec.SECP384R1())
    both = {
        "rsa_public_key": pem(rsa_key.public_key()),
        "ecdsa_public_key": pem(ec_key.public_key()),
    }

    def signed(algorithm, key):
        return jwt.encode({"alg": algorithm}, {"sub": "42"}, key, algorithms=[algorithm])

    good = {
        "RS256": signed("RS256", RSAKey.import_key(rsa_key)),
        "ES384": signed("ES384", ECKey.import_key(ec_key)),
        "HS256": sign({"sub": "42"}, SECRET),
    }
    for text in good.values():
        assert connect(text, **both).user == "42"
    for algorithm, text in good.items():
        _, body, signature = text.split(".")
        for other in (
            "HS256",
            "HS512",
            "RS256",
            "RS512",
            "PS256",
            "ES256",
            "ES384",
            "EdDSA",
            "none",
        ):
            if other != algorithm:
                with pytest.raises(InvalidToken):
                    connect(f"{part({'alg': other})}.{body}.{signature}", **both)
    # A secret that anyone knows must not become one: the keys are public.
    for public in both.values():
        with pytest.raises(InvalidToken):
            connect(sign({"sub": "42"}, public), **both)
        with pytest.raises(InvalidToken):
            connect(sign({"sub": "42"}, public), **both, hmac_secret_key="")


@pytest.mark.parametrize("size", [0, 1, 64])
def test_ecdsa_signatures_of_zeros(size):
    key = ec.generate_private_key(ec.SECP256R1())
    text = f"{part({'alg': 'ES256'})}.{part({'sub': '42'})}.{part(bytes(size))}"
    with pytest.raises(InvalidToken, match="signature"):
        connect(text, ecdsa_public_key=pem(key.public_key()))


def test_small_rsa_keys_and_other_curves_are_refused():
    with pytest.raises(ConfigError, match="ecdsa_public_key"):
        checking(ecdsa_public_key=pem(ec.generate_private_key(ec.SECP256K1()).public_key()))


def test_a_previous_secret_alone_ends_too():
    old = raw_token(b'{"sub":"42"}')
    options = {"hmac_secret_key": "", "hmac_previous_secret_key": SECRET}
    assert connect(old, **options).user == "42"
    until = {"hmac_previous_secret_key_valid_until": NOW - 1}
    with pytest.raises(InvalidToken, match="signature"):
        connect(old, **options, **until)


def test_a_header_is_remembered_only_from_good_tokens():
    verifier = checking()
    for i in range(200):
        with pytest.raises(InvalidToken):
            start_eagerly(
                verifier.verify_connect_token(f"{part({'alg': 'HS256', 'n': i})}.e30.e30")
            )
    good = raw_token(b'{"sub":"42"}')
    for _ in range(2):
        assert start_eagerly(verifier.verify_connect_token(good)).user == "42"
    head, body, signature = good.split(".")
    for text in (f"{head}.{part({'sub': '43'})}.{signature}", f"{head}.{body}.{part(bytes(32))}"):
        with pytest.raises(InvalidToken, match="signature"):
            start_eagerly(verifier.verify_connect_token(text))


@pytest.mark.parametrize("crit", [b"null", b"[]", b'["exp"]', b"1"])
def test_any_crit_is_refused(crit):
    with pytest.raises(InvalidToken, match="crit"):
        connect(raw_token(b"{}", head=b'{"alg":"HS256","crit":' + crit + b"}"))


@pytest.mark.parametrize(
    "head",
    [
        b"[]",
        b"{}",
        b'{"alg":1}',
        b'{"typ":1,"alg":"HS256"}',
        b'{"Typ":1,"alg":"HS256"}',
        b'{"alg":1,"alg":"HS256"}',
        b'{ "alg":"HS256"}',
        b'{"alg":"HS256","kid":"\xff"}',
        b"\xff",
        b"{",
    ],
)
def test_malformed_headers(head):
    with pytest.raises(InvalidToken, match="header"):
        connect(raw_token(b"{}", head=head))


@pytest.mark.parametrize("head", [b'{"typ":"JWT"}', b'{"alg":null}', b'{"alg":"none"}'])
def test_no_algorithm_is_none_of_ours(head):
    with pytest.raises(InvalidToken, match="key"):
        connect(raw_token(b"{}", head=head))


def test_what_is_no_base64url():
    head, body, signature = raw_token(b'{"sub":"42"}').split(".")
    assert connect(f"{head}.{body}.{signature}").user == "42"
    # The last character of 32 bytes has two bits to spare.
    letters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_"
    spare = letters[letters.index(signature[-1]) + 1]
    for bad in (
        f"{signature}=",
        f" {signature}",
        signature.replace("-", "+").replace("_", "/") + "A+/A",
    ):
        with pytest.raises(InvalidToken):
            connect(f"{head}.{body}.{bad}")
    for same in (
        f"{signature[:-1]}{spare}",
        f"{signature}\n",
        f"{signature[:9]}\r\n{signature[9:]}",
    ):
        assert connect(f"{head}.{body}.{same}").user == "42"


# -- claims that are well signed, but not well formed

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
    ),
    max_leaves=6,
)
names = st.sampled_from(
    [
        "sub", "exp", "nbf", "iat", "iss", "aud", "jti", "expire_at", "info", "b64info", "meta",
        "channels", "subs", "channel", "client", "data", "b64data", "override", "uid", "x",
    ]
)  # fmt: skip


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(names, json_values, max_size=6), st.sampled_from(["", "uid", "exp"]))
def test_any_claims(claims, user_id_claim):
    text = raw_token(json.dumps(claims).encode("utf-8", "surrogatepass"))
    for verify, kind in ((connect, ConnectToken), (subscribe, SubscribeToken)):
        try:
            verified = verify(text, user_id_claim=user_id_claim)
        except (InvalidToken, TokenExpired):
            continue
        except Error as error:  # the info of a connection is no base64
            assert (error.code, kind) == (100, ConnectToken)  # noqa: PT017 - or nothing is raised
            continue
        assert type(verified) is kind
        assert isinstance(verified.user, str)
        longest = YEAR if kind is ConnectToken else 2**32
        assert 0 <= verified.expire_at <= NOW + longest
        assert isinstance(verified.info, Raw)


@given(st.binary(max_size=200))
@example(b"[" * 40_000)
@example(b'{"x":' * 8_000)
@example(b'{"exp":1' + b"0" * 400 + b"}")
@example(b'{"exp":1e999}')
@example(b'{"nbf":-1e308,"expire_at":9' + b"9" * 50 + b"}")
@example(b"{}{}")
@example(b'\xef\xbb\xbf{"sub":"42"}')
@example(b'{"sub":"\xff"}')
@example(b'{"sub":"\\ud800"}')
def test_any_bytes_as_claims(claims):
    for verify in (connect, subscribe):
        with contextlib.suppress(InvalidToken, TokenExpired):
            verify(raw_token(claims))


@given(st.binary(max_size=100))
@example(b"[" * 40_000)
@example(b'{"alg":"HS256","x":' + b"[" * 40_000)
def test_any_bytes_as_header(head):
    with contextlib.suppress(InvalidToken, TokenExpired):
        connect(raw_token(b"{}", head=head))


@given(st.data())
def test_mutations(data):
    good = raw_token(b'{"sub":"42","exp":1800000060,"subs":{"a":{"info":{}}}}')
    text = list(good)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(text)))
        what = data.draw(st.sampled_from(["insert", "delete", "double"]))
        if what == "insert":
            text.insert(at, data.draw(st.sampled_from("AZaz09-_.=+/ \n\x00é😀\ud800")))
        elif what == "delete":
            del text[at : at + 1]
        else:
            text[at:at] = text[at : at + 5]
    changed = "".join(text)
    if changed.replace("\n", "") != good:  # line breaks in base64 are ignored
        with pytest.raises((InvalidToken, TokenExpired)):
            connect(changed)


def test_null_is_the_same_as_absent():
    names = ("sub", "exp", "nbf", "iat", "iss", "jti", "expire_at", "b64info")
    claims = dict.fromkeys((*names, "channel", "channels", "subs"))
    verified = connect(raw_token(json.dumps(claims).encode()))
    assert verified == ConnectToken("", 0.0, Raw(b""), None, {})
    assert verified == connect(raw_token(b"null"))
    assert connect(raw_token(b'{"subs":{"a":null}}')).subs["a"].overrides == {}
    claims = dict.fromkeys((*names, "client", "b64data", "override")) | {"channel": "a"}
    assert subscribe(raw_token(json.dumps(claims).encode())).channel == "a"
    with pytest.raises(InvalidToken, match="aud"):
        connect(raw_token(b'{"aud":null}'))
    assert connect(raw_token(b'{"channel":"","subs":{},"channels":["a"]}')).subs.keys() == {"a"}


@pytest.mark.parametrize(
    ("value", "user"),
    [
        (b'"x"', "x"),
        (b"42", "42"),
        (b"12345678901234567890123", "12345678901234567890123"),
        (b"1.50", "1.5"),
        (b"1e3", "1000"),
        (b"-2.0", "-2"),
        (b"true", "true"),
        (b"null", ""),
        (b'{"a":1}', '{"a":1}'),
        (b'{"a":"\\ud800"}', '{"a":"\\ud800"}'),
        (b'"\\ud800"', "\ufffd"),
        (b'"x","uid":"y"', "x"),
        (b'"x","info":"\\ud800"', "x"),
    ],
)
def test_user_id_claim_of_any_type(value, user):
    text = raw_token(b'{"sub":"other","uid":' + value + b"}")
    assert connect(text, user_id_claim="uid").user == user


def test_user_id_claim_that_is_not_there():
    for claims in (b"null", b'{"sub":"u","info":{"uid":"x"}}', b'{"Uid":"x"}'):
        assert connect(raw_token(claims), user_id_claim="uid").user == ""
    with pytest.raises(InvalidToken, match="uid"):
        connect(raw_token(b'{"uid":1e400}'), user_id_claim="uid")


def test_user_id_claim_has_a_plain_name():
    with pytest.raises(ConfigError, match="user_id_claim"):
        checking(user_id_claim="a.b")


def test_long_sources_are_not_matched():
    text = sign({"iss": "a" * 5000, "aud": ["a" * 3000, "a" * 3000]}, SECRET)
    for options in ({"issuer_regex": "a"}, {"audience_regex": "a"}):
        with pytest.raises(InvalidToken, match="longer"):
            connect(text, **options)
    assert connect(text).user == ""


def test_secrets_are_not_shown():
    options = TokenOptions(hmac_secret_key=SECRET, hmac_previous_secret_key="another-secret")
    assert SECRET not in repr(options)
    assert "another-secret" not in repr(options)
    with pytest.raises(InvalidToken) as caught:
        connect(raw_token(b'{"sub":{"very":"private"}}'))
    assert "private" not in str(caught.value)


# -- where key sets are


def template(text, issuer="", audience="", *, safe=True):
    return EndpointTemplate(text, issuer_regex=issuer, audience_regex=audience, safe=safe)


URL = "https://keys.example.com/{{tenant}}/jwks"


def test_template():
    one = template(URL, "https://(?P<tenant>one|two)\\.example\\.com")
    assert one.url("https://two.example.com", ()) == "https://keys.example.com/two/jwks"
    two = template(URL, audience="(?P<tenant>one|two)")
    assert two.url("", ("x", "one")) == "https://keys.example.com/one/jwks"
    plain = template("https://keys.example.com/jwks")
    assert plain.url("anything", ()) == "https://keys.example.com/jwks"


@pytest.mark.parametrize(
    ("issuer", "audience"),
    [
        ("(?P<tenant>.+)", ""),
        ("(?P<tenant>[ab])", ""),
        ("(?P<tenant>a|\\w)", ""),
        ("(?P<tenant>a|b*)", ""),
        ("(?P<tenant>a.b)", ""),
        ("(?P<tenant>(.*))", ""),
        ("(?P<tenant>a|)", ""),
        ("(?P<tenant>(a|b))", ""),
        ("(?P<tenant>a|(b|c)|d)", ""),
        (r"(?P<tenant>a|\)b[)])", ""),
        # The safe group must not cover for the other one of the same name.
        ("(?P<tenant>.+)", "(?P<tenant>a|b)"),
        ("(?P<tenant>a|b)", "(?P<tenant>.+)"),
        ("(?P<other>a)", ""),
        ("", ""),
    ],
)
def test_unsafe_templates(issuer, audience):
    with pytest.raises(ConfigError, match=r"jwks_public_endpoint.*tenant"):
        template(URL, issuer, audience)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "keys",
        "ftp://x/y",
        "file:///etc/passwd",
        "https://",
        "https://x:y/",
        "https://x/{{a-b}}",
    ],
)
def test_urls(url):
    with pytest.raises(ConfigError, match="jwks_public_endpoint"):
        template(url)


def test_only_a_full_match_fills_in():
    one = template(URL, "https://(?P<tenant>one|two)")
    for issuer in ("https://one.evil", "xhttps://one", "https://one\n", "https://onetwo", ""):
        with pytest.raises(InvalidToken, match="do not say"):
            one.url(issuer, ())


@pytest.mark.parametrize(
    "value",
    [
        "..",
        ".",
        "../x",
        "a/../b",
        "a//b",
        "/a",
        "a?b",
        "a#b",
        "a%2e",
        "a\\b",
        "a b",
        "a@b",
        "a\n",
        "é",
    ],
)
def test_values_never_leave_their_place(value):
    with pytest.raises(InvalidToken):
        template(URL, "(?P<tenant>(?s:.+))", safe=False).url(value, ())


@pytest.mark.parametrize(
    "value", ["evil.com/", "evil.com?", "evil.com#", "a@evil.com", "x:1", ".", "-.", "a..b"]
)
def test_values_never_change_the_host(value):
    host = template("https://{{tenant}}.example.com/jwks", "(?P<tenant>.+)", safe=False)
    assert host.url("one", ()) == "https://one.example.com/jwks"
    with pytest.raises(InvalidToken):
        host.url(value, ())


def test_an_endpoint_needs_a_client():
    options = TokenOptions(jwks_public_endpoint="https://x/keys")
    with pytest.raises(ConfigError, match="jwks_public_endpoint"):
        TokenVerifier(options, TestClock(NOW))
    # Outside of any event loop, as the server is put together.
    verifier = TokenVerifier(options, TestClock(NOW), JwksClient())
    for text in (sign({"sub": "42"}, SECRET), f"{part({'alg': 'HS256', 'kid': 'k'})}.e30.e30"):
        with pytest.raises(InvalidToken):
            start_eagerly(verifier.verify_connect_token(text))


LENIENT = {
    b'{"exp":"%d"}' % (NOW + 10): {"expire_at": NOW + 10},
    b'{"exp":"%d.5"}' % (NOW + 10): {"expire_at": NOW + 10.5},
    b'{"nbf":"5","iat":"1e3"}': {},
    b'{"Sub":"u","EXP":%d}' % (NOW + 10): {"user": "u", "expire_at": NOW + 10},
    b'{"sub":"u","other":{"Sub":"v"}}': {"user": "u"},
    b'{"sub":"\\ud800 \\\\ud800 \\ud83d\\ude00"}': {"user": "\ufffd \\ud800 \U0001f600"},
    b'{"info":null}': {"info": Raw(b"null")},
    b'{"meta":[1, 1.0,12345678901234567890123]}': {
        "meta": Raw(b"[1, 1.0,12345678901234567890123]")
    },
    b'{"meta":"x"}': {"meta": Raw(b'"x"')},
    b'{"meta":1e400}': {"meta": Raw(b"1e400")},
    b'{"meta":null}': {"meta": Raw(b"null")},
    b'{"channels":[null,"","a"]}': {"subs": {"", "a"}},
    b'{"subs":{"":{},"a":{"INFO":1}}}': {"subs": {"", "a"}},
    b'{"iss":"\\ud800","aud":["\\ud800","a"]}': {"user": ""},
    b'{"aud":"\\ud800"}': {"user": ""},
    b'{"exp":"\\u0031%d"}' % (NOW + 10 - 10**9): {"expire_at": NOW + 10},
    b'{"\\u0053ub":"u","s\\u0075bs":{"a":{}}}': {"user": "u", "subs": {"a"}},
    b'{"expire_at":%d,"expire_at":null}' % NOW: {"expire_at": 0},
    b'{"b64info":"eyJh\\nIjoxfQ=="}': {"info": Raw(b'{"a":1}')},
}
"""Claims that other servers have always accepted, and what they mean."""


@pytest.mark.parametrize("claims", LENIENT)
def test_what_has_always_been_accepted(claims):
    verified = connect(raw_token(claims))
    for name, value in LENIENT[claims].items():
        found = getattr(verified, name)
        assert (set(found) if name == "subs" else found) == value


@pytest.mark.parametrize(
    "head",
    [
        b'{"ALG":"HS256","kid":null}',
        b'{"alg":"HS256","alg":null}',
        b'{"alg":"none","Alg":"HS256"}',
        b'{"alg":"HS256","kid":"\\ud800","x":{"y":[1]}}',
    ],
)
def test_headers_that_have_always_been_accepted(head):
    assert connect(raw_token(b'{"sub":"u"}', head=head)).user == "u"


HALF = b'{"a":"\\ud800 \\udfff"}'
"""An escaped half of a surrogate pair: no character, but JSON that others have always been sent."""


def test_values_are_passed_on_as_they_came():
    of_sub = b'{"info":%b,"data":%b}' % (HALF, HALF)
    verified = connect(
        raw_token(
            b'{"sub":"\\ud800","info":%b,"meta":%b,"subs":{"c\\ud800":%b}}' % (HALF, HALF, of_sub)
        )
    )
    assert (verified.user, verified.info, verified.meta) == ("\ufffd", Raw(HALF), Raw(HALF))
    claims = verified.subs["c\ufffd"]
    assert (claims.info, claims.data) == (Raw(HALF), Raw(HALF))
    # In a token that nothing else is wrong with, and in one with names in other cases.
    for name in (b"info", b"Info"):
        text = raw_token(b'{"channel":"a","%b":%b,"data":%b}' % (name, HALF, HALF))
        assert (subscribe(text).info, subscribe(text).data) == (Raw(HALF), Raw(HALF))


P, R = b'"presence":{"value":true}', b'"force_recovery":{"value":true}'
BOTH = {"presence": True, "recoverable": True}

TWINS = {
    # Objects are merged, entries of subs are not.
    b'"subs":{"a":{}},"subs":{"b":{}}': {"a": {}, "b": {}},
    b'"subs":{"a":{}},"Subs":{"b":{}}': {"a": {}, "b": {}},
    b'"subs":{"a":null},"subs":{"b":null}': {"a": {}, "b": {}},
    b'"subs":{"a":{}},"s\\u0075bs":{"b":{}}': {"a": {}, "b": {}},
    b'"subs":{"a":{"override":{%b}}},"subs":{"a":{"override":{%b}}}' % (P, R): {
        "a": {"recoverable": True}
    },
    b'"subs":{"a":{"override":{%b},"override":{%b}}}' % (P, R): {"a": BOTH},
    b'"subs":{"a":{"override":{%b},"override":{}}}' % P: {"a": {"presence": True}},
    b'"subs":{"a":{"override":{%b,"presence":{}}}}' % P: {"a": {"presence": True}},
    b'"subs":{"a":{"override":{%b}},"b":{"override":{%b,"presence":{}}}}' % (P, P): {
        "a": {"presence": True},
        "b": {"presence": True},
    },
    b'"subs":{"a":{"override":{"presence":{"value":true,"value":null}}}}': {
        "a": {"presence": True}
    },
    # Null is what was not there.
    b'"subs":{"a":{}},"subs":null': {},
    b'"subs":null,"subs":{"a":{}}': {"a": {}},
    b'"subs":{"a":{"override":{%b},"override":null}}' % P: {"a": {}},
    b'"subs":{"a":{"override":{%b}},"a":null}' % P: {"a": {}},
    # The last list; null is what stood there before.
    b'"channels":["a","b"],"channels":["c"]': {"c": {}},
    b'"channels":["a","b"],"channels":[null,"c"]': {"a": {}, "c": {}},
    # Not twins, though they look like some.
    b'"subs":{"a":{"info":{"subs":{}}},"b":{"override":{%b}}}' % P: {
        "a": {},
        "b": {"presence": True},
    },
    b'"info":{"override":{},"presence":{}},"subs":{"a":{"override":{%b}}}' % P: {
        "a": {"presence": True}
    },
}


@pytest.mark.parametrize("claims", TWINS)
def test_objects_that_come_twice(claims):
    subs = connect(raw_token(b"{%b}" % claims)).subs
    assert {name: sub.overrides for name, sub in subs.items()} == TWINS[claims]


def test_values_that_come_twice():
    assert connect(raw_token(b'{"sub":"u","sub":"v"}')).user == "v"
    assert connect(raw_token(b'{"sub":"u","sub":null}')).user == "u"
    assert connect(raw_token(b'{"info":1,"info":null}')).info == Raw(b"null")
    assert connect(raw_token(b'{"b64info":"MQ==","b64info":null,"info":2}')).info == Raw(b"1")
    override = b'"override":{%b},"override":{%b}' % (P, R)
    assert subscribe(raw_token(b'{"channel":"a","channel":null,%b}' % override)).overrides == BOTH
    for wrong in (b'"sub":5,"sub":"u"', b'"exp":"x","exp":null', b'"aud":1,"aud":"a"'):
        with pytest.raises(InvalidToken, match="malformed"):
            connect(raw_token(b"{%b}" % wrong))


def test_errors_tell_the_place():
    with pytest.raises(InvalidToken, match=r"malformed: .*\$\.sub"):
        connect(raw_token(b'{"sub":5}'))
    with pytest.raises(InvalidToken, match=r"malformed: .* a string expected"):
        connect(raw_token(b'{"Sub":5}'))
    with pytest.raises(InvalidToken, match="no JSON"):
        connect(raw_token(b'{"sub":'))


@pytest.mark.parametrize(
    "claims",
    [
        b'{"exp":"soon"}',
        b'{"exp":""}',
        b'{"exp":"0x5"}',
        b'{"exp":true}',
        b'{"Sub":5}',
        b'{"aud":["\\ud800",1]}',
        b'{"aud":%b,"Sub":""}' % (b"1" * 5000),
        b'{"aud":{},"Sub":""}',
        b'{"Exp":"1e400"}',
        b'{"Exp":[]}',
        b'{"Expire_at":1.5}',
        b'{"expire_at":99999999999999999999}',
        b'{"subs":{"a":{"b64data":"*"}}}',
        b'{"subs":{"a":{"Override":{"Presence":{"Value":5}}}}}',
        b"[]",
    ],
)
def test_what_has_not(claims):
    with pytest.raises(InvalidToken):
        connect(raw_token(claims))


def test_a_past_time_in_a_text_is_past():
    with pytest.raises(TokenExpired):
        connect(raw_token(b'{"exp":"%d.5"}' % (NOW - 10)))


def test_overrides_in_any_case():
    claims = b'{"subs":{"a":{"Override":{"Presence":{"VALUE":true}}}}}'
    assert connect(raw_token(claims)).subs["a"].overrides == {"presence": True}


def test_subscriptions_may_last_for_long():
    ten_years = NOW + 10 * 365 * 24 * 3600
    claims = b'{"channel":"a","exp":%d}' % ten_years
    assert subscribe(raw_token(claims)).expire_at == ten_years

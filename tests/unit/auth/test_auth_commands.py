"""The commands that make and check tokens: output, exit code, payload."""

import base64
import json
import time

import pytest
import typer
from typer.testing import CliRunner

from flyball.cli import token_commands
from flyball.server.auth.make import sign

SECRET = "a-secret-of-at-least-thirty-two-bytes"
OTHER = "another-secret-of-at-least-thirty-two"
LATER = 4_000_000_000


@pytest.fixture
def run(tmp_path, monkeypatch):
    app = typer.Typer()
    token_commands.register(app)
    config = tmp_path / "config.json"
    monkeypatch.chdir(tmp_path)

    def run(*args, token=None, subscription=None, **client):
        document = {"client": {"token": {"hmac_secret_key": SECRET} if token is None else token}}
        document["client"].update(client)
        if subscription is not None:
            document["client"]["subscription_token"] = subscription
        config.write_text(json.dumps(document))
        result = CliRunner().invoke(app, [*args, "-c", str(config)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout

    return run


def payload(text):
    return base64.urlsafe_b64decode(text.split(".")[1] + "==").decode()


@pytest.mark.parametrize(
    ("args", "head"),
    [
        ((), "anonymous user with expiration TTL 168h0m0s"),
        (("-u", "42"), 'user "42" with expiration TTL 168h0m0s'),
        (("-u", "42", "-t", "90"), 'user "42" with expiration TTL 1m30s'),
        (("-u", "42", "-t", "0"), 'user "42" with expiration TTL 0s'),
        (("--user", "42", "--ttl", "-1"), 'user "42" without expiration'),
    ],
)
def test_gentoken(run, args, head):
    code, out = run("gentoken", *args)
    first, token, rest = out.split("\n")
    assert (code, first, rest) == (0, f"HMAC SHA-256 JWT for {head}:", "")
    assert token.startswith("eyJhbGciOiJIUzI1NiIsInR5cCI6IkpXVCJ9.")
    assert run("checktoken", token)[0] == 0


def test_gentoken_payload_and_order(run):
    before = int(time.time())
    code, token = run("gentoken", "-u", "42", "-t", "60", "-q")
    claims = json.loads(payload(token))
    assert (code, list(claims), claims["sub"]) == (0, ["sub", "exp", "iat"], "42")
    assert claims["exp"] == claims["iat"] + 60
    assert before <= claims["iat"] <= time.time()
    assert list(json.loads(payload(run("gentoken", "-q", "-t", "0")[1]))) == ["iat"]
    keys = {"hmac_secret_key": SECRET, "user_id_claim": "uid"}
    claims = json.loads(payload(run("gentoken", "-u", "7", "-q", token=keys)[1]))
    assert claims["uid"] == claims["sub"] == "7"


def test_gensubtoken(run):
    code, out = run("gensubtoken", "-u", "42", "-s", "ch")
    first, token, _ = out.split("\n")
    assert code == 0
    assert first == (
        'HMAC SHA-256 JWT for user "42" and channel "ch" with expiration TTL 168h0m0s:'
    )
    assert list(json.loads(payload(token))) == ["sub", "exp", "iat", "channel"]
    assert run("gensubtoken") == (1, "channel is required\n")


def test_subscription_tokens_have_their_own_key(run):
    own = {"enabled": True, "hmac_secret_key": OTHER}
    _, token = run("gensubtoken", "-s", "ch", "-q", subscription=own)
    assert run("checksubtoken", token, subscription=own)[0] == 0
    code, out = run("checksubtoken", token)
    assert (code, "signature" in out) == (1, True)


def test_no_secret(run):
    for command in (("gentoken",), ("gensubtoken", "-s", "ch")):
        code, out = run(*command, token={})
        assert code == 1
        assert out.startswith("error: no HMAC secret key set")


def test_checktoken(run):
    token = sign({"sub": "42", "exp": LATER}, SECRET)
    assert run("checktoken", token) == (
        0,
        f'valid token for user 42\npayload: {{"sub":"42","exp":{LATER}}}\n',
    )
    assert run("checktoken", sign({}, SECRET)) == (
        0,
        "valid token for anonymous user\npayload: {}\n",
    )


def test_checksubtoken(run):
    token = sign({"sub": "42", "channel": "ch"}, SECRET)
    assert run("checksubtoken", token) == (
        0,
        (
            'valid subscription token for user "42" and channel "ch"\n'
            'payload: {"sub":"42","channel":"ch"}\n'
        ),
    )
    token = sign({"channel": "ch"}, SECRET)
    assert run("checksubtoken", token)[1].startswith(
        'valid subscription token for anonymous user and channel "ch"\n'
    )


@pytest.mark.parametrize(
    ("claims", "secret", "problem"),
    [
        ({"sub": "42", "exp": 1}, SECRET, "token expired"),
        ({"sub": "42"}, OTHER, "invalid token: the signature is wrong"),
        ({"sub": "42", "channel": "ch"}, SECRET, "invalid token: it names a channel: "),
        ({"sub": "42", "channels": ["nons:x"]}, SECRET, "102: unknown channel"),
    ],
)
def test_what_is_wrong_with_a_token(run, claims, secret, problem):
    text = json.dumps(claims, separators=(",", ":"))
    code, out = run("checktoken", sign(claims, secret))
    assert code == 1
    assert out.startswith(
        f"error: token with algorithm HS256 and claims {text} has error: {problem}"
    )


def test_a_skipped_signature_is_checked_here(run):
    token = sign({"sub": "42"}, OTHER)
    code, out = run("checktoken", token, insecure_skip_token_signature_verify=True)
    assert (code, "the signature is wrong" in out) == (1, True)


def test_no_token_and_no_token_at_all(run):
    code, out = run("checktoken")
    assert (code, out) == (1, "error: provide token to check [flyball checktoken <TOKEN>]\n")
    code, out = run("checksubtoken", "nonsense")
    assert (code, out) == (1, "error: invalid token: not three parts\n")


def test_problems_of_the_configuration(run):
    code, out = run("checktoken", "a.b.c", token={"rsa_public_key": "nonsense"})
    assert code == 1
    assert out.startswith("error: ")
    assert "rsa_public_key" in out


def test_an_endpoint_out_of_reach(run):
    # Port 1 on loopback: nobody listens there.
    keys = {"jwks_public_endpoint": "http://127.0.0.1:1/keys"}
    head = base64.urlsafe_b64encode(b'{"alg":"ES256","kid":"k"}').rstrip(b"=").decode()
    code, out = run("checktoken", f"{head}.e30.e30", token=keys)
    assert code == 1
    assert "algorithm ES256 and claims {} has error: 100: internal server error" in out

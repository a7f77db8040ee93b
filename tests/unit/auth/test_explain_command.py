"""``flyball explain``: the decision, the rules before it, the exit code."""

import json

import pytest
from typer.testing import CliRunner

from flyball.cli.app import app
from flyball.server.auth.make import sign

SECRET = "a-secret-of-at-least-thirty-two-bytes"
CONFIG = {
    "client": {"token": {"hmac_secret_key": SECRET}},
    "channel": {
        "namespaces": [
            {
                "name": "chat",
                "allow_subscribe_for_client": True,
                "allow_publish_for_subscriber": True,
            }
        ]
    },
}
NO_KEYS = {"channel": CONFIG["channel"]}


@pytest.fixture
def run(tmp_path):
    def run(*args, config=CONFIG):
        file = tmp_path / "config.json"
        file.write_text(json.dumps(config))
        result = CliRunner().invoke(app, ["explain", *args, "-c", str(file)])
        assert result.exception is None or isinstance(result.exception, SystemExit)
        return result.exit_code, result.stdout

    return run


def test_refused(run):
    code, text = run("publish", "chat:1", "-u", "ann")
    assert code == 2
    assert text.splitlines() == [
        "publish to 'chat:1' is refused (103 permission denied): nothing allows it",
        "   publish_proxy_enabled           is off",
        "   subscribe_stream_proxy_enabled  is off",
        "   allow_publish_for_client        is off",
        "   allow_publish_for_subscriber    is for subscribers only",
        "   insecure                        is off",
        "=> nothing allows it               refuses it",
    ]


def test_allowed(run):
    code, text = run("publish", "chat:1", "-u", "ann", "--subscribed")
    assert code == 0
    assert text.splitlines()[-1] == "=> allow_publish_for_subscriber    allows it"


@pytest.mark.parametrize(
    "who",
    [
        ("--token", sign({"sub": "ann"}, SECRET)),
        ("--claims", '{"sub":"ann"}'),
        ("--subscription-token", sign({"channel": "chat:1"}, SECRET)),
    ],
)
def test_tokens(run, who):
    code, text = run("subscribe", "chat:1", *who, "--json")
    found = json.loads(text)
    assert code == 0
    assert found["verdict"] == "allow"
    assert found["steps"][-1]["decided"]


def test_token_of_somebody_else(run):
    token = sign({"sub": "ann"}, "another-secret-of-at-least-thirty-two")
    code, text = run("subscribe", "chat:1", "--token", token)
    assert code == 2
    assert "=> connection token  is invalid" in text


def test_json_of_a_refusal(run):
    code, text = run("subscribe", "chat:1", "--json")
    found = json.loads(text)
    assert (code, found["code"], found["message"]) == (2, 103, "permission denied")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("fly", "chat:1"), "allowed are subscribe, publish"),
        (("publish", ""), "channel required"),
        (("publish", "chat:1", "--claims", "1"), "JSON object"),
        (("publish", "chat:1", "--claims", "{}", "--token", "x"), "not both"),
    ],
)
def test_mistakes(run, args, said):
    code, text = run(*args)
    assert code == 1
    assert said in text


def test_claims_need_no_key(run):
    code, text = run("subscribe", "chat:1", "--claims", '{"sub":"ann"}', config=NO_KEYS)
    assert code == 0
    assert "token of these claims" in text
    assert "user 'ann'" in text


@pytest.mark.parametrize(
    ("claims", "said"),
    [
        ({"sub": "ann", "exp": 1}, "has expired"),
        ({"sub": "ann", "nbf": 99999999999}, "has expired: it is not valid yet"),
        ({"sub": 1}, "is invalid: the claims are malformed"),
        ({"sub": "ann", "iss": "other"}, "is invalid: it is of another issuer"),
        ({"sub": "ann", "iss": "shop", "channel": "c"}, "this is a subscription token"),
    ],
)
def test_claims_are_checked_as_in_a_token(run, claims, said):
    if len(claims) < 3:
        claims = {"iss": "shop", **claims}
    config = {**NO_KEYS, "client.token.issuer": "shop"}
    code, text = run("subscribe", "chat:1", "--claims", json.dumps(claims), config=config)
    assert code == 2
    assert said in text


@pytest.mark.parametrize(
    "what",
    [
        ("--claims", '{"b64info":"***"}'),
        ("--token", sign({"b64info": "***"}, SECRET)),
        ("--subscription-token", sign({"channel": "chat:1", "info": 1, "b64data": "***"}, SECRET)),
    ],
)
def test_a_payload_that_is_no_base64_is_told(run, what):
    code, text = run("subscribe", "chat:1", *what)
    assert code == 2
    assert "is no base64" in text


def test_claims_that_are_no_text(run):
    code, text = run("subscribe", "chat:1", "--claims", '{"sub":"\udcff"}')
    assert code == 2
    assert "is invalid: the claims are" in text


def test_a_user_that_is_no_text(run):
    code, text = run("subscribe", "chat:1", "--user", "a\udcff", "--json")
    assert code == 0
    assert json.loads(text)["user"] == "a\ufffd"

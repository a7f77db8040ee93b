"""Which options of a Kafka consumer are refused, and what the error says; no broker is needed."""

import asyncio
import base64
import hashlib
import hmac
import sys
import urllib.parse

import pytest
from consumer_world import World, told
from structlog.testing import capture_logs

from flyball.core.errors import ConfigError
from flyball.server.config import ConfigProblems
from flyball.server.consumers.kafka import KafkaOptions, Sasl

KEY = "consumers[0].kafka"
SECTION = {"brokers": ["127.0.0.1:9092"], "topics": ["t"], "consumer_group": "g"}
LOGIN = {"sasl_user": "u", "sasl_password": "p"}


@pytest.fixture(autouse=True)
def no_settings_of_aws(monkeypatch, tmp_path):
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE", "AWS_ACCESS_KEY_ID"):
        monkeypatch.delenv(name, raising=False)
    for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
        monkeypatch.setenv(name, str(tmp_path / "none"))
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")


def made(tmp_path, **options):
    entry = {"type": "kafka", "kafka": {**SECTION, **options}}
    return World(tmp_path / "config.json", entry).consumer


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"brokers": ["one:two"]}, ".brokers: 'one:two' is no address"),
        ({"brokers": ["host:99999"]}, ".brokers: 'host:99999' is no address"),
        ({"brokers": ["a:1,b:2"]}, ".brokers: 'a:1,b:2' is no address"),
        ({"topics": ["a topic"]}, ".topics: 'a topic' is no name of a topic"),
        ({"topics": [".."]}, ".topics: '..' is no name of a topic"),
        ({"max_poll_records": -1}, ".max_poll_records: -1 is not allowed; it must be above 0"),
        ({"fetch_max_wait": "-1s"}, ".fetch_max_wait: -1 is not allowed; it must be above 0"),
        ({"fetch_max_bytes": -1}, ".fetch_max_bytes: -1 is not allowed; it must be 0 or more"),
        (
            {"partition_queue_max_size": -1},
            ".partition_queue_max_size: -1 is not allowed; it must be",
        ),
        ({"dial_timeout": "-1s"}, ".dial_timeout: -1 is not allowed; it must be above 0"),
        ({"sasl_mechanism": "plain", "sasl_user": "u"}, ".sasl_password: sasl_mechanism plain"),
        ({"sasl_mechanism": "scram-sha-256"}, ".sasl_user: sasl_mechanism scram-sha-256 needs it"),
        (
            {"sasl_mechanism": "plain", **LOGIN, "assume_role_arn": "arn:x"},
            ".assume_role_arn: sasl_mechanism aws-msk-iam alone knows roles",
        ),
        ({"sasl_mechanism": "aws-msk-iam"}, ".tls.enabled: aws-msk-iam is for connections with"),
        (
            {"sasl_mechanism": "aws-msk-iam", "tls": {"enabled": True}},
            ".brokers: their names do not tell the AWS region",
        ),
        (
            {"tls": {"enabled": True, "server_ca_pem": "-----BEGIN nothing"}},
            ".tls.server_ca_pem: no certificate can be read",
        ),
    ],
)
def test_what_cannot_be_used_is_said(tmp_path, options, message):
    with pytest.raises(ConfigProblems) as error:
        made(tmp_path, **options)
    assert told(error.value).startswith(f"{KEY}{message}")


@pytest.mark.parametrize("broker", ["host", "host:9092", "10.0.0.1:1", "[::1]:9092", "[::1]"])
def test_addresses(tmp_path, broker):
    made(tmp_path, brokers=[broker])


@pytest.mark.parametrize("option", ["sasl_user", "assume_role_arn"])
def test_a_login_without_a_mechanism_is_warned_of(tmp_path, option):
    with capture_logs() as logs:
        made(tmp_path, **{option: "u"})
    assert logs == [
        {
            "event": "nobody logs in to Kafka: sasl_mechanism is empty",
            "unused": f"{KEY}.{option}",
            "log_level": "warning",
        }
    ]


def test_an_extra_that_is_missing_is_named(tmp_path, monkeypatch):
    for name in [n for n in sys.modules if n.startswith("flyball.server.consumers.kafka")]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, "aiokafka", None)
    with pytest.raises(ConfigError, match=r'pip install "flyball\[kafka\]"'):
        made(tmp_path)


def test_the_extra_for_msk_is_named(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "flyball.server.consumers.kafka.msk", raising=False)
    monkeypatch.setitem(sys.modules, "aws_msk_iam_sasl_signer.MSKAuthTokenProvider", None)
    with pytest.raises(ConfigError, match=r'pip install "flyball\[kafka-msk\]"'):
        made(tmp_path, sasl_mechanism="aws-msk-iam", tls={"enabled": True})


# -- tokens for Amazon MSK


@pytest.mark.parametrize(
    ("broker", "region"),
    [
        ("b-1.demo.ab12cd.c2.kafka.us-east-1.amazonaws.com:9098", "us-east-1"),
        ("boot-x.c1.kafka-serverless.eu-west-1.amazonaws.com:9098", "eu-west-1"),
        ("b-1.demo.ab12cd.c2.kafka.cn-north-1.amazonaws.com.cn:9098", "cn-north-1"),
        ("kafka.example.com:9098", ""),
    ],
)
def test_brokers_tell_their_region(broker, region):
    assert KafkaOptions(brokers=(broker,), topics=("t",), group="g").region == region


def url_of(token):
    """The signed request that a token is."""
    text = base64.urlsafe_b64decode(token + "=" * (-len(token) % 4)).decode()
    url = urllib.parse.urlsplit(text)
    return url, dict(urllib.parse.parse_qsl(url.query))


def signature(url, query, secret, region):
    """AWS's signature of version 4, as its documentation has it."""
    signed = {k: v for k, v in query.items() if k not in ("X-Amz-Signature", "User-Agent")}
    pairs = "&".join(
        f"{urllib.parse.quote(k, '')}={urllib.parse.quote(signed[k], '')}" for k in sorted(signed)
    )
    empty = hashlib.sha256(b"").hexdigest()
    request = "\n".join(["GET", "/", pairs, f"host:{url.netloc}", "", "host", empty])
    day = query["X-Amz-Date"][:8]
    scope = f"{day}/{region}/kafka-cluster/aws4_request"
    digest = hashlib.sha256(request.encode()).hexdigest()
    text = "\n".join(["AWS4-HMAC-SHA256", query["X-Amz-Date"], scope, digest])
    key = f"AWS4{secret}".encode()
    for part in (*scope.split("/"), text):
        key = hmac.digest(key, part.encode(), "sha256")
    return key.hex()


def tokens(region="eu-west-1", **sasl):
    from flyball.server.consumers.kafka.msk import MskTokens

    return MskTokens(region, Sasl(mechanism="aws-msk-iam", **sasl))


def test_a_token_is_a_signed_request():
    given = tokens(user="AKIDEXAMPLE", password="wJalrXUtnFEMI")
    token = asyncio.run(given.token())
    url, query = url_of(token)
    assert (url.scheme, url.netloc, url.path) == ("https", "kafka.eu-west-1.amazonaws.com", "/")
    assert query["Action"] == "kafka-cluster:Connect"
    assert query["X-Amz-Expires"] == "900"
    assert query["X-Amz-Credential"].startswith("AKIDEXAMPLE/")
    assert query["X-Amz-Signature"] == signature(url, query, "wJalrXUtnFEMI", "eu-west-1")
    assert asyncio.run(given.token()) is token, "it is good for a while"


def test_a_token_that_ends_soon_is_made_anew(monkeypatch):
    given = tokens(user="AKIDEXAMPLE", password="secret")
    token = asyncio.run(given.token())
    monkeypatch.setattr(given, "_end", 0.0)
    assert asyncio.run(given.token()) is not token


def test_a_role_is_assumed():
    given = tokens(user="AKIDEXAMPLE", password="secret", role="arn:aws:iam::1:role/r")
    asked = []

    class Sts:
        def assume_role(self, **request):
            asked.append(request)
            keys = {"AccessKeyId": "ASIAROLE", "SecretAccessKey": "of-role"}
            return {"Credentials": {**keys, "SessionToken": "session"}}

    given._session.create_client = lambda name, **_: {"sts": Sts()}[name]
    url, query = url_of(asyncio.run(given.token()))
    assert [request["RoleArn"] for request in asked] == ["arn:aws:iam::1:role/r"]
    assert query["X-Amz-Security-Token"] == "session"
    assert query["X-Amz-Signature"] == signature(url, query, "of-role", "eu-west-1")


def test_credentials_of_the_environment(monkeypatch):
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDENV")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "of-env")
    monkeypatch.setenv("AWS_REGION", "us-east-2")
    url, query = url_of(asyncio.run(tokens("").token()))
    assert query["X-Amz-Signature"] == signature(url, query, "of-env", "us-east-2")


def test_without_credentials_it_says_what_to_do():
    with pytest.raises(ValueError, match="set sasl_user and sasl_password"):
        asyncio.run(tokens().token())


@pytest.mark.parametrize(
    ("name", "value", "said"),
    [
        ("AWS_PROFILE", "nobody", "The config profile (nobody) could not be found"),
        ("AWS_CONFIG_FILE", "{folder}/aws", "Unable to parse config file"),
    ],
)
def test_settings_of_aws_that_cannot_be_read(tmp_path, monkeypatch, name, value, said):
    (tmp_path / "aws").write_text("no [settings")
    monkeypatch.setenv(name, value.format(folder=tmp_path))
    with pytest.raises(ConfigProblems) as error:
        made(tmp_path, sasl_mechanism="aws-msk-iam", tls={"enabled": True})
    assert told(error.value).startswith(f"{KEY}.sasl_mechanism: the settings of AWS: {said}")


def test_a_password_is_not_shown():
    assert "secret" not in repr(Sasl(mechanism="plain", user="u", password="secret"))

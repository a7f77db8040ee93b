"""What options are marked as, and who reads it."""

import re
from dataclasses import replace

import pytest

from flyball.server.auth.options import TokenOptions
from flyball.server.channels.options import ChannelOptions
from flyball.server.common.tls import TLSConfig
from flyball.server.config import (
    Config,
    ConfigProblems,
    insecure_switches,
    load_config,
    secret_options,
    waiting_for_restart,
)
from flyball.server.config.schema_client import ClientConfig
from flyball.server.config.schema_server import HttpAPI, HTTPServer
from flyball.server.config.table import rows

LOOKS_SECRET = re.compile(r"secret|password|_key$|^key$|^token$|dsn|pem")
NOT_SECRET = {"client_key"}


def test_what_looks_secret_is():
    for row in rows():
        leaf = row.path.rpartition(".")[2]
        if row.field.scalar is not None and LOOKS_SECRET.search(leaf) and leaf not in NOT_SECRET:
            assert row.path in secret_options(), row.path


def test_secret_values_are_not_shown():
    secret = "a-secret-value"
    config = Config(
        http_api=HttpAPI(key=secret),
        client=ClientConfig(token=TokenOptions(hmac_secret_key=secret)),
    )
    assert secret not in repr(config)
    assert "key" not in repr(TLSConfig(key_pem=secret))
    raw = {"CENTRIFUGO_CONSUMERS": '[{"name":"x","nats_jetstream":{"token":["a-secret-value"]}}]'}
    with pytest.raises(ConfigProblems) as refused:
        load_config(environ=raw)
    assert secret not in str(refused.value)
    assert "the value (not shown) is not allowed" in str(refused.value)


def test_insecure_switches_are_those_of_the_metrics():
    token = TokenOptions(insecure_skip_jwks_endpoint_safety_check=True)
    client = ClientConfig(token=token, insecure=True, insecure_skip_token_signature_verify=True)
    assert insecure_switches(Config()) == []
    assert insecure_switches(Config(client=client, http_api=HttpAPI(insecure=True))) == [
        "client.token.insecure_skip_jwks_endpoint_safety_check",
        "client.insecure_skip_token_signature_verify",
        "client.insecure",
        "http_api.insecure",
    ]


def test_what_waits_for_a_restart():
    old = Config()
    client = ClientConfig(
        insecure=True, token=TokenOptions(issuer="a"), allowed_origins=("*",), channel_limit=1
    )
    channel = replace(old.channel, without_namespace=ChannelOptions(presence=True), max_length=3)
    new = Config(client=client, channel=channel, http_api=HttpAPI(key="k"))
    assert waiting_for_restart(old, old) == []
    waiting = ["client.allowed_origins", "client.channel_limit", "http_api.key"]
    assert waiting_for_restart(old, new) == waiting


@pytest.mark.parametrize(
    ("options", "split"),
    [
        ({}, False),
        ({"internal_port": "8000"}, False),
        ({"internal_port": "08000"}, False),
        ({"internal_port": "9000"}, True),
        ({"internal_address": "10.0.0.1"}, True),
        ({"address": "10.0.0.1", "internal_address": "10.0.0.1"}, False),
    ],
)
def test_whether_the_internal_port_is_separate(options, split):
    assert HTTPServer(**options).is_split is split

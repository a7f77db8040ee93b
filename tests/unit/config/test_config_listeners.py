"""What is said about listeners that can start, though not as somebody may have meant."""

import datetime as dt

import pytest
from certificates import self_signed

from flyball.server.common.tls import TLSConfig
from flyball.server.config import Config, listener_notices
from flyball.server.config.schema_common import TLSAutocert
from flyball.server.config.schema_engines import BrokerConfig, PresenceManagerConfig
from flyball.server.config.schema_server import GrpcAPI, HTTPServer, UniGRPC

CERT, KEY = (pem.decode() for pem in self_signed(days=10))
TLS = TLSConfig(enabled=True, cert_pem=CERT, key_pem=KEY)
OFF = TLSConfig(cert_pem=CERT, key_pem=KEY)


def told(days=0, **sections):
    now = dt.datetime.now(dt.UTC) + dt.timedelta(days=days)
    return [(n.event, n.key) for n in listener_notices(Config(**sections), now)]


@pytest.mark.parametrize(
    ("server", "event", "key"),
    [
        (HTTPServer(tls=OFF), "not switched on", "http_server.tls.enabled"),
        (HTTPServer(internal_tls=OFF), "not switched on", "http_server.internal_tls.enabled"),
        (HTTPServer(internal_tls=TLS), "does nothing", "http_server.internal_tls"),
        (
            HTTPServer(internal_tls=TLS, internal_port="8000"),
            "does nothing",
            "http_server.internal_tls",
        ),
        (
            HTTPServer(tls=TLS, tls_autocert=TLSAutocert(enabled=True)),
            "does nothing",
            "http_server.tls",
        ),
    ],
)
def test_options_without_effect(server, event, key):
    [(found, found_key)] = told(http_server=server)
    assert event in found
    assert found_key == key


def test_nothing_to_say():
    assert told() == []
    assert told(http_server=HTTPServer(tls=TLS, internal_port="1", internal_tls=TLS)) == []
    assert told(uni_grpc=UniGRPC(tls=OFF)) == []


def test_dates_of_certificates():
    sections = {
        "http_server": HTTPServer(tls=TLS, internal_address="::1", internal_tls=TLS),
        "grpc_api": GrpcAPI(enabled=True, tls=TLS),
        "uni_grpc": UniGRPC(enabled=True, tls=TLS),
    }
    ports = ("http_server.tls", "http_server.internal_tls", "grpc_api.tls", "uni_grpc.tls")
    keys = [f"{port}.cert_pem" for port in ports]
    assert told(9, **sections) == []
    assert told(11, **sections) == [("the certificate has expired", key) for key in keys]
    assert told(-1, **sections) == [("the certificate is not valid yet", key) for key in keys]


def test_presence_that_no_two_workers_share():
    many, nats = HTTPServer(workers=2), BrokerConfig(enabled=True, type="nats")
    notice = ("each worker tells the presence of its own clients only", "presence_manager")
    assert told(http_server=many, broker=nats) == [notice]
    assert told(broker=nats) == []
    redis = PresenceManagerConfig(enabled=True, type="redis")
    assert told(http_server=many, broker=nats, presence_manager=redis) == []
    assert told(http_server=many) == []  # the embedded store has it

"""Each rule refuses what it shall, names the key, and leaves good configurations alone."""

import json

import pytest

from flyball.server.config import (
    Config,
    ConfigProblems,
    check,
    load_config,
    unbuilt_options,
    validate,
)


@pytest.fixture
def load(tmp_path):
    def run(tree):
        path = tmp_path / "config.json"
        path.write_text(json.dumps(tree))
        return load_config(path, environ={}).config

    return run


def ns(name="aa", **options):
    return {"channel": {"namespaces": [{"name": name, **options}]}}


HISTORY = {"history_size": 1, "history_ttl": "10s"}
MAP = {"subscription_type": "map"}


def map_ns(kind="map", /, **options):
    return ns(subscription_type=kind, map=options)


def consumer(kind, **options):
    item = {"name": "cc", "type": kind, "enabled": True, kind: options}
    return {"consumers": [item]}


def transform(**options):
    return {
        "proxies": [
            {"name": "pp", "endpoint": "http://x", "http": {"status_to_code_transforms": [options]}}
        ]
    }


TRANSFORM = "proxies[0].http.status_to_code_transforms[0]"
NS = "channel.namespaces[0]"

BAD = [
    # sockjs
    ({"sockjs": {"enabled": True, "url": "javascript:x"}}, "sockjs.url"),
    ({"sockjs": {"enabled": True, "url": "sockjs.js"}}, "sockjs.url"),
    # http_server
    ({"http_server": {"h2c_external": True}}, "http_server.h2c_external"),
    ({"http_server": {"h2c_external": True, "internal_port": "8000"}}, "http_server.h2c_external"),
    (
        {"http_server": {"h2c_external": True, "internal_port": "9", "tls": {"enabled": True}}},
        "http_server.h2c_external",
    ),
    # engines
    ({"broker": {"type": "kafka"}}, "broker.type"),
    ({"map_broker": {"type": "nats"}}, "map_broker.type"),
    # tokens
    ({"client": {"token": {"user_id_claim": "a-b"}}}, "client.token.user_id_claim"),
    (
        {"client": {"subscription_token": {"user_id_claim": "a1"}}},
        "client.subscription_token.user_id_claim",
    ),
    # default proxies
    ({"client": {"proxy": {"connect": {"enabled": True}}}}, "client.proxy.connect.endpoint"),
    (
        {"client": {"proxy": {"refresh": {"enabled": True, "endpoint": "x", "timeout": "-1s"}}}},
        "client.proxy.refresh.timeout",
    ),
    (ns(subscribe_proxy_enabled=True), "channel.proxy.subscribe.endpoint"),
    (ns(map={"publish_proxy_enabled": True}), "channel.proxy.map_publish.endpoint"),
    ({"rpc": {"without_namespace": {"proxy_enabled": True}}}, "rpc.proxy.endpoint"),
    (
        {"rpc": {"namespaces": [{"name": "rr", "proxy_enabled": True}]}},
        "rpc.proxy.endpoint",
    ),
    # transforms
    (transform(to_error={"code": 1}), f"{TRANSFORM}.status_code"),
    (transform(status_code=404), TRANSFORM),
    (transform(status_code=404, to_error={"code": 1}, to_disconnect={"code": 4500}), TRANSFORM),
    (
        transform(status_code=404, to_error={"code": 1, "message": "é"}),
        f"{TRANSFORM}.to_error.message",
    ),
    (
        transform(status_code=404, to_disconnect={"code": 4500, "reason": "x" * 124}),
        f"{TRANSFORM}.to_disconnect.reason",
    ),
    (
        transform(status_code=404, to_disconnect={"code": 65536}),
        f"{TRANSFORM}.to_disconnect.code",
    ),
    # proxies
    ({"proxies": [{"name": "p", "endpoint": "x"}]}, "proxies[0].name"),
    ({"proxies": [{"name": "default", "endpoint": "x"}]}, "proxies[0].name"),
    ({"proxies": [{"name": "pp"}]}, "proxies[0].endpoint"),
    ({"proxies": [{"name": "pp", "endpoint": "x"}] * 2}, "proxies"),
    # namespaces
    (ns("a"), f"{NS}.name"),
    (ns("a b"), f"{NS}.name"),
    ({"channel": {"namespaces": [{"presence": True}]}}, f"{NS}.name"),
    ({"channel": {"namespaces": [{"name": "aa"}] * 2}}, "channel.namespaces"),
    ({"rpc": {"namespaces": [{"name": "a"}]}}, "rpc.namespaces[0].name"),
    ({"rpc": {"namespaces": [{"name": "rr"}] * 2}}, "rpc.namespaces"),
    (ns(subscribe_proxy_name="none"), f"{NS}.subscribe_proxy_name"),
    (ns(map={"remove_proxy_name": "none"}), f"{NS}.map.remove_proxy_name"),
    ({"rpc": {"without_namespace": {"proxy_name": "none"}}}, "rpc.without_namespace.proxy_name"),
    # history
    (ns(history_size=1), f"{NS}.history_ttl"),
    (ns(history_size=-1), f"{NS}.history_ttl"),
    (ns(history_ttl="1s"), f"{NS}.history_size"),
    (
        {"channel": {"without_namespace": {"history_size": 1}}},
        "channel.without_namespace.history_ttl",
    ),
    (ns(**{**HISTORY, "history_meta_ttl": "5s"}), f"{NS}.history_ttl"),
    ({**ns(**HISTORY), "channel.history_meta_ttl": "5s"}, f"{NS}.history_ttl"),
    (ns(history_size=1, history_ttl="500ms"), f"{NS}.history_ttl"),
    (ns(history_meta_ttl="500ms"), f"{NS}.history_meta_ttl"),
    (ns(force_recovery=True), f"{NS}.force_recovery"),
    (ns(**HISTORY, force_recovery=True, auto_cache_recover=True), f"{NS}.auto_cache_recover"),
    # enums
    (ns(force_recovery_mode="x"), f"{NS}.force_recovery_mode"),
    (ns(publication_data_format="xml"), f"{NS}.publication_data_format"),
    ({"channel": {"publication_data_format": "xml"}}, "channel.publication_data_format"),
    (ns(subscription_type="x"), f"{NS}.subscription_type"),
    (ns(map={"mode": "x"}), f"{NS}.map.mode"),
    (ns(map={"client_key": "x"}), f"{NS}.map.client_key"),
    (ns(shared_poll={"mode": "x"}), f"{NS}.shared_poll.mode"),
    (ns(allowed_delta_types=["vcdiff"]), f"{NS}.allowed_delta_types"),
    (ns(channel_regex="("), f"{NS}.channel_regex"),
    (ns(channel_regex="(?=x)"), f"{NS}.channel_regex"),
    # stream proxy
    (
        {
            **ns(subscribe_stream_proxy_enabled=True, publish_proxy_enabled=True),
            "channel.proxy.subscribe_stream.endpoint": "grpc://x",
            "channel.proxy.publish.endpoint": "http://x",
        },
        f"{NS}.subscribe_stream_proxy_enabled",
    ),
    # map
    (map_ns(), f"{NS}.map.mode"),
    (map_ns(mode="ephemeral"), f"{NS}.map.key_ttl"),
    (map_ns(mode="recoverable"), f"{NS}.map.key_ttl"),
    (map_ns(mode="persistent", key_ttl="1s"), f"{NS}.map.key_ttl"),
    (map_ns("map_clients", mode="persistent"), f"{NS}.map.mode"),
    (map_ns(mode="ephemeral", key_ttl="1s", stream_size=1), f"{NS}.map.stream_size"),
    (map_ns(mode="ephemeral", key_ttl="1s", stream_ttl="1s"), f"{NS}.map.stream_ttl"),
    (map_ns(mode="ephemeral", key_ttl="1s", meta_ttl="1s"), f"{NS}.map.meta_ttl"),
    (map_ns(mode="persistent", stream_size=-1), f"{NS}.map.stream_size"),
    (map_ns(mode="persistent", stream_ttl="-1s"), f"{NS}.map.stream_ttl"),
    (map_ns(mode="persistent", meta_ttl="30s"), f"{NS}.map.meta_ttl"),
    (ns(map={"remove_client_on_unsubscribe": True}), f"{NS}.map.remove_client_on_unsubscribe"),
    (
        {
            **map_ns(mode="persistent", client_key="user_id", publish_proxy_enabled=True),
            "channel.proxy.map_publish.endpoint": "http://x",
        },
        f"{NS}.map.client_key",
    ),
    (map_ns(mode="persistent", default_page_size=50), f"{NS}.map.default_page_size"),
    (map_ns(mode="persistent", default_page_size=2000), f"{NS}.map.default_page_size"),
    (map_ns(mode="persistent", max_page_size=50), f"{NS}.map.default_page_size"),
    # presence prefixes
    (ns(map_clients_presence_channel_prefix="pc:"), f"{NS}.map_clients_presence_channel_prefix"),
    (ns(map_users_presence_channel_prefix="pu"), f"{NS}.map_users_presence_channel_prefix"),
    # shared poll
    (
        {
            **ns(subscription_type="shared_poll"),
            "channel.proxy.shared_poll_refresh.endpoint": "http://x",
        },
        "shared_poll.hmac_secret_key",
    ),
    (
        {**ns(subscription_type="shared_poll"), "shared_poll.hmac_secret_key": "s"},
        "channel.proxy.shared_poll_refresh.endpoint",
    ),
    (
        {
            **ns(subscription_type="shared_poll", shared_poll={"proxy_name": "none"}),
            "shared_poll.hmac_secret_key": "s",
        },
        f"{NS}.shared_poll.proxy_name",
    ),
    (
        {
            **ns(subscription_type="shared_poll", shared_poll={"publish_enabled": True}),
            "shared_poll.hmac_secret_key": "s",
            "channel.proxy.shared_poll_refresh.endpoint": "http://x",
        },
        f"{NS}.shared_poll.publish_enabled",
    ),
    # personal channel
    (
        {
            "client": {
                "subscribe_to_user_personal_channel": {
                    "enabled": True,
                    "personal_channel_namespace": "none",
                }
            }
        },
        "client.subscribe_to_user_personal_channel.personal_channel_namespace",
    ),
    (
        {
            "client": {
                "subscribe_to_user_personal_channel": {"enabled": True, "single_connection": True}
            }
        },
        "client.subscribe_to_user_personal_channel.single_connection",
    ),
    # consumers
    ({"consumers": [{"name": "a-b", "type": "kafka"}]}, "consumers[0].name"),
    ({"consumers": [{"name": "cc", "type": "kafka"}] * 2}, "consumers"),
    ({"consumers": [{"name": "cc", "type": "rabbit"}]}, "consumers[0].type"),
    (consumer("postgresql", dsn="x"), "consumers[0].postgresql.outbox_table_name"),
    (consumer("kafka", brokers=["a"], topics=["t"]), "consumers[0].kafka.consumer_group"),
    (
        consumer("kafka", brokers=["a"], topics=["t"], consumer_group="g", sasl_mechanism="x"),
        "consumers[0].kafka.sasl_mechanism",
    ),
    (
        consumer("nats_jetstream", stream_name="s"),
        "consumers[0].nats_jetstream.durable_consumer_name",
    ),
    (
        consumer(
            "nats_jetstream", stream_name="s", durable_consumer_name="d", deliver_policy="last"
        ),
        "consumers[0].nats_jetstream.deliver_policy",
    ),
    (consumer("redis_stream", consumer_group="g"), "consumers[0].redis_stream.streams"),
    (consumer("google_pub_sub", project_id="p"), "consumers[0].google_pub_sub.subscriptions"),
    (
        consumer(
            "google_pub_sub", project_id="p", subscriptions=["s"], auth_mechanism="service_account"
        ),
        "consumers[0].google_pub_sub.credentials_file",
    ),
    (consumer("aws_sqs"), "consumers[0].aws_sqs.queues"),
    (
        consumer("azure_service_bus", queues=["q"]),
        "consumers[0].azure_service_bus.connection_string",
    ),
    (
        consumer(
            "azure_service_bus",
            queues=["q"],
            use_azure_identity=True,
            fully_qualified_namespace="n",
            tenant_id="t",
            client_id="c",
        ),
        "consumers[0].azure_service_bus.client_secret",
    ),
    # transforms of unidirectional transports
    *(
        (
            {"client.connect_code_to_unidirectional_disconnect.transforms": [item]},
            f"client.connect_code_to_unidirectional_disconnect.transforms[0].{key}",
        )
        for item, key in (
            ({"to": {"code": 4500}}, "code"),
            ({"code": 1}, "to.code"),
            ({"code": 1, "to": {"code": 4500, "reason": "é"}}, "to.reason"),
            ({"code": 1, "to": {"code": 65536}}, "to.code"),
            ({"code": 1, "to": {"code": 999}}, "to.code"),
        )
    ),
    (
        {"uni_sse.connect_code_to_http_response.transforms": [{"to": {"status_code": 401}}]},
        "uni_sse.connect_code_to_http_response.transforms[0].code",
    ),
    (
        {
            "uni_sse.connect_code_to_http_response.transforms": [
                {"code": 109, "to": {"status_code": 42}}
            ]
        },
        "uni_sse.connect_code_to_http_response.transforms[0].to.status_code",
    ),
    (
        {"uni_http_stream.connect_code_to_http_response.transforms": [{"code": 1}]},
        "uni_http_stream.connect_code_to_http_response.transforms[0].to.status_code",
    ),
]


@pytest.mark.parametrize(("tree", "key"), BAD)
def test_refused(load, tree, key):
    problems = {problem.key: problem for problem in validate(load(tree))}
    assert key in problems
    assert len(problems[key].text.split()) >= 4, "says what is allowed"


GOOD = [
    {"http_server": {"h2c_external": True, "internal_port": "9000"}},
    {"sockjs": {"enabled": False, "url": "x"}},
    {"sockjs": {"enabled": True, "url": "//cdn.example/sockjs.js"}},
    {"sockjs": {"enabled": True, "url": "/sockjs.js"}},
    {"proxies": [{"name": "pp", "endpoint": "x"}], **ns(subscribe_proxy_name="pp")},
    {**ns(subscribe_proxy_enabled=True), "channel.proxy.subscribe.endpoint": "http://x"},
    transform(status_code=404, to_error={"code": 404, "message": "x" * 123}),
    ns(**HISTORY, force_recovery=True, force_recovery_mode="cache", auto_cache_recover=True),
    ns(history_size=1, history_ttl="1.5s"),
    ns(allow_recovery=True),
    ns(channel_regex=r"^\d+$", allowed_delta_types=["fossil"]),
    map_ns(mode="recoverable", key_ttl="1m", meta_ttl="1m"),
    map_ns(mode="persistent", default_page_size=3, min_page_size=2, max_page_size=5),
    {
        "channel": {
            "namespaces": [
                {"name": "aa", "map_clients_presence_channel_prefix": "$pc:x"},
                {
                    "name": "pc",
                    "subscription_type": "map_clients",
                    "map": {"mode": "ephemeral", "key_ttl": "1m"},
                },
            ]
        }
    },
    {
        **ns("me", presence=True),
        "client.subscribe_to_user_personal_channel": {
            "enabled": True,
            "single_connection": True,
            "personal_channel_namespace": "me",
        },
    },
    {"consumers": [{"name": "cc", "type": "kafka"}]},
    consumer("azure_service_bus", queues=["q"], connection_string="x"),
]


@pytest.mark.parametrize("tree", GOOD)
def test_accepted(load, tree):
    assert validate(load(tree)) == []


def jwks(endpoint, **options):
    return {"client": {"token": {"jwks_public_endpoint": endpoint, **options}}}


URL = "https://x/{{realm}}/certs"

BAD_START = [
    (
        {"sockjs": {"enabled": True, "handler_prefix": "/connection/websocket/"}},
        "sockjs.handler_prefix",
    ),
    (
        {"sse": {"enabled": True, "handler_prefix": "/connection/websocket/"}},
        "sse.handler_prefix",
    ),
    (
        {"health": {"enabled": True}, "init": {"enabled": True, "handler_prefix": "/health"}},
        "health.handler_prefix",
    ),
    (
        {
            "http_server": {
                "http3": {"enabled": True},
                "tls": {"enabled": True, "client_ca_pem": "x"},
            }
        },
        "http_server.http3.enabled",
    ),
    ({"http_server.port": 70000}, "http_server.port"),
    ({"http_server.workers": -1}, "http_server.workers"),
    ({"http_server.workers": 129}, "http_server.workers"),
    (
        {
            "http_server": {
                "workers": 2,
                "tls_autocert": {"enabled": True, "host_whitelist": ["a.example"]},
            }
        },
        "http_server.tls_autocert.cache_dir",
    ),
    (
        {"http_server": {"workers": 2}, "broker": {"enabled": True, "type": "memory"}},
        "broker.type",
    ),
    (
        {"http_server": {"workers": 2}, "presence_manager": {"enabled": True, "type": "memory"}},
        "presence_manager.type",
    ),
    (
        {
            "http_server": {"workers": 2},
            "broker": {"enabled": True, "type": "postgres", "postgres": {"dsn": "postgres://h"}},
        },
        "controller.enabled",
    ),
    ({"http_server": {"workers": 2, "internal_port": "0"}}, "http_server.internal_port"),
    ({"http_server.internal_port": "9000/tcp"}, "http_server.internal_port"),
    ({"uni_grpc": {"enabled": True, "port": -1}}, "uni_grpc.port"),
    ({"http_server.tls": {"enabled": True}}, "http_server.tls.cert_pem"),
    (
        {"http_server": {"internal_port": "1", "internal_tls": {"enabled": True}}},
        "http_server.internal_tls.cert_pem",
    ),
    (
        {"uni_grpc": {"enabled": True, "tls": {"enabled": True, "cert_pem": "x"}}},
        "uni_grpc.tls.key_pem",
    ),
    ({"client.allowed_origins": ["https://a", "http://[a"]}, "client.allowed_origins[1]"),
    ({"engine.type": "mongo"}, "engine.type"),
    ({"broker": {"enabled": True, "type": "postgres"}}, "broker.postgres.dsn"),
    ({"presence_manager": {"enabled": True, "type": "x"}}, "presence_manager.type"),
    ({"map_broker.type": "redis"}, "map_broker.type"),
    ({"controller": {"enabled": True, "type": "x"}}, "controller.type"),
    ({"controller": {"enabled": True, "type": "postgres"}}, "controller.postgres.dsn"),
    ({"client": {"ping_interval": "8s"}}, "client.ping_interval"),
    ({"http_api.error_mode": "x"}, "http_api.error_mode"),
    ({"grpc_api.error_mode": "x"}, "grpc_api.error_mode"),
    ({"client.token": {"issuer": "a", "issuer_regex": "b"}}, "client.token.issuer_regex"),
    ({"client.token": {"audience": "a", "audience_regex": "b"}}, "client.token.audience_regex"),
    ({"client.token": {"audience_regex": "("}}, "client.token.audience_regex"),
    (
        {"client.subscription_token": {"enabled": True, "issuer": "a", "issuer_regex": "b"}},
        "client.subscription_token.issuer_regex",
    ),
    (jwks(URL), "client.token.jwks_public_endpoint"),
    (jwks(URL, issuer_regex="(?P<realm>[a-z]+)"), "client.token.jwks_public_endpoint"),
    (jwks(URL, issuer_regex="(?P<realm>.*)"), "client.token.jwks_public_endpoint"),
    (jwks(URL, issuer_regex="(?P<realm>a|)"), "client.token.jwks_public_endpoint"),
    (jwks("keys"), "client.token.jwks_public_endpoint"),
    (
        jwks(URL, issuer_regex="(?P<realm>a)", audience_regex="(?P<realm>.)"),
        "client.token.jwks_public_endpoint",
    ),
    ({"webtransport.enabled": True}, "webtransport.enabled"),
    ({"http_server": {"http3": {"enabled": True}}}, "http_server.http3.enabled"),
    (
        {"http_server": {"http3": {"enabled": True}, "tls_autocert": {"enabled": True}}},
        "http_server.http3.enabled",
    ),
    (
        {
            **ns(subscribe_stream_proxy_enabled=True),
            "channel.proxy.subscribe_stream.endpoint": "https://x",
        },
        "channel.proxy.subscribe_stream.endpoint",
    ),
    (
        {
            **ns(subscribe_stream_proxy_enabled=True, subscribe_stream_proxy_name="pp"),
            "proxies": [{"name": "pp", "endpoint": "http://x"}],
        },
        "proxies[0].endpoint",
    ),
]


@pytest.mark.parametrize(("tree", "key"), BAD_START)
def test_refused_at_start(load, tree, key):
    assert key in [problem.key for problem in validate(load(tree))]


GOOD_START = [
    {
        "http_server": {"internal_port": "9000"},
        "health": {"enabled": True, "handler_prefix": "/connection/websocket"},
    },
    {
        "websocket.disabled": True,
        "sse": {"enabled": True},
        "sse.handler_prefix": "/connection/websocket",
    },
    {},
    {"uni_grpc": {"port": -1}},
    {"http_server.internal_tls": {"enabled": True}},
    {"client": {"ping_interval": "-1s"}},
    {"broker": {"type": "redis"}, "presence_manager": {"type": "redis"}},
    jwks(URL, issuer_regex=r"^https://x/(?P<realm>one|two\.x)$"),
    jwks(URL, audience_regex="(?P<realm>.*)", insecure_skip_jwks_endpoint_safety_check=True),
]


@pytest.mark.parametrize("tree", GOOD_START)
def test_accepted_at_start(load, tree):
    assert validate(load(tree)) == []


def test_unreleased_broker(load):
    tree = {"broker": {"enabled": True, "type": "redisnats"}}
    texts = [problem.text for problem in validate(load(tree))]
    assert any("enable_unreleased_features" in text for text in texts)
    tree["enable_unreleased_features"] = True
    texts = [problem.text for problem in validate(load(tree))]
    assert not any("enable_unreleased_features" in text for text in texts)


def test_check_reports_all(load):
    config = load({"broker": {"type": "x"}, "engine": {"type": "y"}, **ns("a")})
    with pytest.raises(ConfigProblems) as caught:
        check(config)
    keys = [problem.key for problem in caught.value.problems]
    assert keys == ["broker.type", f"{NS}.name", "engine.type"]


def test_nothing_is_unbuilt_by_default():
    assert unbuilt_options(Config()) == []


def test_unbuilt_options_are_named(load):
    tree = {
        "graphite": {"enabled": True},
        "usage_stats": {"disabled": False},
        **map_ns(mode="persistent", remove_proxy_enabled=True),
    }
    found = unbuilt_options(load(tree))
    assert {
        "graphite.enabled",
        f"{NS}.subscription_type",
        f"{NS}.map.remove_proxy_enabled",
    } >= set(found)
    assert not [path for path in found if path.startswith("usage_stats")]

"""A configuration of Centrifugo 5 is recognised: each of its keys is told what it is called now."""

import pytest

from flyball.server.config import ConfigProblems, load_config
from flyball.server.config.table import rows
from flyball.server.config.version5 import GONE, advice, new_name

KEYS = [
    "address",
    "admin",
    "admin_external",
    "admin_handler_prefix",
    "admin_insecure",
    "admin_password",
    "admin_secret",
    "admin_web_path",
    "admin_web_proxy_address",
    "allow_anonymous_connect_without_token",
    "allow_history_for_anonymous",
    "allow_history_for_client",
    "allow_history_for_subscriber",
    "allow_positioning",
    "allow_presence_for_anonymous",
    "allow_presence_for_client",
    "allow_presence_for_subscriber",
    "allow_publish_for_anonymous",
    "allow_publish_for_client",
    "allow_publish_for_subscriber",
    "allow_recovery",
    "allow_subscribe_for_anonymous",
    "allow_subscribe_for_client",
    "allow_user_limited_channels",
    "allowed_delta_types",
    "allowed_origins",
    "api_disable",
    "api_error_mode",
    "api_external",
    "api_handler_prefix",
    "api_insecure",
    "api_key",
    "broker",
    "channel_max_length",
    "channel_namespace_boundary",
    "channel_private_prefix",
    "channel_regex",
    "channel_user_boundary",
    "channel_user_separator",
    "client_channel_limit",
    "client_channel_position_check_delay",
    "client_channel_position_max_time_lag",
    "client_concurrency",
    "client_connect_include_server_time",
    "client_connection_limit",
    "client_connection_rate_limit",
    "client_expired_close_delay",
    "client_expired_sub_close_delay",
    "client_history_max_publication_limit",
    "client_insecure",
    "client_insecure_skip_token_signature_verify",
    "client_presence_update_interval",
    "client_queue_max_size",
    "client_recovery_max_publication_limit",
    "client_stale_close_delay",
    "client_user_connection_limit",
    "client_user_id_http_header",
    "connect_proxy_name",
    "debug",
    "delta_publish",
    "disallow_anonymous_connection_tokens",
    "emulation_handler_prefix",
    "emulation_max_request_body_size",
    "engine",
    "force_positioning",
    "force_push_join_leave",
    "force_recovery",
    "force_recovery_mode",
    "global_history_meta_ttl",
    "global_presence_ttl",
    "global_redis_presence_user_mapping",
    "gomaxprocs",
    "granular_proxy_mode",
    "graphite",
    "graphite_host",
    "graphite_interval",
    "graphite_port",
    "graphite_prefix",
    "graphite_tags",
    "grpc_api",
    "grpc_api_address",
    "grpc_api_error_mode",
    "grpc_api_key",
    "grpc_api_max_receive_message_size",
    "grpc_api_port",
    "grpc_api_reflection",
    "grpc_api_tls",
    "grpc_api_tls_cert",
    "grpc_api_tls_cert_pem",
    "grpc_api_tls_client_ca",
    "grpc_api_tls_client_ca_pem",
    "grpc_api_tls_disable",
    "grpc_api_tls_insecure_skip_verify",
    "grpc_api_tls_key",
    "grpc_api_tls_key_pem",
    "grpc_api_tls_root_ca",
    "grpc_api_tls_root_ca_pem",
    "grpc_api_tls_server_name",
    "health",
    "health_handler_prefix",
    "history_meta_ttl",
    "history_size",
    "history_ttl",
    "http3",
    "http_stream",
    "http_stream_handler_prefix",
    "http_stream_max_request_body_size",
    "internal_address",
    "internal_port",
    "join_leave",
    "log_file",
    "log_level",
    "name",
    "namespaces",
    "nats_allow_wildcards",
    "nats_dial_timeout",
    "nats_prefix",
    "nats_url",
    "nats_write_timeout",
    "node_info_metrics_aggregate_interval",
    "opentelemetry",
    "opentelemetry_api",
    "opentelemetry_consuming",
    "ping_interval",
    "pong_timeout",
    "port",
    "presence",
    "prometheus",
    "prometheus_handler_prefix",
    "proxy_binary_encoding",
    "proxy_connect_endpoint",
    "proxy_connect_timeout",
    "proxy_grpc_cert_file",
    "proxy_grpc_compression",
    "proxy_grpc_credentials_key",
    "proxy_grpc_credentials_value",
    "proxy_grpc_metadata",
    "proxy_grpc_tls",
    "proxy_http_headers",
    "proxy_http_status_code_transforms",
    "proxy_include_connection_meta",
    "proxy_publish",
    "proxy_publish_endpoint",
    "proxy_publish_timeout",
    "proxy_refresh_endpoint",
    "proxy_refresh_timeout",
    "proxy_rpc_endpoint",
    "proxy_rpc_timeout",
    "proxy_static_http_headers",
    "proxy_stream_subscribe",
    "proxy_sub_refresh",
    "proxy_sub_refresh_endpoint",
    "proxy_sub_refresh_timeout",
    "proxy_subscribe",
    "proxy_subscribe_endpoint",
    "proxy_subscribe_stream_bidirectional",
    "proxy_subscribe_stream_endpoint",
    "proxy_subscribe_stream_timeout",
    "proxy_subscribe_timeout",
    "publish_proxy_name",
    "redis_address",
    "redis_client_name",
    "redis_cluster_address",
    "redis_connect_timeout",
    "redis_db",
    "redis_force_resp2",
    "redis_io_timeout",
    "redis_password",
    "redis_prefix",
    "redis_presence_hash_field_ttl",
    "redis_sentinel_address",
    "redis_sentinel_client_name",
    "redis_sentinel_master_name",
    "redis_sentinel_password",
    "redis_sentinel_tls",
    "redis_sentinel_tls_cert",
    "redis_sentinel_tls_cert_pem",
    "redis_sentinel_tls_client_ca",
    "redis_sentinel_tls_client_ca_pem",
    "redis_sentinel_tls_insecure_skip_verify",
    "redis_sentinel_tls_key",
    "redis_sentinel_tls_key_pem",
    "redis_sentinel_tls_root_ca",
    "redis_sentinel_tls_root_ca_pem",
    "redis_sentinel_tls_server_name",
    "redis_sentinel_user",
    "redis_tls",
    "redis_tls_cert",
    "redis_tls_cert_pem",
    "redis_tls_client_ca",
    "redis_tls_client_ca_pem",
    "redis_tls_insecure_skip_verify",
    "redis_tls_key",
    "redis_tls_key_pem",
    "redis_tls_root_ca",
    "redis_tls_root_ca_pem",
    "redis_tls_server_name",
    "redis_use_lists",
    "redis_user",
    "refresh_proxy_name",
    "rpc_namespace_boundary",
    "rpc_namespaces",
    "rpc_ping",
    "rpc_ping_method",
    "rpc_proxy_name",
    "separate_subscription_token_config",
    "shutdown_termination_delay",
    "shutdown_timeout",
    "sockjs",
    "sockjs_handler_prefix",
    "sockjs_url",
    "sse",
    "sse_handler_prefix",
    "sse_max_request_body_size",
    "sub_refresh_proxy_name",
    "subscribe_proxy_name",
    "subscription_token_audience",
    "subscription_token_audience_regex",
    "subscription_token_ecdsa_public_key",
    "subscription_token_hmac_secret_key",
    "subscription_token_issuer",
    "subscription_token_issuer_regex",
    "subscription_token_jwks_public_endpoint",
    "subscription_token_rsa_public_key",
    "subscription_token_user_id_claim",
    "swagger",
    "swagger_handler_prefix",
    "tls",
    "tls_autocert",
    "tls_autocert_cache_dir",
    "tls_autocert_email",
    "tls_autocert_host_whitelist",
    "tls_autocert_http",
    "tls_autocert_http_addr",
    "tls_autocert_server_name",
    "tls_cert",
    "tls_cert_pem",
    "tls_client_ca",
    "tls_client_ca_pem",
    "tls_external",
    "tls_insecure_skip_verify",
    "tls_key",
    "tls_key_pem",
    "tls_root_ca",
    "tls_root_ca_pem",
    "tls_server_name",
    "token_audience",
    "token_audience_regex",
    "token_ecdsa_public_key",
    "token_hmac_secret_key",
    "token_issuer",
    "token_issuer_regex",
    "token_jwks_public_endpoint",
    "token_rsa_public_key",
    "token_user_id_claim",
    "uni_grpc",
    "uni_grpc_address",
    "uni_grpc_max_receive_message_size",
    "uni_grpc_port",
    "uni_grpc_tls",
    "uni_grpc_tls_cert",
    "uni_grpc_tls_cert_pem",
    "uni_grpc_tls_client_ca",
    "uni_grpc_tls_client_ca_pem",
    "uni_grpc_tls_disable",
    "uni_grpc_tls_insecure_skip_verify",
    "uni_grpc_tls_key",
    "uni_grpc_tls_key_pem",
    "uni_grpc_tls_root_ca",
    "uni_grpc_tls_root_ca_pem",
    "uni_grpc_tls_server_name",
    "uni_http_stream",
    "uni_http_stream_handler_prefix",
    "uni_http_stream_max_request_body_size",
    "uni_sse",
    "uni_sse_handler_prefix",
    "uni_sse_max_request_body_size",
    "uni_websocket",
    "uni_websocket_compression",
    "uni_websocket_compression_level",
    "uni_websocket_compression_min_size",
    "uni_websocket_handler_prefix",
    "uni_websocket_message_size_limit",
    "uni_websocket_read_buffer_size",
    "uni_websocket_use_write_buffer_pool",
    "uni_websocket_write_buffer_size",
    "uni_websocket_write_timeout",
    "usage_stats_disable",
    "user_personal_channel_namespace",
    "user_personal_single_connection",
    "user_subscribe_to_personal",
    "websocket_compression",
    "websocket_compression_level",
    "websocket_compression_min_size",
    "websocket_disable",
    "websocket_handler_prefix",
    "websocket_message_size_limit",
    "websocket_read_buffer_size",
    "websocket_use_write_buffer_pool",
    "websocket_write_buffer_size",
    "websocket_write_timeout",
    "webtransport",
    "webtransport_handler_prefix",
]
"""Top-level keys of version 5 that have another name since, or none."""

OPTIONS = {row.path for row in rows()}


@pytest.fixture
def load(tmp_path):
    def load_text(text, **environ):
        path = tmp_path / "config.json"
        path.write_text(text)
        return load_config(path, environ=environ)

    return load_text


@pytest.mark.parametrize("key", KEYS)
def test_every_key_has_a_place_or_a_word(key):
    name = new_name(key)
    assert name in OPTIONS or name.endswith(" of each proxy") or key in GONE
    assert advice(key, "")


def test_names_that_are_not_found_by_their_first_word():
    assert new_name("token_hmac_secret_key") == "client.token.hmac_secret_key"
    assert new_name("redis_tls_key") == "engine.redis.tls.key_pem"
    assert new_name("redis_sentinel_tls_root_ca_pem") == "engine.redis.sentinel_tls.server_ca_pem"
    assert new_name("tls") == "http_server.tls.enabled"
    assert new_name("proxy_connect_endpoint") == "client.proxy.connect.endpoint"
    assert new_name("proxy_subscribe") == "channel.without_namespace.subscribe_proxy_enabled"
    assert new_name("presence") == "channel.without_namespace.presence"
    assert new_name("uni_grpc") == "uni_grpc.enabled"
    for name in ("address", "mode", "user", "password"):
        assert new_name(f"tarantool_{name}") == f"engine.tarantool.{name}"
    assert new_name("channel") == new_name("nonsense") == new_name("client_nonsense") == ""


def test_a_flat_file_is_recognised(load):
    loaded = load(
        '{"api_key": "k", "namespaces": [{"name": "a"}], "gomaxprocs": 2, "nonsense": 1}',
        CENTRIFUGO_TOKEN_HMAC_SECRET_KEY="s",
    )
    told = [str(notice) for notice in loaded.notices]
    assert "configuration of Centrifugo 5" in told[0]
    assert "4 keys" in told[0]
    assert any("api_key" in line and "http_api.key" in line for line in told)
    assert any("namespaces" in line and "channel.namespaces" in line for line in told)
    assert any("gomaxprocs" in line and "--workers" in line for line in told)
    assert any("CENTRIFUGO_CLIENT_TOKEN_HMAC_SECRET_KEY" in line for line in told)
    assert not any(line == "s" for line in told)


def test_one_such_key_is_a_slip_of_its_own(load):
    (notice,) = load('{"allowed_origins": ["https://a.example"]}').notices
    assert "client.allowed_origins" in notice.hint


def test_a_switch_that_became_a_section_says_where_it_went(load):
    with pytest.raises(ConfigProblems) as caught:
        load('{"admin": true, "engine": "redis", "api_key": "x"}')
    text = str(caught.value)
    assert "admin.enabled" in text
    assert "engine.type" in text
    assert "configuration of Centrifugo 5" in str(caught.value.notices[0])


def test_a_section_below_another_that_is_none_never_was_an_option(load):
    with pytest.raises(ConfigProblems) as caught:
        load('{"client": {"token": "x"}, "http_server": {"tls": true}}')
    assert "Centrifugo 5" not in str(caught.value)
    assert not caught.value.notices


def test_an_option_of_a_namespace_that_has_another_name(load):
    (notice,) = load('{"channel": {"namespaces": [{"name": "a", "proxy_publish": true}]}}').notices
    assert "publish_proxy_enabled" in notice.hint


def test_proxies_of_all_kinds_and_variables_with_words(load):
    (notice,) = load("{}", FLYBALL_PROXY_HTTP_HEADERS="Cookie").notices
    assert notice.hint.endswith("http_headers of each proxy")

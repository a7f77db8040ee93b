"""Checks that need more than one value at a time to look at.

There is one list of them: start, reload and ``checkconfig`` ask the same. Each rule is a small
function that yields problems.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from typing import Final, TypeAlias
from urllib.parse import urlsplit

from flyball.protocol.codes import MAX_CLOSE_CODE, MIN_CLOSE_CODE, is_close_code
from flyball.server.auth.checks import claim_problems
from flyball.server.channels import ProxyKind
from flyball.server.config.problems import ConfigProblems, Problem, shown
from flyball.server.config.proxies import DEFAULT, described, proxy_uses
from flyball.server.config.schema import Config
from flyball.server.config.schema_client import UniDisconnectTransforms
from flyball.server.config.schema_common import NamedProxy, Proxy, StatusTransform
from flyball.server.config.schema_consumers import AzureServiceBusConsumer, Consumer
from flyball.server.config.schema_server import ConnectResponseTransforms
from flyball.server.config.validate_channel import CHANNEL_RULES
from flyball.server.config.validate_common import (
    MAX_REASON,
    NAME,
    NAME_RULE,
    choices,
    repeated,
)
from flyball.server.config.validate_start import START_RULES
from flyball.server.proxies.sendable import header_fault, metadata_fault

Rule: TypeAlias = Callable[[Config], Iterator[Problem]]

_SCRIPT_URL: Final = re.compile(r"(?:https?://|/)[^\s\x00-\x1f]+")
_GRPC_SCHEMES: Final = frozenset(
    {"dns", "unix", "unix-abstract", "ipv4", "ipv6", "xds", "passthrough", "vsock"}
)
_CONSUMER_NAME: Final = re.compile(r"[a-zA-Z0-9_]{2,}")

REQUIRED: Final[dict[str, tuple[str, ...]]] = {
    "postgresql": ("dsn", "outbox_table_name"),
    "kafka": ("brokers", "topics", "consumer_group"),
    "nats_jetstream": ("url", "stream_name", "durable_consumer_name"),
    "redis_stream": ("address", "streams", "consumer_group"),
    "google_pub_sub": ("project_id", "subscriptions"),
    "aws_sqs": ("queues",),
    "azure_service_bus": ("queues",),
}
"""Options an enabled consumer must have, by type."""

_IDENTITY: Final = ("fully_qualified_namespace", "tenant_id", "client_id", "client_secret")


def validate(config: Config) -> list[Problem]:
    """Returns what is wrong with ``config``: what keeps a server with it from starting."""
    return [problem for rule in (*RULES, *START_RULES) for problem in rule(config)]


def check(config: Config, look: Callable[[Config], list[Problem]] = validate) -> None:
    """Raises when ``look`` finds something wrong.

    Raises:
        ConfigProblems: Holds all problems.
    """
    problems = look(config)
    if problems:
        raise ConfigProblems(problems)


def _http_server(config: Config) -> Iterator[Problem]:
    server = config.http_server
    if not server.h2c_external:
        return
    key = "http_server.h2c_external"
    if server.internal[1] == server.external[1]:
        yield Problem(
            key,
            "HTTP/2 without TLS on the external listener needs internal endpoints on a port of"
            " their own; set http_server.internal_port to another port than"
            f" {server.port}, or switch h2c_external off",
        )
    if server.tls.enabled or server.tls_autocert.enabled:
        yield Problem(
            key, "HTTP/2 without TLS cannot be used together with TLS; switch one of them off"
        )


def _broker_types(config: Config) -> Iterator[Problem]:
    yield from choices("broker", config.broker, "type")
    yield from choices("map_broker", config.map_broker, "type")


def _token_claims(config: Config) -> Iterator[Problem]:
    client = config.client
    for key, options in (
        ("token", client.token),
        ("subscription_token", client.subscription_token),
    ):
        for option, text in claim_problems(options):
            yield Problem(f"client.{key}.{option}", text)


def _default_proxies(config: Config) -> Iterator[Problem]:
    seen: set[ProxyKind] = set()
    for use in proxy_uses(config):
        found = described(config, use) if use.enabled and use.name == DEFAULT else None
        if found is not None and use.kind not in seen:
            seen.add(use.kind)
            yield from _proxy(*found, f"used by {use.user}")


def _named_proxies(config: Config) -> Iterator[Problem]:
    names = [proxy.name for proxy in config.proxies]
    yield from repeated("proxies", names)
    for index, proxy in enumerate(config.proxies):
        key = f"proxies[{index}]"
        yield from _proxy_name(key, proxy)
        yield from _proxy(key, proxy, f'proxy "{proxy.name}"')


def _proxy_name(key: str, proxy: NamedProxy) -> Iterator[Problem]:
    if proxy.name == DEFAULT:
        yield Problem(
            f"{key}.name",
            '"default" is taken by the default proxies (client.proxy, channel.proxy, rpc.proxy);'
            " choose another name",
        )
    elif not NAME.fullmatch(proxy.name):
        yield Problem(f"{key}.name", f'"{proxy.name}" is not allowed; {NAME_RULE}')


def _proxy(key: str, proxy: Proxy, source: str) -> Iterator[Problem]:
    if not proxy.endpoint:
        yield Problem(
            f"{key}.endpoint",
            "an endpoint is required; set an http://, https:// or grpc:// URL",
            source,
        )
    elif reason := _endpoint_fault(proxy.endpoint):
        yield Problem(
            f"{key}.endpoint",
            f"{shown(proxy.endpoint)} is not allowed: {reason}; set an http://, https:// or"
            " grpc:// URL, or host:port for GRPC",
            source,
        )
    for name, value in proxy.http.static_headers.items():
        if fault := header_fault(name, value):
            yield Problem(f"{key}.http.static_headers", f"{shown(name)}: {fault}", source)
    for name, value in proxy.grpc.static_metadata.items():
        if fault := metadata_fault(name, value):
            yield Problem(f"{key}.grpc.static_metadata", f"{shown(name)}: {fault}", source)
    credentials = proxy.grpc.credentials_key, proxy.grpc.credentials_value
    if credentials[0] and (fault := metadata_fault(*credentials)):
        yield Problem(f"{key}.grpc.credentials_key", fault, source)
    if proxy.timeout <= 0:
        yield Problem(f"{key}.timeout", "must be longer than 0, for example 1s", source)
    for index, transform in enumerate(proxy.http.status_to_code_transforms):
        yield from _status_transform(
            f"{key}.http.status_to_code_transforms[{index}]", transform, source
        )


def _endpoint_fault(endpoint: str) -> str:
    """Why nobody can be asked there, as far as the text tells; empty if it can be."""
    if not endpoint.isprintable():
        return "it has control characters"
    scheme, separator, _ = endpoint.partition("://")
    if separator and scheme not in ("http", "https", "grpc"):
        # What else GRPC resolves, such as unix:// and dns://, is its own matter.
        return "" if scheme in _GRPC_SCHEMES else f"{scheme}:// is not known"
    try:
        parts = urlsplit(endpoint if separator else f"grpc://{endpoint}")
        port = parts.port
    except ValueError as error:
        # Without a scheme it may be one of GRPC's other forms: unix:path, ipv4:1.2.3.4:5,6.7.8.9:0.
        return str(error) if separator or endpoint.partition(":")[0] not in _GRPC_SCHEMES else ""
    if not parts.hostname or " " in parts.netloc:
        return "it names no host"
    return "there is no port 0" if port == 0 else ""


def _status_transform(key: str, transform: StatusTransform, source: str) -> Iterator[Problem]:
    if not transform.status_code:
        yield Problem(f"{key}.status_code", "an HTTP status such as 404 is required", source)
    error, disconnect = transform.to_error, transform.to_disconnect
    if bool(error.code) == bool(disconnect.code):
        yield Problem(
            key, "exactly one of to_error.code and to_disconnect.code must be set", source
        )
    yield from _reason(f"{key}.to_error.message", error.message, source)
    if disconnect.code:
        yield from _close_code(f"{key}.to_disconnect.code", disconnect.code, source)
    yield from _reason(f"{key}.to_disconnect.reason", disconnect.reason, source)


def _close_code(key: str, code: int, source: str = "") -> Iterator[Problem]:
    if not is_close_code(code):
        allowed = f"{MIN_CLOSE_CODE} to {MAX_CLOSE_CODE} are allowed, such as 4500"
        yield Problem(key, f"{code} is no disconnect code: {allowed}", source)


def _reason(key: str, text: str, source: str = "") -> Iterator[Problem]:
    if not text.isascii():
        yield Problem(key, "only ASCII characters are allowed", source)
    if len(text.encode()) > MAX_REASON:
        yield Problem(key, f"at most {MAX_REASON} characters are allowed", source)


def _consumers(config: Config) -> Iterator[Problem]:
    yield from repeated("consumers", [consumer.name for consumer in config.consumers])
    for index, consumer in enumerate(config.consumers):
        key = f"consumers[{index}]"
        if not _CONSUMER_NAME.fullmatch(consumer.name):
            yield Problem(
                f"{key}.name",
                f'"{consumer.name}" is not allowed; use letters, digits and _ only,'
                " at least two characters",
            )
        wrong_type = list(choices(key, consumer, "type"))
        yield from wrong_type
        if consumer.enabled and not wrong_type:
            yield from _consumer(key, consumer)


def _consumer(key: str, consumer: Consumer) -> Iterator[Problem]:
    source = f'consumer "{consumer.name}"'
    options = getattr(consumer, consumer.type)
    for name in REQUIRED[consumer.type]:
        if not getattr(options, name):
            yield Problem(
                f"{key}.{consumer.type}.{name}",
                f"is required for an enabled consumer of type {consumer.type}",
                source,
            )
    yield from choices(f"{key}.{consumer.type}", options, source=source)
    if consumer.type == "azure_service_bus":
        yield from _azure(f"{key}.azure_service_bus", consumer.azure_service_bus, source)
    google = consumer.google_pub_sub
    if (
        consumer.type == "google_pub_sub"
        and google.auth_mechanism == "service_account"
        and not google.credentials_file
    ):
        yield Problem(
            f"{key}.google_pub_sub.credentials_file",
            "is required when auth_mechanism is service_account",
            source,
        )


def _azure(key: str, options: AzureServiceBusConsumer, source: str) -> Iterator[Problem]:
    if not options.use_azure_identity:
        if not options.connection_string:
            yield Problem(
                f"{key}.connection_string", "is required unless use_azure_identity is set", source
            )
        return
    for name in _IDENTITY:
        if not getattr(options, name):
            yield Problem(f"{key}.{name}", "is required with use_azure_identity", source)


def _uni_transforms(config: Config) -> Iterator[Problem]:
    yield from _disconnects(config.client.connect_code_to_unidirectional_disconnect)
    yield from _responses("uni_sse", config.uni_sse.connect_code_to_http_response)
    yield from _responses("uni_http_stream", config.uni_http_stream.connect_code_to_http_response)


_CODE_REQUIRED: Final = "a code of connect other than 0 is required, for example 109"


def _disconnects(transforms: UniDisconnectTransforms) -> Iterator[Problem]:
    base = "client.connect_code_to_unidirectional_disconnect.transforms"
    for index, transform in enumerate(transforms.transforms):
        key = f"{base}[{index}]"
        if not transform.code:
            yield Problem(f"{key}.code", _CODE_REQUIRED)
        if not transform.to.code:
            yield Problem(f"{key}.to.code", "a disconnect code such as 4500 is required")
        else:
            yield from _close_code(f"{key}.to.code", transform.to.code)
        yield from _reason(f"{key}.to.reason", transform.to.reason)


def _responses(section: str, transforms: ConnectResponseTransforms) -> Iterator[Problem]:
    base = f"{section}.connect_code_to_http_response.transforms"
    for index, transform in enumerate(transforms.transforms):
        key = f"{base}[{index}]"
        if not transform.code:
            yield Problem(f"{key}.code", _CODE_REQUIRED)
        if not 200 <= transform.to.status_code <= 599:
            status = transform.to.status_code
            yield Problem(
                f"{key}.to.status_code",
                f"{status} is not allowed; a final HTTP status (200 to 599) such as 401 is required",
            )


def _sockjs(config: Config) -> Iterator[Problem]:
    section = config.sockjs
    if not section.enabled:
        return
    if not _SCRIPT_URL.fullmatch(section.url):
        yield Problem(
            "sockjs.url",
            f'"{section.url}" is no address of a script; use an https:// URL, or a path that'
            " begins with /",
        )


RULES: Final[tuple[Rule, ...]] = (
    _http_server,
    _broker_types,
    _token_claims,
    _default_proxies,
    _named_proxies,
    *CHANNEL_RULES,
    _consumers,
    _uni_transforms,
    _sockjs,
)

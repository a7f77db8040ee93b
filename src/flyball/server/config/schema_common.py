"""Sections that several parts of the configuration share."""

from __future__ import annotations

from flyball.server.common.option import Duration, UInt32, many, mapping, nested, opt, section
from flyball.server.common.tls import TLSConfig


@section
class TLSAutocert:
    """Certificates fetched from an ACME authority such as Let's Encrypt."""

    enabled: bool = opt(False, "Obtain and renew certificates by ACME.")
    host_whitelist: tuple[str, ...] = opt((), "Host names a certificate may be asked for.")
    cache_dir: str = opt("", "Directory that keeps certificates between restarts.")
    email: str = opt("", "Contact address given to the authority.")
    server_name: str = opt("", "Host name assumed for clients that send none (no SNI).")
    http: bool = opt(False, "Answer http-01 challenges on a listener of their own.")
    http_addr: str = opt(":80", "Address of the listener for http-01 challenges.")


@section
class RedisReplicaClient:
    """Reads from replicas."""

    enabled: bool = opt(False, "Read from replicas. Accepted for compatibility; has no effect.")


@section
class RedisConnection:
    """How to reach one or several Redis-compatible servers."""

    address: tuple[str, ...] = opt(
        ("redis://127.0.0.1:6379",),
        "Servers, as host:port or URL; more than one shards channels over them.",
    )
    connect_timeout: Duration = opt(1.0, "Longest wait for a connection.")
    io_timeout: Duration = opt(4.0, "Longest wait for an answer.")
    db: int = opt(0, "Number of the database; not used with a cluster.")
    user: str = opt("", "User name for ACL authentication.")
    password: str = opt("", "Password.", secret=True)
    client_name: str = opt("", "Name that connections show in CLIENT LIST.")
    force_resp2: bool = opt(False, "Speak RESP2, for servers without RESP3.")
    cluster_address: tuple[str, ...] = opt(
        (), "Cluster seeds; each item is a comma separated list of nodes of one cluster."
    )
    tls: TLSConfig = nested(TLSConfig, "TLS towards the servers.")
    sentinel_address: tuple[str, ...] = opt(
        (), "Sentinels; each item is a comma separated list for one shard."
    )
    sentinel_user: str = opt("", "User name at the Sentinels.")
    sentinel_password: str = opt("", "Password at the Sentinels.", secret=True)
    sentinel_master_name: str = opt("", "Name of the master to ask the Sentinels for.")
    sentinel_client_name: str = opt("", "Name that connections show at the Sentinels.")
    sentinel_tls: TLSConfig = nested(TLSConfig, "TLS towards the Sentinels.")
    replica_client: RedisReplicaClient = nested(RedisReplicaClient, "Reads from replicas.")


@section
class TransformError:
    """Error reply that a client gets in place of an HTTP status."""

    code: UInt32 = opt(0, "Code of the error.")
    message: str = opt("", "Message of the error: ASCII, at most 123 characters.")
    temporary: bool = opt(False, "Tell the client that trying again may help.")


@section
class TransformDisconnect:
    """Disconnect that a client gets."""

    code: UInt32 = opt(0, "Disconnect code.")
    reason: str = opt("", "Disconnect reason: ASCII, at most 123 characters.")


@section
class StatusTransform:
    """What a status code of a proxy's backend means to the client."""

    status_code: int = opt(0, "HTTP status this entry is for.")
    to_error: TransformError = nested(TransformError, "Answer the command with this error.")
    to_disconnect: TransformDisconnect = nested(
        TransformDisconnect, "Disconnect the client in this way."
    )


@section
class ProxyHTTP:
    """Settings of a proxy with an http(s) endpoint."""

    tls: TLSConfig = nested(TLSConfig, "TLS towards the endpoint.")
    static_headers: dict[str, str] = mapping("Headers sent with each call.", secret=True)
    status_to_code_transforms: tuple[StatusTransform, ...] = many(
        StatusTransform, "Status codes that become errors or disconnects for the client."
    )


@section
class ProxyGRPC:
    """Settings of a proxy with a GRPC endpoint."""

    tls: TLSConfig = nested(TLSConfig, "TLS towards the endpoint.")
    credentials_key: str = opt("", "Metadata key under which credentials are sent.", secret=True)
    credentials_value: str = opt("", "Value sent under credentials_key.", secret=True)
    compression: bool = opt(False, "Compress calls with gzip.")
    static_metadata: dict[str, str] = mapping("Metadata sent with each call.", secret=True)


@section
class Proxy:
    """A backend that is asked about events of clients."""

    endpoint: str = opt("", "Where to call: http://, https:// or grpc:// URL, or host:port (GRPC).")
    timeout: Duration = opt(1.0, "Longest duration of a call.")
    http_headers: tuple[str, ...] = opt(
        (), "Headers of the client's HTTP request to pass on to the endpoint."
    )
    grpc_metadata: tuple[str, ...] = opt(
        (), "Metadata keys of clients that came by GRPC to pass on to the endpoint."
    )
    emulated_headers: tuple[str, ...] = opt(
        (), "Headers to pass on from the headers map in the client's connect command."
    )
    binary_encoding: bool = opt(False, "Send payloads as base64 (b64data) in place of JSON.")
    include_connection_meta: bool = opt(False, "Send the connection's meta with each call.")
    http: ProxyHTTP = nested(ProxyHTTP, "Settings for http(s) endpoints.")
    grpc: ProxyGRPC = nested(ProxyGRPC, "Settings for GRPC endpoints.")


@section
class SwitchableProxy(Proxy):
    """A proxy with its own switch."""

    enabled: bool = opt(False, "Ask this proxy.", first=True)


@section
class NamedProxy(Proxy):
    """An entry of ``proxies``; namespaces refer to it by name."""

    name: str = opt(
        "", "Name that namespaces use: letters, digits, - _ . and at least two.", first=True
    )

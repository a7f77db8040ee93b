"""Client connections: authentication, limits, origins."""

from __future__ import annotations

from flyball.server.auth.options import TokenOptions
from flyball.server.common.option import Duration, UInt32, many, nested, opt, section
from flyball.server.config.schema_common import SwitchableProxy, TransformDisconnect


@section
class SubscriptionToken(TokenOptions):
    """How subscription tokens are verified when they differ from connection tokens."""

    enabled: bool = opt(
        False, "Verify subscription tokens with these settings, not client.token.", first=True
    )


@section
class ConnectionProxies:
    """Proxies asked about connections."""

    connect: SwitchableProxy = nested(
        SwitchableProxy, "Authenticates connections that bring no token."
    )
    refresh: SwitchableProxy = nested(SwitchableProxy, "Asked when a connection expires.")


@section
class PersonalChannel:
    """Server-side subscription of each user to a channel of its own."""

    enabled: bool = opt(False, "Subscribe every user to its personal channel.")
    personal_channel_namespace: str = opt("", "Namespace of personal channels.")
    single_connection: bool = opt(
        False, "Keep the newest connection of a user only; needs presence in the namespace."
    )


@section
class UniDisconnectTransform:
    """Disconnect for one connect error code."""

    code: UInt32 = opt(0, "Error code of connect.")
    to: TransformDisconnect = nested(TransformDisconnect, "Disconnect sent instead.")


@section
class UniDisconnectTransforms:
    """Connect errors turned into disconnects for unidirectional clients."""

    enabled: bool = opt(False, "Use the transforms.")
    transforms: tuple[UniDisconnectTransform, ...] = many(
        UniDisconnectTransform, "Error codes and their disconnects."
    )


@section
class ClientConfig:
    """Everything about client connections."""

    proxy: ConnectionProxies = nested(ConnectionProxies, "Proxies asked about connections.")
    allowed_origins: tuple[str, ...] = opt(
        (), "Origins browsers may connect from, with * as wildcard; empty admits none."
    )
    token: TokenOptions = nested(TokenOptions, "How connection tokens are verified.", reload=True)
    subscription_token: SubscriptionToken = nested(
        SubscriptionToken, "How subscription tokens are verified.", reload=True
    )
    allow_anonymous_connect_without_token: bool = opt(
        False, "Admit connections without a token, with an empty user id.", reload=True
    )
    disallow_anonymous_connection_tokens: bool = opt(
        False, "Refuse tokens with an empty user id.", reload=True
    )
    ping_interval: Duration = opt(25.0, "Time between pings; negative sends none.")
    pong_timeout: Duration = opt(8.0, "How long to wait for a pong; less than ping_interval.")
    expired_close_delay: Duration = opt(25.0, "Grace before an expired connection is closed.")
    expired_sub_close_delay: Duration = opt(25.0, "Grace before an expired subscription is ended.")
    stale_close_delay: Duration = opt(10.0, "Time a new connection has to send connect.")
    channel_limit: int = opt(128, "Most subscriptions of one connection.")
    queue_max_size: int = opt(1_048_576, "Most bytes waiting for a slow connection.")
    presence_update_interval: Duration = opt(27.0, "Time between renewals of presence.")
    concurrency: int = opt(0, "Above 1, handle so many commands of a client at one time.")
    channel_position_check_delay: Duration = opt(
        40.0, "Time between position checks of a quiet channel."
    )
    channel_position_max_time_lag: Duration = opt(
        0.0, "Delivery lag that counts as a lost position; 0 means no limit."
    )
    connection_limit: int = opt(0, "Most connections of one node; 0 means no limit.")
    user_connection_limit: int = opt(0, "Most connections of a user on a node; 0 means no limit.")
    connection_rate_limit: int = opt(0, "Most new connections a second; 0 means no limit.")
    connect_include_server_time: bool = opt(False, "Tell the server's time in connect replies.")
    history_max_publication_limit: int = opt(300, "Most publications of one history call.")
    recovery_max_publication_limit: int = opt(300, "Most publications recovered at once.")
    insecure_skip_token_signature_verify: bool = opt(
        False,
        "Accept tokens without checking signatures. For development only.",
        insecure=True,
        reload=True,
    )
    user_id_http_header: str = opt(
        "", "Trust this request header for the user id; a proxy in front must set it.", reload=True
    )
    insecure: bool = opt(
        False,
        "No authentication or permission checks. For development only.",
        flag=True,
        insecure=True,
        reload=True,
    )
    subscribe_to_user_personal_channel: PersonalChannel = nested(
        PersonalChannel, "A channel for each user, subscribed at connect.", reload=True
    )
    connect_code_to_unidirectional_disconnect: UniDisconnectTransforms = nested(
        UniDisconnectTransforms, "Connect errors as disconnects for unidirectional clients."
    )

    @property
    def subscription_token_options(self) -> TokenOptions:
        """What holds for subscription tokens."""
        return self.subscription_token if self.subscription_token.enabled else self.token

"""What clients may do: tokens, channel rules, connect rules."""

from __future__ import annotations

from typing import TYPE_CHECKING

from flyball.server.api.explain import Policy
from flyball.server.auth.verifier import TokenVerifier
from flyball.server.channels import ChannelRules, ChannelRulesOptions, RpcRules, RpcRulesOptions
from flyball.server.client import ClientPolicyOptions, PersonalChannelOptions

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.core.schemas import Faults
    from flyball.server.auth.jwks import JwksClient
    from flyball.server.config import Config


def channel_rules(config: Config, faults: Faults | None = None) -> ChannelRules:
    """Namespaces and the way channel names are read.

    ``faults`` counts publications that do not fit a schema.
    """
    channel = config.channel
    return ChannelRules(
        ChannelRulesOptions(
            without_namespace=channel.without_namespace,
            namespaces={n.name: n for n in channel.namespaces},
            boundary=channel.namespace_boundary,
            private_prefix=channel.private_prefix,
            user_boundary=channel.user_boundary,
            user_separator=channel.user_separator,
            max_length=channel.max_length,
            publication_data_format=channel.publication_data_format,
            history_meta_ttl=channel.history_meta_ttl,
        ),
        faults=faults,
    )


def policy_options(config: Config) -> ClientPolicyOptions:
    """What holds for connections, whatever the channel."""
    client, rpc = config.client, config.rpc
    personal = client.subscribe_to_user_personal_channel
    return ClientPolicyOptions(
        insecure=client.insecure,
        allow_anonymous_connect_without_token=client.allow_anonymous_connect_without_token,
        disallow_anonymous_connection_tokens=client.disallow_anonymous_connection_tokens,
        user_id_http_header=client.user_id_http_header,
        personal_channel=PersonalChannelOptions(
            enabled=personal.enabled,
            namespace=personal.personal_channel_namespace,
            single_connection=personal.single_connection,
        ),
        rpc=RpcRulesOptions(
            without_namespace=rpc.without_namespace,
            namespaces={n.name: n for n in rpc.namespaces},
            boundary=rpc.namespace_boundary,
            ping_enabled=rpc.ping.enabled,
            ping_method=rpc.ping.method,
        ),
    )


def explained_policy(
    options: ClientPolicyOptions,
    rules: ChannelRules,
    verifiers: tuple[TokenVerifier, TokenVerifier | None],
) -> Policy:
    """The same rules, for explanations."""
    tokens, sub_tokens = verifiers
    return Policy(rules, options.insecure, RpcRules(options.rpc), tokens, sub_tokens)


def token_verifiers(
    config: Config, clock: Clock, jwks: JwksClient
) -> tuple[TokenVerifier, TokenVerifier | None]:
    """Verifiers of connection tokens and, if they have keys of their own, subscription tokens.

    Raises:
        ConfigError: a key or pattern is malformed.
    """
    client = config.client
    verify_signatures = not client.insecure_skip_token_signature_verify
    tokens = TokenVerifier(client.token, clock, jwks, verify_signatures=verify_signatures)
    if client.subscription_token_options is client.token:
        return tokens, None
    return tokens, TokenVerifier(
        client.subscription_token_options, clock, jwks, verify_signatures=verify_signatures
    )

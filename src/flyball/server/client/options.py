"""Settings of the client policy."""

from __future__ import annotations

from dataclasses import dataclass, field

from flyball.server.channels import RpcRulesOptions

__all__ = ["ClientPolicyOptions", "PersonalChannelOptions"]


@dataclass(frozen=True, slots=True)
class PersonalChannelOptions:
    """A server-side subscription of each user to a channel of its own."""

    enabled: bool = False
    """Make it, for connections that have a user."""
    namespace: str = ""
    """Of the channel; empty: none."""
    single_connection: bool = False
    """Only the newest connection of a user stays."""


@dataclass(frozen=True, slots=True)
class ClientPolicyOptions:
    """What holds for connections, whatever the channel."""

    insecure: bool = False
    """Nobody needs credentials or permissions. For development only."""
    allow_anonymous_connect_without_token: bool = False
    """Who has no token is anonymous, and not refused."""
    disallow_anonymous_connection_tokens: bool = False
    """Refuse tokens that name no user."""
    user_id_http_header: str = ""
    """Request header that is trusted to hold the user id; empty: none."""
    personal_channel: PersonalChannelOptions = field(default_factory=PersonalChannelOptions)
    """A channel for each user."""
    rpc: RpcRulesOptions = field(default_factory=RpcRulesOptions)
    """Which RPC methods there are."""

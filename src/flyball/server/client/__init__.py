"""The server's policy for clients: who may connect, subscribe, publish and so on."""

from flyball.server.client.options import ClientPolicyOptions, PersonalChannelOptions
from flyball.server.client.policy import ClientPolicy
from flyball.server.client.proxies import ClientProxies

__all__ = ["ClientPolicy", "ClientPolicyOptions", "ClientProxies", "PersonalChannelOptions"]

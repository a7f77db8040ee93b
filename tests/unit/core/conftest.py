import pytest
from core_harness import Wire

import flyball


@pytest.fixture
def options():
    return flyball.NodeOptions()


@pytest.fixture
async def node(clock, options):
    """Anybody may connect; the token is the user. Channel prefixes say how they behave."""
    node = flyball.Node(options, clock=clock)

    @node.on_connecting
    def connecting(event):
        return flyball.Credentials(user=event.token or "u1", info={"n": 1})

    by_prefix = {
        "plain": flyball.SubscribeOptions(),
        "rec": flyball.SubscribeOptions(
            recoverable=True,
            allowed_deltas=frozenset({"fossil"}),
            allow_tags_filter=True,
        ),
        "cache": flyball.SubscribeOptions(
            recoverable=True,
            recovery_mode=flyball.RecoveryMode.CACHE,
            auto_cache_recover=True,
            allowed_deltas=frozenset({"fossil"}),
            allow_tags_filter=True,
        ),
        "opt": flyball.SubscribeOptions(
            allow_positioning=True, allow_recovery=True, allow_join_leave=True, join_leave=True
        ),
        "pres": flyball.SubscribeOptions(presence=True, join_leave=True, push_join_leave=True),
    }

    @node.on_subscribe
    def subscribe(event):
        return by_prefix[event.channel.split(":")[0]]

    @node.on_publish
    def publish(event):
        if event.channel.startswith(("rec", "cache", "opt")):
            return flyball.PublishOptions(history_size=100, history_ttl=600)
        return flyball.PublishOptions()

    @node.on_presence
    def presence(event):
        return True

    @node.on_history
    def history(event):
        return True

    async with node:
        yield node


@pytest.fixture
def wire(node):
    wire = Wire(node)
    wire.connect()
    return wire

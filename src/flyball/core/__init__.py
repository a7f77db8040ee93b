"""The engine: node, hub, sessions, subscriptions, recovery, handlers."""

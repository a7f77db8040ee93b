"""A chat server in one file: rooms with history, recovery, presence and a moderator.

    python examples/chat.py

Clients connect with any SDK of Centrifugo to ws://localhost:8000/connection/websocket,
give their name as the token (yours would be a session or a JWT) and subscribe to chat:ROOM.
"""

import argparse
from typing import Any

import flyball

node = flyball.Node()
votes: dict[str, int] = {}


@node.on_connecting
async def who(event: flyball.Connecting) -> flyball.Credentials:
    """Everybody needs a name."""
    if not event.token:
        raise flyball.Disconnect(4501, "a name is needed")
    return flyball.Credentials(user=event.token, info={"name": event.token.title()})


@node.on_subscribe("chat:*")
def may_join(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    """Rooms are open, except for the staff room."""
    if event.channel == "chat:staff" and not event.user.startswith("staff-"):
        raise flyball.PermissionDenied("only staff may enter the staff room")
    return flyball.SubscribeOptions(
        recoverable=True, presence=True, join_leave=True, push_join_leave=True
    )


@node.on_publish("chat:*")
def may_write(event: flyball.Publishing) -> flyball.PublishOptions:
    """Who is in the room may write; the last 100 lines are kept for ten minutes."""
    if not event.connection.is_subscribed(event.channel):
        raise flyball.PermissionDenied("enter the room first")
    if "text" not in event.json():
        raise flyball.Error(400, "a message needs a text")
    return flyball.PublishOptions(history_size=100, history_ttl=600)


@node.on_presence("chat:*")
def may_look_around(event: flyball.PresenceQuery) -> bool:
    """Only from inside the room."""
    return event.connection.is_subscribed(event.channel)


@node.on_history("chat:*")
def may_read_back(event: flyball.HistoryQuery) -> bool:
    """Only from inside the room."""
    return event.connection.is_subscribed(event.channel)


@node.on_rpc("vote")
async def vote(event: flyball.Rpc) -> dict[str, Any]:
    """Counts votes and tells the room the result so far."""
    option = event.json()["option"]
    votes[option] = votes.get(option, 0) + 1
    await node.publish("chat:votes", votes)
    return {"votes": votes[option]}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=8000)
    flyball.run(node, port=parser.parse_args().port, origins=("*",))

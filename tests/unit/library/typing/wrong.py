"""Programs that are wrong, line by line: a checker that misses one calls its comment unused."""

from __future__ import annotations

import flyball

node = flyball.Node()


@node.on_connecting  # type: ignore[type-var]
def who(event: flyball.Connecting) -> str:
    return "ann"


@node.on_connecting  # type: ignore[type-var]
def silent(event: flyball.Connecting) -> None:
    pass


@node.on_subscribe  # type: ignore[type-var]
def another_event(event: flyball.Publishing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions()


@node.on_subscribe("chat:*")  # type: ignore[type-var]
def another_event_with_a_pattern(event: flyball.Publishing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions()


@node.on_subscribe("chat:*")  # type: ignore[type-var]
def yes(event: flyball.Subscribing) -> bool:
    return True


@node.on_subscribe  # type: ignore[type-var]
async def later(event: flyball.Subscribing) -> bool:
    return True


@node.on_subscribe("news")  # type: ignore[type-var]
def falls_off(event: flyball.Subscribing) -> flyball.SubscribeOptions | None:
    if event.user:
        return flyball.SubscribeOptions()
    return None


@node.on_publish  # type: ignore[type-var]
def publish(event: flyball.Publishing) -> flyball.SubscribeOptions:
    return flyball.SubscribeOptions()


@node.on_presence("x")  # type: ignore[type-var]
def presence(event: flyball.PresenceQuery) -> None:
    pass


@node.on_history  # type: ignore[type-var]
def history(event: flyball.HistoryQuery) -> None:
    pass


@node.on_refresh  # type: ignore[type-var]
def refresh(event: flyball.Refreshing) -> flyball.Credentials:
    return flyball.Credentials()


@node.on_sub_refresh("x")  # type: ignore[type-var]
def sub_refresh(event: flyball.Refreshing) -> flyball.RefreshResult:
    return flyball.RefreshResult()


@node.on_rpc("x")  # type: ignore[type-var]
def rpc(event: flyball.Message) -> int:
    return 1


@node.on_connected  # type: ignore[type-var]
def no_event() -> None:
    pass


@node.on_connected("pattern")  # type: ignore[call-overload, untyped-decorator]
def pattern(event: flyball.Connected) -> None:
    pass


@node.on_disconnected  # type: ignore[type-var]
def disconnected(event: flyball.Connected) -> None:
    pass


async def main() -> None:
    await node.publish("x", 1, histroy_size=10)  # type: ignore[call-arg]
    await node.publish("x", 1, history_size="10")  # type: ignore[arg-type]
    await node.publish(1, 1)  # type: ignore[arg-type]
    await node.subscribe_user("42", "x", recoverabel=True)  # type: ignore[call-arg]
    async with flyball.serve(node, prot=1):  # type: ignore[call-arg]
        pass


def run() -> None:
    flyball.run(node, port="8000")  # type: ignore[arg-type]
    flyball.run(node, orgins=["*"])  # type: ignore[call-arg]


def threads() -> None:
    node.threadsafe.publish("x", 1, histroy_size=10)  # type: ignore[call-arg]
    node.threadsafe.publish(1, 1)  # type: ignore[arg-type]
    publisher = flyball.Publisher("http://localhost:8000/api", kye="x")  # type: ignore[call-arg]
    publisher.publish("x", 1, tags=["a"])  # type: ignore[arg-type]


numbers = node.channel("numbers:*", int)


@numbers.on_publish  # type: ignore[arg-type]
def typed(event: flyball.Subscribing) -> flyball.PublishOptions:
    return flyball.PublishOptions()


async def typed_channels() -> None:
    await numbers.publish("numbers:1", "one")  # type: ignore[arg-type]
    async for number in numbers.subscribe("numbers:1"):
        print(number.upper())  # type: ignore[attr-defined]

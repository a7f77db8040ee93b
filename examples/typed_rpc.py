"""Typed RPC: arguments and answers are classes, checked before a handler is asked.

    python examples/typed_rpc.py

The same classes are in the AsyncAPI document at http://localhost:8000/connection/asyncapi.json, from
which clients in other languages can be generated.
"""

from __future__ import annotations

import msgspec

import flyball

node = flyball.Node(flyball.NodeOptions(name="shop", version="1"))
stock = {"tea": 3}


class Order(msgspec.Struct, forbid_unknown_fields=True):
    article: str
    count: int = 1


class Receipt(msgspec.Struct):
    article: str
    left: int


@node.on_connecting
def who(event: flyball.Connecting) -> flyball.Credentials:
    return flyball.Credentials(user=event.token)


orders = node.channel("orders:*", Order)


@orders.on_subscribe
def may_watch(event: flyball.Subscribing) -> flyball.SubscribeOptions:
    if event.channel != f"orders:{event.user}":
        raise flyball.PermissionDenied("these are somebody else's orders")
    return flyball.SubscribeOptions()


@node.on_rpc("buy", schema=Order)
async def buy(event: flyball.Rpc) -> Receipt:
    order = event.json(Order)
    if stock.get(order.article, 0) < order.count:
        raise flyball.Error(409, f"there is not that much {order.article}")
    stock[order.article] -= order.count
    await orders.publish(f"orders:{event.user}", order)
    return Receipt(order.article, stock[order.article])


if __name__ == "__main__":
    flyball.run(node, asyncapi=True)

"""A backend over GRPC: the same questions as over HTTP, and streams into subscriptions.

Generate the service from the schema, then run it, and beside it the server::

    python -m grpc_tools.protoc -I src/flyball/server/proxies --python_out=build/backend \
        --grpc_python_out=build/backend proxy.proto
    PYTHONPATH=build/backend python examples/backends/grpc_backend.py --port 50051
    flyball -c examples/backends/grpc.json
"""

from __future__ import annotations

import argparse
import asyncio
import json
import time
from typing import TYPE_CHECKING, Any

import grpc.aio
import proxy_pb2 as pb
from proxy_pb2_grpc import CentrifugoProxyServicer, add_CentrifugoProxyServicer_to_server

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

HOUR = 3600


class Backend(CentrifugoProxyServicer):
    """Fields of type ``bytes`` hold JSON."""

    async def Connect(self, asked: Any, context: Any) -> Any:
        """A client without a token; here it just says its name."""
        name = json.loads(asked.data or "{}").get("name", "")
        if not name:
            return pb.ConnectResponse(disconnect=pb.Disconnect(code=4501, reason="say who you are"))
        result = pb.ConnectResult(
            user=name,
            info=json.dumps({"name": name}).encode(),
            channels=[f"inbox:{name}"],
            expire_at=int(time.time()) + HOUR,
        )
        return pb.ConnectResponse(result=result)

    async def Refresh(self, asked: Any, context: Any) -> Any:
        """The hour is over; the server asks by itself, the client need not know."""
        return pb.RefreshResponse(result=pb.RefreshResult(expire_at=int(time.time()) + HOUR))

    async def Subscribe(self, asked: Any, context: Any) -> Any:
        if asked.channel == "room:closed":
            return pb.SubscribeResponse(error=pb.Error(code=403, message="this room is closed"))
        welcome = json.dumps({"welcome": asked.user}).encode()
        listed = pb.SubscribeOptionOverride(presence=pb.BoolValue(value=True))
        return pb.SubscribeResponse(result=pb.SubscribeResult(data=welcome, override=listed))

    async def Publish(self, asked: Any, context: Any) -> Any:
        """What is published is what stands in the result; an empty one lets it pass as it is."""
        text = json.loads(asked.data or "{}").get("text", "").strip()
        if not text:
            return pb.PublishResponse(error=pb.Error(code=400, message="a message needs a text"))
        data = json.dumps({"text": text, "by": asked.user}).encode()
        return pb.PublishResponse(result=pb.PublishResult(data=data))

    async def RPC(self, asked: Any, context: Any) -> Any:
        if asked.method != "add":
            return pb.RPCResponse(error=pb.Error(code=404, message="no such method"))
        data = json.dumps({"sum": sum(json.loads(asked.data))}).encode()
        return pb.RPCResponse(result=pb.RPCResult(data=data))

    async def SubscribeUnidirectional(self, asked: Any, context: Any) -> AsyncIterator[Any]:
        """``countdown:3``: an answer, then a stream for this subscriber alone."""
        yield pb.StreamSubscribeResponse(subscribe_response=pb.SubscribeResponse())
        for left in range(int(asked.channel.partition(":")[2]), 0, -1):
            yield pb.StreamSubscribeResponse(publication=pb.Publication(data=b"%d" % left))
            await asyncio.sleep(0.1)

    async def SubscribeBidirectional(self, messages: Any, context: Any) -> AsyncIterator[Any]:
        """``echo:...``: first the question, then what the subscriber publishes."""
        async for message in messages:
            if message.HasField("subscribe_request"):
                yield pb.StreamSubscribeResponse(subscribe_response=pb.SubscribeResponse())
            else:
                said = pb.Publication(data=message.publication.data, tags={"from": "echo"})
                yield pb.StreamSubscribeResponse(publication=said)


async def main(port: int) -> None:
    """Serves until it is stopped."""
    server = grpc.aio.server()
    add_CentrifugoProxyServicer_to_server(Backend(), server)
    server.add_insecure_port(f"127.0.0.1:{port}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, default=50051)
    asyncio.run(main(parser.parse_args().port))

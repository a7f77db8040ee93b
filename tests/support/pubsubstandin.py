"""A stand-in for Google Pub/Sub: the published GRPC service, from the stubs of Google's package.

Run as a program with a port and a folder; messages are there over its end, as they are at Google.
A subscription has a topic of the same name. Rules are those of the documentation: what is not
acknowledged in its time comes again; of an ordering key one message comes after the other, and a
message that is given back comes again with all that stand behind it.
"""

import asyncio
import itertools
import pickle
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

import grpc
from google.protobuf import empty_pb2
from google.pubsub_v1 import types


@dataclass
class Held:
    """A message."""

    data: bytes
    attributes: dict
    key: str
    id: str
    ack_id: str = ""
    until: float = 0.0
    stream: int = 0
    attempts: int = 0

    def is_out(self):
        return self.until > time.time()


@dataclass
class Stream:
    """One that delivers."""

    number: int
    path: str = ""
    most: int = 0
    most_bytes: int = 0
    lease: int = 10
    ready: asyncio.Event = field(default_factory=asyncio.Event)


class Standin:
    """The service."""

    def __init__(self, file):
        self.file = file
        self.held = pickle.loads(file.read_bytes()) if file.exists() else {}
        for messages in self.held.values():
            for message in messages:
                message.until = 0.0
        self.numbers = itertools.count(1)
        self.changed = asyncio.Condition()

    async def _changed(self):
        new = self.file.with_suffix(".new")
        new.write_bytes(pickle.dumps(self.held))
        new.rename(self.file)
        async with self.changed:
            self.changed.notify_all()

    async def publish(self, request, context):
        name = request.topic.replace("/topics/", "/subscriptions/")
        if not request.messages:  # nobody publishes nothing: that is how tests ask for an empty one
            self.held[name] = []
        found = self.held.setdefault(name, [])
        ids = []
        for m in request.messages:
            ids.append(str(uuid.uuid4()))
            found.append(Held(m.data, dict(m.attributes), m.ordering_key, ids[-1]))
        await self._changed()
        return types.PublishResponse(message_ids=ids)

    async def messages_left(self, request, context):
        """How many there are, as the size of a batch."""
        return types.PullRequest(max_messages=len(self.held.get(request.subscription, ())))

    async def acknowledge(self, request, context):
        ids, path = set(request.ack_ids), request.subscription
        self.held[path] = [m for m in self.held[path] if m.ack_id not in ids or not m.is_out()]
        await self._changed()
        return empty_pb2.Empty()

    async def modify(self, request, context):
        again = set()
        for message in self.held[request.subscription]:
            if message.ack_id in request.ack_ids and message.is_out():
                message.until = time.time() + request.ack_deadline_seconds
                if request.ack_deadline_seconds == 0 and message.key:
                    again.add(message.key)
            elif message.key in again:
                message.until = 0.0
        await self._changed()
        return empty_pb2.Empty()

    async def streaming_pull(self, requests, context):
        first = await anext(requests)
        if first.subscription not in self.held:
            await context.abort(grpc.StatusCode.NOT_FOUND, "Resource not found")
        number = next(self.numbers)
        while True:
            found = self._next(number, first)
            if found:
                yield types.StreamingPullResponse(received_messages=found)
                continue
            async with self.changed:
                try:  # nothing tells when a lease is over
                    await asyncio.wait_for(self.changed.wait(), 0.02)
                except TimeoutError:
                    continue

    def _next(self, number, first):
        """Some that may be delivered now, at most ten in one go."""
        messages, found = self.held[first.subscription], []
        out = [m for m in messages if m.is_out() and m.stream == number]
        room = first.max_outstanding_messages - len(out)
        room_bytes = first.max_outstanding_bytes - sum(len(m.data) for m in out)
        closed = set()
        for m in messages:
            if m.is_out():
                if m.stream != number:
                    closed.add(m.key)
            elif m.key and m.key in closed:
                continue
            elif room <= 0 or room_bytes <= 0 or len(found) >= 10:
                break
            else:
                room, room_bytes = room - 1, room_bytes - len(m.data)
                m.until = time.time() + first.stream_ack_deadline_seconds
                m.ack_id, m.stream = str(uuid.uuid4()), number
                found.append(m)
        return [
            types.ReceivedMessage(
                ack_id=m.ack_id,
                message=types.PubsubMessage(
                    data=m.data, attributes=m.attributes, ordering_key=m.key, message_id=m.id
                ),
            )
            for m in found
        ]


def plain(function, request, response):
    return grpc.unary_unary_rpc_method_handler(
        function,
        request_deserializer=request.deserialize,
        response_serializer=getattr(response, "serialize", None) or response.SerializeToString,
    )


async def main():
    service, server = Standin(Path(sys.argv[2]) / "messages"), grpc.aio.server()
    subscriber = {
        "StreamingPull": grpc.stream_stream_rpc_method_handler(
            service.streaming_pull,
            request_deserializer=types.StreamingPullRequest.deserialize,
            response_serializer=types.StreamingPullResponse.serialize,
        ),
        "Acknowledge": plain(service.acknowledge, types.AcknowledgeRequest, empty_pb2.Empty),
        "ModifyAckDeadline": plain(service.modify, types.ModifyAckDeadlineRequest, empty_pb2.Empty),
    }
    publisher = {"Publish": plain(service.publish, types.PublishRequest, types.PublishResponse)}
    test = {"Left": plain(service.messages_left, types.PullRequest, types.PullRequest)}
    names = {
        "google.pubsub.v1.Subscriber": subscriber,
        "google.pubsub.v1.Publisher": publisher,
        "test.Test": test,
    }
    for name, methods in names.items():
        handler = grpc.method_handlers_generic_handler(name, methods)
        server.add_generic_rpc_handlers((handler,))
    server.add_insecure_port(f"127.0.0.1:{sys.argv[1]}")
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    asyncio.run(main())

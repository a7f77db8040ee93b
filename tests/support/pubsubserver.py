"""A stand-in for Google Pub/Sub that tests start, on loopback, and a client to fill it."""

import grpc
from google.pubsub_v1 import types
from standin import StandIn
from waiting import PATIENCE

PROJECT, SUBSCRIPTION = "project", "commands"


class PubSubServer(StandIn):
    """The server, with one subscription, until :meth:`stop`."""

    def __init__(self):
        super().__init__("pubsubstandin.py")
        self.clear()

    @property
    def host(self):
        return f"127.0.0.1:{self.port}"

    def _call(self, method, request, answer):
        with grpc.insecure_channel(self.host) as channel:
            call = channel.unary_unary(method, type(request).serialize, answer.deserialize)
            return call(request, timeout=PATIENCE, wait_for_ready=True)

    def put(self, messages, *, name=SUBSCRIPTION, key=""):
        """Publishes bodies, each with its attributes, under one ordering key."""
        found = [
            types.PubsubMessage(data=body, attributes=given, ordering_key=key)
            for body, given in messages
        ]
        topic = f"projects/{PROJECT}/topics/{name}"
        request = types.PublishRequest(topic=topic, messages=found)
        self._call("/google.pubsub.v1.Publisher/Publish", request, types.PublishResponse)

    def make(self, name):
        """Makes a subscription, an empty one if there was one."""
        self.put([], name=name)

    def left(self, name=SUBSCRIPTION):
        """Messages that are not acknowledged."""
        request = types.PullRequest(subscription=f"projects/{PROJECT}/subscriptions/{name}")
        return self._call("/test.Test/Left", request, types.PullRequest).max_messages

    def clear(self):
        """Nothing is left."""
        self.kill()
        self.start()
        self.make(SUBSCRIPTION)

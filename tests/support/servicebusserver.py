"""A stand-in for Azure Service Bus that tests start, on loopback, and Azure's client to fill it."""

import json
import socket

from azure.servicebus import ServiceBusClient, ServiceBusMessage
from standin import StandIn

KEY = "bmV2ZXItdG8tYmUtc2hvd24="


class BusServer(StandIn):
    """The server, until :meth:`stop`."""

    def __init__(self):
        super().__init__("servicebusstandin.py")

    @property
    def connection_string(self):
        return (
            f"Endpoint=sb://127.0.0.1:{self.port};SharedAccessKeyName=reader;"
            f"SharedAccessKey={KEY};UseDevelopmentEmulator=true;"
        )

    def put(self, messages, *, queue="commands", session=None):
        """Sends bodies, each with its properties."""
        found = [
            ServiceBusMessage(body, application_properties=given, session_id=session)
            for body, given in messages
        ]
        self.send(queue, found)

    def send(self, queue, messages):
        """Sends messages of Azure's client."""
        with (
            ServiceBusClient.from_connection_string(self.connection_string) as client,
            client.get_queue_sender(queue) as sender,
        ):
            sender.send_messages(messages)

    def ask(self, **what):
        """What it says about itself."""
        with socket.create_connection(("127.0.0.1", self.port)) as link:
            link.sendall(json.dumps(what).encode() + b"          \n")
            return json.loads(link.makefile().readline())

    def left(self, queue="commands"):
        """Messages that are not completed."""
        return self.ask(queue=queue)["left"]

    def clear(self):
        """Nothing is left, nobody is there."""
        self.kill()
        self.start()
        for queue in ("commands", "plain"):
            self.ask(clear=queue)

"""A stand-in for AWS: what SQS says and does, in JSON, and a token service that lends any role.

Run as a program with a port and a folder; what the queues hold is there over its end, as is in AWS.
Rules are those of the documentation of SQS: a message that was received is nobody else's until its
time is over; of a group of a FIFO queue nothing is given while something of it is in hands.
"""

import asyncio
import itertools
import pickle
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from aiohttp import web

ROLE_KEY = "key-of-the-role"
LENT = """<AssumeRoleResponse xmlns="https://sts.amazonaws.com/doc/2011-06-15/"><AssumeRoleResult>
<Credentials><AccessKeyId>{key}</AccessKeyId><SecretAccessKey>lent</SecretAccessKey>
<SessionToken>token</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration></Credentials>
</AssumeRoleResult></AssumeRoleResponse>"""


class Refused(Exception):
    """Is answered as an error."""


@dataclass
class Held:
    """A message of a queue."""

    body: str
    attributes: dict
    group: str
    id: str = field(default_factory=lambda: str(uuid.uuid4()))
    visible_at: float = 0.0
    receipt: str = ""
    received: int = 0


@dataclass
class Queue:
    """Messages in their order."""

    fifo: bool
    messages: list = field(default_factory=list)
    seen: set = field(default_factory=set)
    """Deduplication ids."""

    def take(self, most, timeout):
        now, found = time.time(), []
        in_hands = {m.group for m in self.messages if self.fifo and m.visible_at > now}
        for message in self.messages:
            if message.visible_at <= now and message.group not in in_hands and len(found) < most:
                message.visible_at = now + timeout
                message.receipt = str(uuid.uuid4())
                message.received += 1
                found.append(message)
        return found

    def by_receipt(self, receipt):
        found = [m for m in self.messages if m.receipt == receipt]
        if not found:
            raise Refused("ReceiptHandleIsInvalid")
        return found[0]


class Standin:
    """The service."""

    def __init__(self, file):
        self.file = file
        self.queues = pickle.loads(file.read_bytes()) if file.exists() else {}
        self.keys = []
        """Access keys that requests were signed with."""
        self.failing = {}
        """Operation to how many of its next calls fail."""

    async def handle(self, request):
        signed = request.headers.get("Authorization", "")
        self.keys.append(signed.partition("Credential=")[2].partition("/")[0])
        target = request.headers.get("X-Amz-Target")
        if target is None:  # of all else only the token service is asked
            assert (await request.post())["Action"] == "AssumeRole"
            return web.Response(text=LENT.format(key=ROLE_KEY), content_type="text/xml")
        operation = target.rpartition(".")[2]
        try:
            if self.failing.get(operation, 0):
                self.failing[operation] -= 1
                raise Refused("ServiceUnavailable")
            return self._answer(await getattr(self, operation)(await request.json()))
        except Refused as error:
            kind = str(error)
            return self._answer({"__type": f"com.amazonaws.sqs#{kind}", "message": kind}, 400)

    def _answer(self, body, status=200):
        new = self.file.with_suffix(".new")
        new.write_bytes(pickle.dumps(self.queues))
        new.rename(self.file)
        return web.json_response(body, status=status, content_type="application/x-amz-json-1.0")

    def _queue(self, request):
        name = request["QueueUrl"].rpartition("/")[2]
        if name not in self.queues:
            raise Refused("QueueDoesNotExist")
        return self.queues[name]

    async def CreateQueue(self, request):
        name = request["QueueName"]
        self.queues[name] = Queue(name.endswith(".fifo"))
        return {"QueueUrl": name}

    async def SendMessageBatch(self, request):
        queue = self._queue(request)
        for entry in request["Entries"]:
            once = entry.get("MessageDeduplicationId")
            if once is None or once not in queue.seen:
                queue.seen.add(once)
                given = entry.get("MessageAttributes", {})
                group = entry.get("MessageGroupId", "")
                queue.messages.append(Held(entry["MessageBody"], given, group))
        done = [
            {"Id": e["Id"], "MessageId": "", "MD5OfMessageBody": ""} for e in request["Entries"]
        ]
        return {"Successful": done, "Failed": []}

    async def ReceiveMessage(self, request):
        end = time.time() + request["WaitTimeSeconds"]
        assert 1 <= request["MaxNumberOfMessages"] <= 10
        for first in itertools.chain([True], itertools.repeat(False)):
            if not first:
                await asyncio.sleep(0.01)  # nothing tells when the time of a message is over
            found = self._queue(request).take(
                request["MaxNumberOfMessages"], request["VisibilityTimeout"]
            )
            if found or time.time() >= end:
                return {"Messages": [self._shown(m, request) for m in found]} if found else {}
        return None

    def _shown(self, message, request):
        wants_group = "MessageGroupId" in request.get("MessageSystemAttributeNames", ())
        shown = {"MessageId": message.id, "ReceiptHandle": message.receipt, "Body": message.body}
        if message.group and wants_group:
            shown["Attributes"] = {"MessageGroupId": message.group}
        if message.attributes and "All" in request.get("MessageAttributeNames", ()):
            shown["MessageAttributes"] = message.attributes
        return shown

    async def DeleteMessageBatch(self, request):
        queue = self._queue(request)
        return self._each(
            request, lambda e: queue.messages.remove(queue.by_receipt(e["ReceiptHandle"]))
        )

    async def ChangeMessageVisibilityBatch(self, request):
        queue = self._queue(request)

        def change(entry):
            held = queue.by_receipt(entry["ReceiptHandle"])
            held.visible_at = time.time() + entry["VisibilityTimeout"]

        return self._each(request, change)

    def _each(self, request, do):
        answer = {"Successful": [], "Failed": []}
        assert 1 <= len(request["Entries"]) <= 10
        for entry in request["Entries"]:
            try:
                do(entry)
                answer["Successful"].append({"Id": entry["Id"]})
            except Refused as error:
                failed = {"Id": entry["Id"], "SenderFault": True, "Code": str(error)}
                answer["Failed"].append(failed)
        return answer

    async def GetQueueAttributes(self, request):
        queue = self._queue(request)
        hidden = sum(m.visible_at > time.time() for m in queue.messages)
        return {
            "Attributes": {
                "ApproximateNumberOfMessages": str(len(queue.messages) - hidden),
                "ApproximateNumberOfMessagesNotVisible": str(hidden),
            }
        }


def main():
    port, folder = int(sys.argv[1]), Path(sys.argv[2])
    service = Standin(folder / "queues")

    async def tell(_request):
        return web.json_response({"keys": service.keys})

    async def fail(request):
        service.failing |= await request.json()
        return web.Response()

    app = web.Application()
    app.add_routes(
        [web.get("/test/keys", tell), web.post("/test/fail", fail), web.post("/", service.handle)]
    )
    web.run_app(app, host="127.0.0.1", port=port, access_log=None, handle_signals=False)


if __name__ == "__main__":
    main()

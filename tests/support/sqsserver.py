"""A stand-in for AWS that tests start, on loopback, and AWS's own client to fill it."""

import functools
import itertools
import json
import urllib.request

import botocore.session
from botocore.config import Config
from standin import StandIn

REGION = "eu-west-1"
ENVIRONMENT = {
    "AWS_ACCESS_KEY_ID": "somebody",
    "AWS_SECRET_ACCESS_KEY": "never-to-be-shown",
    "AWS_EC2_METADATA_DISABLED": "true",
    "AWS_CONFIG_FILE": "/nonexistent",
    "AWS_SHARED_CREDENTIALS_FILE": "/nonexistent",
}
"""Who programs are that call it, and where they look for nothing."""


class SqsServer(StandIn):
    """The server, with one FIFO queue, until :meth:`stop`."""

    def __init__(self):
        super().__init__("sqsstandin.py")
        self._ids = itertools.count()
        self.clear()

    @property
    def endpoint(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def url(self):
        """Of the queue."""
        return f"{self.endpoint}/123456789012/commands.fifo"

    def make(self, name):
        """Makes a queue, an empty one if there was one; its URL."""
        self.client.create_queue(QueueName=name)
        return f"{self.endpoint}/123456789012/{name}"

    @functools.cached_property
    def client(self):
        """AWS's own client."""
        session = botocore.session.Session()
        session.set_credentials("a-test", "secret")
        config = Config(retries={"total_max_attempts": 3})
        return session.create_client(
            "sqs", region_name=REGION, endpoint_url=self.endpoint, config=config
        )

    def put(self, messages, *, url=None, group="g"):
        """Sends bodies, each with its string attributes, to one group if the queue has groups."""
        url = url or self.url
        entries = [self._entry(*message) for message in messages]
        if url.endswith(".fifo"):
            for entry in entries:
                entry |= {"MessageGroupId": group, "MessageDeduplicationId": entry["Id"]}
        for start in range(0, len(entries), 10):
            self.client.send_message_batch(QueueUrl=url, Entries=entries[start : start + 10])

    def _entry(self, body, attributes):
        given = {
            name: {"DataType": "String", "StringValue": value} for name, value in attributes.items()
        }
        return {"Id": str(next(self._ids)), "MessageBody": body, "MessageAttributes": given}

    def left(self, url=None):
        """Messages that are not deleted."""
        names = [f"ApproximateNumberOfMessages{kind}" for kind in ("", "NotVisible")]
        answer = self.client.get_queue_attributes(QueueUrl=url or self.url, AttributeNames=names)
        return sum(map(int, answer["Attributes"].values()))

    def clear(self):
        """Nothing is left, nothing is in somebody's hands."""
        self.kill()
        self.start()
        self.make("commands.fifo")

    def keys(self):
        """Access keys that requests were signed with since it started."""
        with urllib.request.urlopen(f"{self.endpoint}/test/keys") as answer:
            return set(json.loads(answer.read())["keys"])

    def fail(self, **operations):
        """The next calls of these operations fail, so many of each."""
        body = json.dumps(operations).encode()
        urllib.request.urlopen(f"{self.endpoint}/test/fail", body).close()

"""Queues of AWS SQS.

Needs the extra ``sqs``: aiobotocore is AWS's own botocore on asyncio. With boto3 each call that
waits, and most do, would hold a thread, which nothing can end.
"""

from flyball.server.consumers.sqs.client import SqsClient
from flyball.server.consumers.sqs.consumer import SqsConsumer
from flyball.server.consumers.sqs.options import SqsOptions

__all__ = ["SqsClient", "SqsConsumer", "SqsOptions"]

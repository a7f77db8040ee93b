r"""A Celery task that publishes: its worker is another process than the node.

    PUBLISH_URL=http://localhost:8000/connection/api PUBLISH_KEY=secret \
        celery -A examples.celery_task worker

The node serves the API with ``flyball.run(node, api_key="secret")`` (or ``flyball.asgi.app``); the
API of a Flyball server is at ``http://localhost:8000/api``. Where nodes share a Redis or NATS,
``PUBLISH_URL=redis://localhost:6379`` does without either, and without a key.
"""

from __future__ import annotations

import os
from functools import lru_cache

from celery import Celery

import flyball

app = Celery("reports", broker=os.environ.get("BROKER", "memory://"))


@lru_cache(maxsize=1)
def publisher() -> flyball.Publisher:
    """One for each worker process, made when it is needed: connections are not to be forked."""
    url = os.environ.get("PUBLISH_URL", "http://localhost:8000/connection/api")
    return flyball.Publisher(url, key=os.environ.get("PUBLISH_KEY", ""))


@app.task(bind=True, autoretry_for=(flyball.PublishFailed,), retry_backoff=True, max_retries=5)
def build_report(self: object, user: str, month: str) -> int:
    """Does the work, then tells the user. A retry publishes once: it repeats the key."""
    pages = len(month) * 7
    result = publisher().publish(
        f"reports:{user}",
        {"month": month, "pages": pages},
        history_size=10,
        history_ttl=3600,
        idempotency_key=f"report:{user}:{month}",
    )
    return result.offset

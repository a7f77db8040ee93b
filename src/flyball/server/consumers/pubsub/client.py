"""The way to Pub/Sub: who we are there, and what went wrong."""

from __future__ import annotations

import asyncio
import os
from typing import TYPE_CHECKING, Any, Final

import google.auth
import grpc
from google.api_core.exceptions import GoogleAPICallError
from google.auth.exceptions import GoogleAuthError
from google.oauth2 import service_account
from google.pubsub_v1 import types
from google.pubsub_v1.services.subscriber import SubscriberAsyncClient
from google.pubsub_v1.services.subscriber.transports import SubscriberGrpcAsyncIOTransport

from flyball.core.errors import ConfigError
from flyball.server.consumers.errors import SourceError

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, AsyncIterator, Iterable

    from flyball.server.consumers.pubsub.options import PubSubOptions

SCOPES: Final = ("https://www.googleapis.com/auth/pubsub",)
"""What we may do with a token."""
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for an answer."""
LEASE: Final = 10
"""Seconds that a message is ours, unless we ask for more. What a stream that ends takes with it
comes again after them: it is the shortest time that the service knows."""
SIGN_OF_LIFE: Final = 30.0
"""Seconds between requests that keep a stream open."""
CHANNEL: Final = (
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 5_000),
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
)
"""A connection that is lost is made again soon, and one that is dead does not go unseen."""
EMULATOR: Final = "PUBSUB_EMULATOR_HOST"
"""Environment: host and port of an emulator, which is spoken to without TLS and credentials."""

_ERRORS: Final = (GoogleAPICallError, GoogleAuthError, grpc.RpcError, OSError, TimeoutError)
_GONE: Final = ("INVALID_ARGUMENT", "FAILED_PRECONDITION", "NOT_FOUND")
"""An answer that stays the same however often the same is asked."""


class GoneError(SourceError):
    """Messages are no longer ours: the service delivers them again."""


class PubSubClient:
    """Google's client, made when it is needed first; all loops share it.

    Args:
        options: where, and as whom.

    Raises:
        ConfigError: the key file cannot be used.
    """

    def __init__(self, options: PubSubOptions) -> None:
        self._options = options
        self._credentials: Any = _key(options.key_file) if options.key_file else None
        self._making = asyncio.Lock()
        self._transport: SubscriberGrpcAsyncIOTransport | None = None
        self._client: SubscriberAsyncClient | None = None

    def path(self, subscription: str) -> str:
        """The subscription's name with its project."""
        return f"projects/{self._options.project}/subscriptions/{subscription}"

    async def messages(self, path: str) -> AsyncGenerator[list[Any], None]:
        """What a subscription delivers, for as long as the stream lasts.

        Raises:
            SourceError: it ended, or did not begin.
        """
        try:
            client = await self._made()
            stream: Any = await client.streaming_pull(
                requests=self._requests(path),
                retry=None,  # the loops try again, and tell so
                metadata=(("x-goog-request-params", f"subscription={path}"),),
            )
            async for response in stream:
                yield list(types.StreamingPullResponse.pb(response).received_messages)
        except _ERRORS as error:
            raise _told(error) from None

    async def _requests(self, path: str) -> AsyncIterator[types.StreamingPullRequest]:
        yield types.StreamingPullRequest(
            subscription=path,
            stream_ack_deadline_seconds=LEASE,
            max_outstanding_messages=self._options.max_messages,
            max_outstanding_bytes=self._options.max_bytes,
        )
        while True:
            await asyncio.sleep(SIGN_OF_LIFE)
            yield types.StreamingPullRequest()

    async def acknowledge(self, path: str, ids: Iterable[str]) -> None:
        """Says that messages are done.

        Raises:
            GoneError: they are not ours any more.
            SourceError: that could not be said.
        """
        await self._call("acknowledge", subscription=path, ack_ids=list(ids))

    async def lease(self, path: str, ids: Iterable[str], seconds: int = LEASE) -> None:
        """Keeps messages for so long from now on; with 0 others have them at once.

        Raises:
            GoneError: they are not ours any more.
            SourceError: that could not be said.
        """
        ask = {"subscription": path, "ack_ids": list(ids), "ack_deadline_seconds": seconds}
        await self._call("modify_ack_deadline", **ask)

    async def close(self) -> None:
        """Ends its connection; the next call makes another one."""
        transport: Any = self._transport
        self._transport, self._client = None, None
        if transport is not None:
            await transport.close()

    async def _call(self, method: str, **what: Any) -> None:
        try:
            client = await self._made()
            await getattr(client, method)(**what, retry=None, timeout=ANSWER_TIMEOUT)
        except _ERRORS as error:
            raise _told(error) from None

    async def _made(self) -> SubscriberAsyncClient:
        async with self._making:
            if self._client is None:
                emulator = os.environ.get(EMULATOR)
                if emulator:
                    channel = grpc.aio.insecure_channel(emulator, options=CHANNEL)
                    self._transport = SubscriberGrpcAsyncIOTransport(channel=channel)
                else:
                    credentials = await self._who()
                    self._transport = SubscriberGrpcAsyncIOTransport(
                        credentials=credentials, channel=_channel
                    )
                self._client = SubscriberAsyncClient(transport=self._transport)
            return self._client

    async def _who(self) -> Any:
        if self._credentials is None:  # may ask files, programs and the cloud's own service
            self._credentials, _ = await asyncio.to_thread(google.auth.default, SCOPES)
        return self._credentials


def _channel(host: str, *, options: Iterable[tuple[str, int]] = (), **more: Any) -> Any:
    """A connection to the service itself."""
    kind: Any = SubscriberGrpcAsyncIOTransport
    return kind.create_channel(host, options=(*options, *CHANNEL), **more)


def _key(file: str) -> Any:
    try:
        kind: Any = service_account.Credentials
        return kind.from_service_account_file(file, scopes=SCOPES)
    except OSError as error:
        reason = error.strerror or type(error).__name__
    except (ValueError, GoogleAuthError):
        reason = "it is no key of a service account in JSON"  # what it says is a secret
    raise ConfigError(f"credentials_file: {file!r} cannot be used: {reason}")


def _told(error: Exception) -> SourceError:
    if isinstance(error, TimeoutError):
        return SourceError("Pub/Sub gives no answer in time")
    text = str(error).partition("\n")[0][:300] or type(error).__name__
    code = getattr(error, "grpc_status_code", None)
    return GoneError(text) if code is not None and code.name in _GONE else SourceError(text)

"""The way to SQS: who we are there, and what went wrong."""

from __future__ import annotations

import asyncio
import contextlib
import os
from typing import TYPE_CHECKING, Any, Final

import aiohttp
from aiobotocore.config import AioConfig
from aiobotocore.credentials import (
    AioAssumeRoleCredentialFetcher,
    AioCredentialResolver,
    AioDeferredRefreshableCredentials,
)
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError, NoCredentialsError

from flyball.core.errors import ConfigError
from flyball.server.consumers.errors import SourceError

if TYPE_CHECKING:
    from flyball.server.consumers.sqs.options import SqsOptions

CONNECT_TIMEOUT: Final = 5.0
"""Seconds for a connection."""
ANSWER_TIMEOUT: Final = 10.0
"""Seconds for an answer that SQS does not hold back."""
ROLE_SESSION: Final = "flyball"
"""Name of our sessions in a role, as AWS's logs show it."""

_ERRORS: Final = (BotoCoreError, ClientError, aiohttp.ClientError, OSError, TimeoutError)


class SqsClient:
    """AWS's client, made when it is needed first; loops share it.

    Args:
        options: where, and as whom.

    Raises:
        ConfigError: the profile is not there, or no region is known.
    """

    def __init__(self, options: SqsOptions) -> None:
        self._options = options
        self._making = asyncio.Lock()
        self._opened = contextlib.AsyncExitStack()
        self._client: Any = None
        self._session = AioSession(profile=options.profile or None)
        self._region = _region(self._session, options.region)
        if options.role:
            self._session = _in_role(self._session, options.role, self._place())

    async def call(self, operation: str, *, wait: float = 0.0, **parameters: Any) -> Any:
        """An answer of SQS.

        Args:
            operation: its name, such as ``receive_message``.
            wait: seconds that SQS may hold the answer back.
            parameters: of the operation.

        Raises:
            SourceError: there is none, or it is an error.
        """
        try:
            client = await self._made()
            async with asyncio.timeout(wait + ANSWER_TIMEOUT):
                return await getattr(client, operation)(**parameters)
        except NoCredentialsError:
            await self.close()  # it would never look for them again
            raise SourceError("there are no credentials for AWS") from None
        except _ERRORS as error:
            raise SourceError(_told(error)) from None

    async def close(self) -> None:
        """Ends its connections; the next call makes others."""
        opened, self._opened, self._client = self._opened, contextlib.AsyncExitStack(), None
        await opened.aclose()

    async def _made(self) -> Any:
        async with self._making:
            if self._client is None:
                made = self._session.create_client("sqs", config=self._config(), **self._place())
                self._client = await self._opened.enter_async_context(made)
            return self._client

    def _place(self) -> dict[str, str | None]:
        return {"region_name": self._region, "endpoint_url": self._options.endpoint or None}

    def _config(self) -> AioConfig:
        options = self._options
        return AioConfig(
            connect_timeout=CONNECT_TIMEOUT,
            read_timeout=options.wait_time + ANSWER_TIMEOUT,
            retries={"total_max_attempts": 1},  # the loops try again, and tell so
            max_pool_connections=len(options.queues) * options.concurrency + 1,
        )


def _region(session: AioSession, given: str) -> str:
    """The region, which the environment or the profile may say."""
    try:
        session.get_scoped_config()  # is there no such profile, then this tells it
        found = given or os.environ.get("AWS_REGION") or session.get_config_variable("region")
    except BotoCoreError as error:  # there is no such profile, or its file cannot be read
        raise ConfigError(f"credentials_profile: {error}") from None
    if not found:
        raise ConfigError("region is empty, and neither AWS_REGION nor the profile names one")
    return str(found)


def _in_role(session: AioSession, role: str, place: dict[str, str | None]) -> AioSession:
    """A session whose credentials are those of a role, which the other session assumes."""
    assumed = AioSession()
    provider = _Role(session, role, place)
    assumed.register_component("credential_provider", AioCredentialResolver([provider]))
    return assumed


class _Role:
    """Gives credentials of a role: AWS's client asks it for them, and again before they end."""

    METHOD = "assume-role"
    CANONICAL_NAME = None

    def __init__(self, session: AioSession, role: str, place: dict[str, str | None]) -> None:
        self._session, self._role, self._place = session, role, place

    async def load(self) -> Any:
        own = await self._session.get_credentials()
        if own is None:
            raise NoCredentialsError
        fetcher = AioAssumeRoleCredentialFetcher(
            self._security_token_service, own, self._role, {"RoleSessionName": ROLE_SESSION}
        )
        return AioDeferredRefreshableCredentials(fetcher.fetch_credentials, self.METHOD)

    def _security_token_service(self, service: str, **keys: Any) -> Any:
        return self._session.create_client(service, **self._place, **keys)


def _told(error: Exception) -> str:
    """For the log. Of a signature that is wrong AWS tells, in further lines, all that was signed."""
    if isinstance(error, TimeoutError) and not isinstance(error, BotoCoreError):
        return "SQS gives no answer in time"
    return str(error).partition("\n")[0][:300] or type(error).__name__

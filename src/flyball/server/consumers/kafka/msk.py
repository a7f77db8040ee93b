"""Tokens for Amazon MSK: signed requests, made of credentials of AWS.

Needs the extra ``kafka-msk``.
"""

from __future__ import annotations

import asyncio
import os
import time
from typing import TYPE_CHECKING, Any, Final

from aiokafka.abc import AbstractTokenProvider
from aws_msk_iam_sasl_signer.MSKAuthTokenProvider import (
    generate_auth_token_from_credentials_provider,
)
from botocore.credentials import CredentialProvider, Credentials
from botocore.exceptions import BotoCoreError
from botocore.session import get_session

from flyball.core.errors import ConfigError

if TYPE_CHECKING:
    from flyball.server.consumers.kafka.options import Sasl

MARGIN: Final = 60.0
"""Seconds before its end in which a token is not given out any more."""
ROLE_SESSION: Final = "flyball"
"""What the use of a role is called in AWS's records."""


class MskTokens(AbstractTokenProvider):  # type: ignore[misc]
    """Gives a token for each connection; one is good for some minutes.

    Args:
        region: of the brokers; empty takes that of AWS's own settings.
        sasl: whose credentials; without a user those of AWS's usual places: environment, files,
            the machine's role.

    Raises:
        ConfigError: AWS's own settings cannot be read.
    """

    def __init__(self, region: str, sasl: Sasl) -> None:
        self._session: Any = get_session()
        if sasl.user:
            self._session.set_credentials(sasl.user, sasl.password)
        # The library itself knows AWS_DEFAULT_REGION and its files.
        region = region or os.environ.get("AWS_REGION", "")
        try:
            self.region: str = region or self._session.get_config_variable("region") or ""
        except BotoCoreError as error:
            raise ConfigError(f"sasl_mechanism: the settings of AWS: {error}") from None
        """Where the brokers are; empty: nobody says."""
        self._role = sasl.role
        self._token = ""
        self._end = 0.0

    async def token(self) -> str:
        """A token that is good for a while; finding credentials may take some calls to AWS."""
        if time.time() > self._end - MARGIN:
            self._token, end = await asyncio.to_thread(self._sign)
            self._end = end / 1000
        return self._token

    def _sign(self) -> tuple[str, float]:
        credentials = _Given(self._credentials())
        found: tuple[str, float] = generate_auth_token_from_credentials_provider(
            self.region, credentials
        )
        return found

    def _credentials(self) -> Any:
        if self._role:
            sts = self._session.create_client("sts", region_name=self.region)
            assumed = sts.assume_role(RoleArn=self._role, RoleSessionName=ROLE_SESSION)
            given = assumed["Credentials"]
            return Credentials(
                given["AccessKeyId"], given["SecretAccessKey"], given["SessionToken"]
            )
        found = self._session.get_credentials()
        if found is None:
            raise ValueError("AWS has no credentials: set sasl_user and sasl_password, or a role")
        return found


class _Given(CredentialProvider):  # type: ignore[misc]
    """Credentials that are there, as the signer wants them."""

    def __init__(self, credentials: Any) -> None:
        super().__init__()
        self._credentials = credentials

    def load(self) -> Any:
        """Gives them out."""
        return self._credentials

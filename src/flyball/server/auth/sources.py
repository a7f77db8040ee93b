"""Whose tokens are accepted, and for whom they have to be."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from flyball.server.auth.errors import InvalidToken
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from flyball.server.auth.claims import CommonClaims
    from flyball.server.auth.options import TokenOptions
    from flyball.server.common.patterns import Pattern

MAX_SOURCE_LENGTH: Final = 4096
"""Characters of ``iss``, and of all of ``aud``, where they are looked at."""


class SourceCheck:
    """What ``options`` demand of issuer and audience.

    Args:
        options: names or patterns.

    Raises:
        ConfigError: a pattern is malformed; names the option.
    """

    __slots__ = ("_audience", "_audience_regex", "_issuer", "_issuer_regex", "demands")

    def __init__(self, options: TokenOptions) -> None:
        self._issuer = options.issuer
        self._audience = options.audience
        self._issuer_regex = _pattern(options.issuer_regex, "issuer_regex")
        self._audience_regex = _pattern(options.audience_regex, "audience_regex")
        self.demands: Final = bool(
            self._issuer or self._audience or self._issuer_regex or self._audience_regex
        )
        """Whether anything is demanded."""

    def check_names(self, claims: CommonClaims) -> None:
        """Compares: done first, so that no keys are fetched for strangers' tokens.

        Raises:
            InvalidToken: the token is of or for somebody else.
        """
        issuer, audiences = claims.iss, claims.audiences
        if self._issuer and issuer != self._issuer:
            message = "it is of another issuer (iss)"
            raise InvalidToken(message)
        if self._audience and self._audience not in audiences:
            message = "it is for another audience (aud)"
            raise InvalidToken(message)
        # Patterns, that of a key set's address too, are tried on no longer texts.
        if len(issuer) > MAX_SOURCE_LENGTH or sum(map(len, audiences)) > MAX_SOURCE_LENGTH:
            message = f"its issuer or audience is longer than {MAX_SOURCE_LENGTH} characters"
            raise InvalidToken(message)

    def check_patterns(self, claims: CommonClaims) -> None:
        """Matches, which costs more: done after the signature, strangers pay nothing into it.

        Raises:
            InvalidToken: the token is of or for somebody else.
        """
        if self._issuer_regex is not None and not self._issuer_regex.search(claims.iss):
            message = "its issuer (iss) does not match issuer_regex"
            raise InvalidToken(message)
        if self._audience_regex is not None and not any(
            map(self._audience_regex.search, claims.audiences)
        ):
            message = "its audience (aud) does not match audience_regex"
            raise InvalidToken(message)


def _pattern(source: str, option: str) -> Pattern | None:
    return compile_pattern(source, option) if source else None

"""The URL of a key set, perhaps with parts that come from the (unverified) token.

A token must not be able to lead us anywhere: a part may only be one of the literals that the
operator's pattern lists, unless the operator switched this check off. Even then the parts can
never change the host's frame, leave the path or add a query.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flyball.core.errors import ConfigError
from flyball.server.auth.checks import PLACEHOLDER, template_problem
from flyball.server.auth.errors import InvalidToken
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

_HOST_VALUE: Final = re.compile(r"[A-Za-z0-9-]+(?:\.[A-Za-z0-9-]+)*")
_PATH_VALUE: Final = re.compile(r"[A-Za-z0-9._~:/-]+")


class EndpointTemplate:
    """``jwks_public_endpoint``.

    Raises:
        ConfigError: it is no http(s) URL, or a token could choose where it leads.
    """

    def __init__(
        self, template: str, *, issuer_regex: str, audience_regex: str, safe: bool
    ) -> None:
        self._template = template
        self._names = frozenset(PLACEHOLDER.findall(template))
        self._patterns = [
            (kind, compile_pattern(regex, f"{kind}_regex"))
            for kind, regex in (("issuer", issuer_regex), ("audience", audience_regex))
            if regex
        ]
        problem = template_problem(template, issuer_regex, audience_regex, safe=safe)
        if problem:
            raise ConfigError(f"jwks_public_endpoint: {problem}")
        self._path_at = template.find("/", template.index("://") + 3) % (len(template) + 1)

    @property
    def is_fixed(self) -> bool:
        """Whether it is the same for all tokens."""
        return not self._names

    def url(self, issuer: str, audiences: Iterable[str]) -> str:
        """Where the key set for a token with these claims is.

        Raises:
            InvalidToken: the claims do not match from start to end, or lead to an unclean
                address.
        """
        if self.is_fixed:
            return self._template
        values: dict[str, str] = {}
        for kind, pattern in self._patterns:
            for claim in (issuer,) if kind == "issuer" else audiences:
                groups = pattern.groups(claim)
                if groups is not None:
                    values |= groups
                    break
        if not self._names <= values.keys():
            message = "issuer or audience do not say where its keys are"
            raise InvalidToken(message)
        url = PLACEHOLDER.sub(lambda match: self._part(match, values), self._template)
        path = urlsplit(url).path
        if "//" in path or not {".", ".."}.isdisjoint(path.split("/")):
            raise InvalidToken(_UNCLEAN)
        return url

    def _part(self, match: re.Match[str], values: dict[str, str]) -> str:
        value = values[match[1]]
        allowed = _HOST_VALUE if match.start() < self._path_at else _PATH_VALUE
        if allowed.fullmatch(value) is None:
            raise InvalidToken(_UNCLEAN)
        return value


_UNCLEAN: Final = "issuer or audience lead to an unclean address"

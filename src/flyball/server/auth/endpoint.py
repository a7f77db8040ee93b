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
from flyball.server.auth.jose import InvalidToken
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_FLAT_GROUP: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>([^()]*)\)")
_GROUP_START: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9_\-/:@ ~]|\\[^A-Za-z0-9])+")
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
        self._names = frozenset(_PLACEHOLDER.findall(template))
        self._patterns = [
            (kind, compile_pattern(regex, f"{kind}_regex"))
            for kind, regex in (("issuer", issuer_regex), ("audience", audience_regex))
            if regex
        ]
        problem = template_problem(
            template, issuer_regex=issuer_regex, audience_regex=audience_regex, safe=safe
        )
        if problem:
            raise ConfigError(f"jwks_public_endpoint: {problem}")
        self._path_at = template.find("/", template.index("://") + 3) % (len(template) + 1)

    def url(self, issuer: str, audiences: Iterable[str]) -> str:
        """Where the key set for a token with these claims is.

        Raises:
            InvalidToken: the claims do not match from start to end, or lead to an unclean
                address.
        """
        if not self._names:
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
        url = _PLACEHOLDER.sub(lambda match: self._part(match, values), self._template)
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


def template_problem(template: str, *, issuer_regex: str, audience_regex: str, safe: bool) -> str:
    """What keeps a ``jwks_public_endpoint`` from being used, to be said after its name; or empty.

    Args:
        template: the URL, perhaps with placeholders.
        issuer_regex: pattern whose groups may fill them.
        audience_regex: another one.
        safe: whether a token may lead only to places that the operator listed.
    """
    if not _is_url(_PLACEHOLDER.sub("x", template)):
        return "an http or https URL is needed, with placeholders only of the form {{group}}"
    patterns = (issuer_regex, audience_regex)
    for name in dict.fromkeys(_PLACEHOLDER.findall(template)):
        if not any(name in _GROUP_START.findall(pattern) for pattern in patterns):
            return f"{{{{{name}}}}} needs a group (?P<{name}>...) in issuer_regex or audience_regex"
        if safe and not all(_lists_literals(name, pattern) for pattern in patterns):
            return (
                f"the group {name} must be a list of fixed words such as (?P<{name}>one|two),"
                " because tokens that are not verified yet fill it in; list the words, or set"
                " insecure_skip_jwks_endpoint_safety_check"
            )
    return ""


def _lists_literals(name: str, pattern: str) -> bool:
    """Whether all groups of this name in ``pattern`` are lists of literals."""
    groups = [body for found, body in _FLAT_GROUP.findall(pattern) if found == name]
    if len(groups) != _GROUP_START.findall(pattern).count(name):
        return False
    return all(_LITERAL.fullmatch(part) for body in groups for part in body.split("|"))


def _is_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return False
    return parts.scheme in ("http", "https") and bool(parts.hostname) and "{{" not in url

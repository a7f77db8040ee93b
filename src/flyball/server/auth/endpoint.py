"""The URL of a key set, perhaps with parts that come from the (unverified) token.

A token must not be able to lead us anywhere: a part may only be one of the literals that the
operator's pattern lists, unless the operator switched this check off.
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

from flyball.core.errors import ConfigError
from flyball.server.auth.jose import InvalidToken
from flyball.server.channels.re2 import compile_re2

if TYPE_CHECKING:
    from collections.abc import Iterable

_PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
_GROUP: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>([^()]*)\)")
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9_~%-]|\\[.\-_~])+")


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
            (kind, compile_re2(regex, f"{kind}_regex"))
            for kind, regex in (("issuer", issuer_regex), ("audience", audience_regex))
            if regex
        ]
        _check_url(_PLACEHOLDER.sub("x", template))
        if not self._names:
            return
        groups = dict(_GROUP.findall(issuer_regex)) | dict(_GROUP.findall(audience_regex))
        known = {name for _, pattern in self._patterns for name in pattern.groupindex}
        for name in sorted(self._names):
            if name not in known:
                message = (
                    f"jwks_public_endpoint: there is no group {name!r} in issuer_regex or "
                    "audience_regex to fill {{" + name + "}}"
                )
                raise ConfigError(message)
            if safe and not _is_alternation(groups.get(name, "")):
                message = (
                    f"jwks_public_endpoint: group {name!r} must list its values, as in "
                    f"(?P<{name}>a|b), so that a token cannot choose another place; "
                    "insecure_skip_jwks_endpoint_safety_check switches this check off"
                )
                raise ConfigError(message)

    def url(self, issuer: str | None, audience: str | list[str] | None) -> str:
        """Where the key set for a token with these claims is.

        Raises:
            InvalidToken: the claims do not match, or lead to an unclean path.
        """
        if not self._names:
            return self._template
        values: dict[str, str] = {}
        for kind, pattern in self._patterns:
            for claim in _claims(issuer if kind == "issuer" else audience):
                match = pattern.fullmatch(claim) or pattern.search(claim)
                if match is not None:
                    values |= {k: v for k, v in match.groupdict().items() if v is not None}
                    break
        if not self._names <= values.keys():
            message = "issuer or audience do not say where its keys are"
            raise InvalidToken(message)
        url = _PLACEHOLDER.sub(lambda m: values[m[1]], self._template)
        parts = urlsplit(url)
        if (
            parts.netloc.count("@") > self._template.count("@")
            or posixpath.normpath(parts.path or "/") != (parts.path.rstrip("/") or "/")
            or any(c in url for c in "\\\r\n\t ")
        ):
            message = "issuer or audience lead to an unclean address"
            raise InvalidToken(message)
        return url


def _claims(value: str | list[str] | None) -> Iterable[str]:
    if value is None:
        return ()
    return (value,) if isinstance(value, str) else value


def _is_alternation(group: str) -> bool:
    return bool(group) and all(_LITERAL.fullmatch(part) for part in group.split("|"))


def _check_url(url: str) -> None:
    try:
        parts = urlsplit(url)
        ok = parts.scheme in ("http", "https") and bool(parts.hostname)
        _ = parts.port
    except ValueError:
        ok = False
    if not ok:
        message = "jwks_public_endpoint: an http or https URL is needed"
        raise ConfigError(message)

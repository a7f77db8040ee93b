"""What token options may be: asked when a configuration is checked, and by the verifier."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Final, Literal
from urllib.parse import urlsplit

from flyball.core.errors import ConfigError
from flyball.server.common.patterns import compile_pattern

if TYPE_CHECKING:
    from collections.abc import Iterator

    from flyball.server.auth.options import TokenOptions

__all__ = [
    "PLACEHOLDER",
    "claim_problems",
    "key_problems",
    "source_problems",
    "template_problem",
]

PLACEHOLDER: Final = re.compile(r"\{\{\s*([A-Za-z_][A-Za-z0-9_]*)\s*\}\}")
"""A part of a ``jwks_public_endpoint`` that a group of a pattern fills in."""

_CLAIM_NAME: Final = re.compile(r"[a-zA-Z_]+")
_FLAT_GROUP: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>([^()]*)\)")
_GROUP_START: Final = re.compile(r"\(\?P?<([A-Za-z_][A-Za-z0-9_]*)>")
_LITERAL: Final = re.compile(r"(?:[A-Za-z0-9_\-/:@ ~]|\\[^A-Za-z0-9])+")


def claim_problems(options: TokenOptions) -> Iterator[tuple[str, str]]:
    """Yields the option that names a claim, and what is wrong with it."""
    claim = options.user_id_claim
    if claim and not _CLAIM_NAME.fullmatch(claim):
        text = f'"{claim}" is not allowed; use letters and _ only, or leave it empty for sub'
        yield "user_id_claim", text


def key_problems(options: TokenOptions) -> Iterator[tuple[str, str]]:
    """Yields options that hold keys, and what is wrong with each."""
    from flyball.server.auth.keys import pem_key

    kinds: tuple[tuple[str, Literal["RSA", "EC"]], ...] = (
        ("rsa_public_key", "RSA"),
        ("ecdsa_public_key", "EC"),
    )
    for option, kind in kinds:
        pem: str = getattr(options, option)
        try:
            if pem:
                pem_key(pem, option, kind)
        except ConfigError as error:
            yield option, str(error).removeprefix(f"{option}: ")


def source_problems(options: TokenOptions) -> Iterator[tuple[str, str]]:
    """Yields options about where tokens come from, and what is wrong with each."""
    for name in ("issuer", "audience"):
        option = f"{name}_regex"
        pattern: str = getattr(options, option)
        if getattr(options, name) and pattern:
            yield option, f"cannot be used together with {name}; remove one of them"
        try:
            compile_pattern(pattern, option)
        except ConfigError as error:
            yield option, str(error).removeprefix(f"{option}: ")
            return
    if options.jwks_public_endpoint:
        problem = template_problem(
            options.jwks_public_endpoint,
            options.issuer_regex,
            options.audience_regex,
            safe=not options.insecure_skip_jwks_endpoint_safety_check,
        )
        if problem:
            yield "jwks_public_endpoint", problem


def template_problem(template: str, issuer_regex: str, audience_regex: str, *, safe: bool) -> str:
    """What keeps a ``jwks_public_endpoint`` from being used, to be said after its name; or empty.

    Args:
        template: the URL, perhaps with placeholders.
        issuer_regex: pattern whose groups may fill them.
        audience_regex: another one.
        safe: whether a token may lead only to places that the operator listed.
    """
    if not _is_url(PLACEHOLDER.sub("x", template)):
        return "an http or https URL is needed, with placeholders only of the form {{group}}"
    patterns = (issuer_regex, audience_regex)
    for name in dict.fromkeys(PLACEHOLDER.findall(template)):
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

"""Which web pages may connect: the Origin header against a list of globs."""

from __future__ import annotations

import logging
import re
from typing import TYPE_CHECKING, Any, Final

import re2

from flyball.core.errors import ConfigError
from flyball.http.head import is_safe_value

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

logger: Final = logging.getLogger("flyball.transports")


class OriginPolicy:
    r"""Allowed origins as globs, matched against the whole Origin in lower case.

    ``*`` is any run of characters and ``?`` one character, dots included; ``[ab]``,
    ``[!ab]``, ``{one,two}`` and ``\`` work as in shells. A request without an Origin comes
    from no web page and is always allowed; an empty list allows nothing else.
    """

    __slots__ = ("_allowed", "_allows_all", "_level", "_match", "_why")

    def __init__(
        self,
        patterns: Iterable[str] = (),
        *,
        why: str = "not in client.allowed_origins",
        level: int = logging.INFO,
    ) -> None:
        """Remembers what is allowed.

        Args:
            patterns: the globs.
            why: what the log is told of an origin that is refused.
            level: at which level.

        Raises:
            ConfigError: a glob is malformed; it is named.
        """
        patterns = tuple(patterns)
        self._why = why
        self._level = level
        self._allows_all = "*" in patterns
        alternatives = "|".join(origin_regex(p) for p in patterns)
        self._match = _compile(alternatives).fullmatch if patterns else None
        # Sites have few origins: answers are remembered, up to a bound.
        self._allowed: dict[str, bool] = {}

    def allows(self, origin: str | None) -> bool:
        """Whether a request with this Origin header (None or empty: without) is allowed."""
        if not origin or self._allows_all:
            return True
        known = self._allowed.get(origin)
        if known is None:
            known = self._match is not None and self._match(_bytes(origin.lower())) is not None
            if len(self._allowed) < 1024 and len(origin) < 256:
                self._allowed[origin] = known
                if not known:
                    # Once, and not without end: strangers choose what they send.
                    logger.log(self._level, "pages of %r may not connect: %s", origin, self._why)
        return known


def cors_headers(origins: OriginPolicy, headers: Mapping[str, str]) -> list[tuple[str, str]]:
    """Headers that let an allowed page read the answer; none for other pages.

    HTTP requests are served either way: it is the browser that keeps the answer from the page.
    ``headers`` are the request's, with lower-case names.
    """
    origin = headers.get("origin", "")
    if not origins.allows(origin) or not is_safe_value(origin):
        return []
    found = [("Access-Control-Allow-Credentials", "true")]
    wanted = headers.get("access-control-request-headers", "")
    if wanted and is_safe_value(wanted):
        found.append(("Access-Control-Allow-Headers", wanted))
    found.append(("Access-Control-Allow-Origin", origin))
    return found


def origin_regex(pattern: str) -> str:
    """The source of a pattern for the whole Origin, in lower case.

    Raises:
        ConfigError: ``pattern`` is malformed, or can match no origin at all: browsers send a
            scheme, a host and perhaps a port (RFC 6454), and nothing behind them.
    """
    scheme, mark, rest = pattern.partition("//")
    host = (rest if mark else pattern).split("/")[0].strip()
    if not host:
        advice = "write 'https://' and the host"
    elif (not mark and pattern != "null" and not _WILD.search(pattern)) or (
        mark and len(scheme) < 2 and not _WILD.search(scheme)
    ):
        advice = f"origins have a scheme: write 'https://{host}'"
    elif host != (rest if mark else pattern):
        advice = f"origins have no path: write {f'{scheme}{mark}{host}'!r}"
    else:
        return glob_to_regex(pattern.lower())
    raise ConfigError(f"allowed origin {pattern!r} matches no web page: {advice}")


_WILD: Final = re.compile(r"[*?\[{]")


# Not the globs of channels (``core/glob.py``), which follow the original's to its oddities: there
# a class has one range, and an open brace ends with the glob. Here what is malformed is refused.
def glob_to_regex(glob: str) -> str:
    r"""A glob as the source of a pattern (RE2 syntax) for the whole text.

    Raises:
        ConfigError: brackets or braces do not match, or ``\`` stands at the end.
    """
    out = []
    braces = 0
    i = 0
    while i < len(glob):
        char = glob[i]
        i += 1
        if char == "*":
            out.append(".*")
        elif char == "?":
            out.append(".")
        elif char == "[":
            end = glob.find("]", i + 1)
            if end < 0:
                raise ConfigError(f"allowed origin {glob!r}: '[' without ']'")
            out.append(_character_class(glob[i:end]))
            i = end + 1
        elif char == "{":
            braces += 1
            out.append("(?:")
        elif char == "}" and braces:
            braces -= 1
            out.append(")")
        elif char == "," and braces:
            out.append("|")
        elif char == "\\":
            if i == len(glob):
                raise ConfigError(f"allowed origin {glob!r}: nothing follows the last '\\'")
            out.append(re.escape(glob[i]))
            i += 1
        else:
            out.append(re.escape(char))
    if braces:
        raise ConfigError(f"allowed origin {glob!r}: '{{' without '}}'")
    return f"(?:{''.join(out)})"


def _character_class(inside: str) -> str:
    negated = inside[:1] in ("!", "^")
    members = re.sub(r"([\\\[\]^&~|])", r"\\\1", inside[1:] if negated else inside)
    source = f"[{'^' if negated else ''}{members}]"
    try:
        _compile(source)
    except re2.error as error:
        reason = error.args[0].decode("utf-8", "replace")
        raise ConfigError(f"allowed origin: bad character class [{inside}]: {reason}") from None
    return source


def _compile(source: str) -> Any:
    """RE2's pattern of bytes: globs with many ``*`` take linear time, whatever strangers send."""
    options = re2.Options()
    options.dot_nl = True
    options.log_errors = False
    return re2.compile(_bytes(source), options)


def _bytes(text: str) -> bytes:
    return text.encode("utf-8", "surrogatepass")

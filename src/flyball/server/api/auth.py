"""The API key: where a request carries it, and whether it is right."""

from __future__ import annotations

from collections.abc import Mapping
from hmac import compare_digest
from urllib.parse import parse_qsl


class ApiKeyCheck:
    """Tells whether a request carries the API key.

    The key is taken from ``X-API-Key`` or, without that header, from ``Authorization:
    apikey KEY``; if that one is wrong or absent, ``api_key`` in the query may be right.
    Without a key configured nobody gets in.
    """

    __slots__ = ("_key",)

    def __init__(self, key: str) -> None:
        self._key = key.encode()

    def __call__(self, headers: Mapping[str, str], query: str) -> bool:
        """``headers`` have lower-case names, ``query`` is what follows the ``?``."""
        if not self._key:
            return False
        given = headers.get("x-api-key")
        if given:
            if self._matches(given):
                return True
        else:
            scheme_and_key = headers.get("authorization", "").split()
            if (
                len(scheme_and_key) == 2
                and scheme_and_key[0].lower() == "apikey"
                and self._matches(scheme_and_key[1])
            ):
                return True
        return bool(query) and self._in_query(query)

    def why(self, headers: Mapping[str, str], query: str) -> str:
        """Why a request is refused, without the key."""
        if not self._key:
            return "no API key is configured (http_api.key)"
        if "x-api-key" in headers or "authorization" in headers or "api_key=" in query:
            return "a wrong API key"
        return "no API key: it goes into the header X-API-Key"

    def _matches(self, given: str) -> bool:
        # Header values hold one character for each byte received; others cannot match.
        return compare_digest(given.encode("latin-1", "backslashreplace"), self._key)

    def _in_query(self, query: str) -> bool:
        pairs = parse_qsl(query, keep_blank_values=True, errors="surrogateescape")
        given = next((value for name, value in pairs if name == "api_key"), "")
        # Escaped bytes become surrogates above, and bytes again here.
        return compare_digest(given.encode("utf-8", "surrogateescape"), self._key)

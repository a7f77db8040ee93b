"""Who may use the page: sign in, sign out, and what every other request has to carry."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Final
from urllib.parse import parse_qsl

import msgspec
import structlog

from flyball.http.messages import Response, empty, plain_error
from flyball.server.admin.attempts import Attempts
from flyball.server.admin.tokens import AdminTokens, same_text
from flyball.server.http.pages import PAGE_HEADERS

if TYPE_CHECKING:
    from flyball.aio.clock import Clock
    from flyball.http.messages import RequestHead
    from flyball.server.admin.options import AdminOptions

__all__ = ["ANSWER_HEADERS", "Guard"]

logger: structlog.stdlib.BoundLogger = structlog.get_logger("flyball.server.admin")

ANSWER_HEADERS: Final = (*PAGE_HEADERS, ("Cache-Control", "no-store"))
_WRONG: Final = plain_error(400, headers=ANSWER_HEADERS)
_UNAUTHORIZED: Final = empty(401, ANSWER_HEADERS)
_ELSEWHERE: Final = plain_error(403, "this request comes from another site", ANSWER_HEADERS)
_SCHEME: Final = "token"


class Guard:
    """Lets operators in.

    Args:
        options: password and secret.
        clock: tells how old sessions are, and paces attempts.
    """

    def __init__(self, options: AdminOptions, clock: Clock) -> None:
        self._options = options
        self._attempts = Attempts(clock)
        self.tokens: AdminTokens = AdminTokens(options.secret, clock)

    def admit(self, head: RequestHead) -> Response | None:
        """Refuses whoever has not signed in, and pages of other sites; asked before any body."""
        if not from_here(head):
            return _ELSEWHERE
        return None if self.is_operator(head) else _UNAUTHORIZED

    def is_operator(self, head: RequestHead) -> bool:
        """Whether the request carries a token of a session, or needs none."""
        return self._options.insecure or self.tokens.is_valid(token_of(head))

    def sign_in(self, head: RequestHead, body: bytes, address: str) -> Response:
        """A token for the right password (a form's field); 429 after too many wrong ones."""
        if not from_here(head):
            return _ELSEWHERE
        options = self._options
        if options.insecure:
            return answer({"token": "insecure"})
        wait = self._attempts.take(address)
        if wait:
            seconds = math.ceil(wait)
            logger.warning(
                "admin sign-in refused: too many attempts", address=address, retry_after=seconds
            )
            headers = (*ANSWER_HEADERS, ("Retry-After", str(seconds)))
            return plain_error(429, headers=headers)
        if not (options.password and options.secret and self._is_right(body)):
            logger.warning("admin sign-in refused: wrong password", address=address)
            return _WRONG
        self._attempts.succeeded(address)
        logger.info("admin signed in", address=address)
        return answer({"token": self.tokens.make()})

    def _is_right(self, body: bytes) -> bool:
        fields = parse_qsl(
            body.decode("utf-8", "replace"), keep_blank_values=True, max_num_fields=16
        )
        given = next((value for name, value in fields if name == "password"), "")
        return same_text(given, self._options.password)


def from_here(head: RequestHead) -> bool:
    """Whether a request comes from no page of another site.

    A page elsewhere could use a server that asks for no password, from its visitor's machine.
    """
    site = head.headers.get("sec-fetch-site", "same-origin")
    origin = head.headers.get("origin", "")
    host = head.headers.get("host", "")
    if site not in ("same-origin", "none"):
        return False
    return not origin or origin.partition("://")[2].lower() == host.lower()


def token_of(head: RequestHead) -> str:
    """The token of ``Authorization: token T``."""
    scheme, _, token = head.headers.get("authorization", "").partition(" ")
    return token.strip() if scheme.lower() == _SCHEME else ""


def answer(value: object, status: int = 200) -> Response:
    """``value`` as JSON."""
    return Response(msgspec.json.encode(value), status, headers=ANSWER_HEADERS)

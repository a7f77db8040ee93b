"""Sessions of operators: signed tokens."""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
from collections import OrderedDict
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from flyball.aio.clock import Clock

__all__ = ["TOKEN_TTL", "AdminTokens", "same_text"]

TOKEN_TTL: Final = 30 * 24 * 3600
"""Seconds that a session lasts."""
MAX_TOKEN: Final = 512
"""Characters; ours have about 100."""
MAX_ENDED: Final = 4096
"""Ended sessions that are remembered; the oldest are forgotten first."""
_NAME: Final = b"token"
_VALUE: Final = base64.urlsafe_b64encode(b"\x0d\x0c\x00\x0aauthorized")
"""What a token says: the text in the form that the original's nodes write and read."""


def same_text(given: str, expected: str) -> bool:
    """Whether two texts are equal, in a time that tells neither where they differ nor lengths."""
    sums = [hashlib.sha256(text.encode("utf-8", "surrogatepass")) for text in (given, expected)]
    return hmac.compare_digest(sums[0].digest(), sums[1].digest())


class AdminTokens:
    """Makes and checks the tokens of sessions: ``time|value|HMAC-SHA256``, in base64url.

    Args:
        secret: signs them; without one no token is right.
        clock: tells how old they are.
    """

    def __init__(self, secret: str, clock: Clock) -> None:
        self._secret = secret.encode()
        self._clock = clock
        self._ended: OrderedDict[bytes, None] = OrderedDict()

    def make(self) -> str:
        """A token for a session that begins now."""
        made = int(self._clock.time())
        while True:
            signed = b"%d|%s" % (made, _VALUE)
            mac = self._mac(signed)
            if mac not in self._ended:
                return base64.urlsafe_b64encode(signed + b"|" + mac).decode()
            made -= 1  # sessions of the same second have the same token, and one of them ended

    def is_valid(self, token: str) -> bool:
        """Whether a token is ours, and its session lasts."""
        mac = self._checked(token)
        return mac is not None and mac not in self._ended

    def end(self, token: str) -> bytes | None:
        """Ends the session of a token on this node.

        Returns:
            What :meth:`forget` of other nodes takes; None if the token is not valid.
        """
        mac = self._checked(token)
        if mac is not None:
            self.forget(mac)
        return mac

    def forget(self, mac: bytes) -> None:
        """Ends the session whose token has this signature."""
        self._ended[mac] = None
        if len(self._ended) > MAX_ENDED:
            self._ended.popitem(last=False)

    def _mac(self, signed: bytes) -> bytes:
        return hmac.digest(self._secret, _NAME + b"|" + signed, "sha256")

    def _checked(self, token: str) -> bytes | None:
        """The signature of a token that is ours and not too old."""
        if not self._secret or len(token) > MAX_TOKEN:
            return None
        try:
            whole = base64.b64decode(token.encode("ascii"), b"-_", validate=True)
        except (binascii.Error, UnicodeEncodeError):
            return None
        # The signature may have any bytes: only the first two bars part something.
        parts = whole.split(b"|", 2)
        if len(parts) != 3:
            return None
        made, value, mac = parts
        if not hmac.compare_digest(self._mac(made + b"|" + value), mac):
            return None
        age = self._clock.time() - int(made)
        return mac if value == _VALUE and -60 <= age < TOKEN_TTL else None

"""Which of a client's offers of permessage-deflate is accepted (RFC 7692, section 7)."""

from __future__ import annotations

from typing import Final, NamedTuple

from flyball.transports.common.websocket.deflate import MAX_WINDOW_BITS

EXTENSION: Final = "permessage-deflate"
MAX_OFFERS: Final = 16
"""More of them are not looked at."""
WINDOW_BITS: Final = {str(bits): bits for bits in range(8, MAX_WINDOW_BITS + 1)}
"""Logarithms of window sizes, as they must be written."""
LEAST_BITS: Final = 9
"""Smallest window of the compressor: zlib uses 9 where 8 is asked for, and the client could not
read that."""


class Agreement(NamedTuple):
    """permessage-deflate as it was agreed on. No context is taken over in either direction."""

    window_bits: int
    """Of what we compress: 9 to 15; 0 where nothing is compressed."""
    answer: str
    """Value of ``Sec-WebSocket-Extensions`` in the answer; empty: the answer has none."""


UNCOMPRESSED: Final = Agreement(0, "")


def agree(header: str) -> Agreement | None:
    """The first offer in a ``Sec-WebSocket-Extensions`` header that we can keep, if there is one.

    An offer with a parameter that is unknown, there twice, or has a wrong value is declined
    (section 7.1), and so is one whose window we cannot keep to.
    """
    for offer in header.split(",", MAX_OFFERS)[:MAX_OFFERS]:
        name, *parameters = (part.strip() for part in offer.split(";"))
        if name.lower() == EXTENSION:
            given = _read(parameters)
            agreed = None if given is None else _keep(given)
            if agreed is not None:
                return agreed
    return None


def _read(parameters: list[str]) -> dict[str, str | None] | None:
    """Parameters by name, None as the value of one without; None if one of them is there twice."""
    found: dict[str, str | None] = {}
    for parameter in parameters:
        name, mark, value = parameter.partition("=")
        name, value = name.rstrip().lower(), value.lstrip()
        if name in found:
            return None
        if len(value) > 1 and value[0] == value[-1] == '"':
            value = value[1:-1]
        found[name] = value if mark else None
    return found


def _keep(given: dict[str, str | None]) -> Agreement | None:
    """The answer to an offer, None if it is declined."""
    answer = f"{EXTENSION}; server_no_context_takeover; client_no_context_takeover"
    bits = MAX_WINDOW_BITS
    for name, value in given.items():
        match name:
            case "server_no_context_takeover" | "client_no_context_takeover":
                if value is not None:
                    return None
            case "client_max_window_bits":  # a hint: we inflate whatever the client sends
                if value is not None and value not in WINDOW_BITS:
                    return None
            case "server_max_window_bits":
                bits = WINDOW_BITS.get(value or "", 0)
                if bits < LEAST_BITS:
                    return None
                answer += f"; server_max_window_bits={bits}"
            case _:
                return None
    return Agreement(bits, answer)

"""Answers of the server API that are always the same, as JSON."""

from __future__ import annotations

from typing import Final

from flyball.server.api.errors import API_ERRORS, ApiErrorCode
from flyball.server.api.messages import Error
from flyball.server.api.schema import API


def error_message(entry: ApiErrorCode) -> Error:
    """``entry`` as the message callers get."""
    return Error(entry.code, entry.message)


BARE_ERRORS: Final = {
    entry: API.json_writer.encode(error_message(entry)) for entry in API_ERRORS.values()
}
"""Each error as the body of transport error mode."""
ERROR_ANSWERS: Final = {entry: b'{"error":' + body + b"}" for entry, body in BARE_ERRORS.items()}
"""Each error as an answer."""
EMPTY_ANSWER: Final = b'{"result":{}}'
"""The answer of methods that tell nothing but success."""

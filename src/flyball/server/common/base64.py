"""Payloads in base64, as all who send them are read."""

from __future__ import annotations

from base64 import b64decode

from flyball.core.types import Raw, payload

__all__ = ["decode_payload"]


def decode_payload(text: str) -> Raw:
    """The payload that ``text`` stands for: the standard alphabet with padding.

    Line breaks are ignored, as Go's decoder does; anything else outside of the alphabet is an error.

    Raises:
        ValueError: it is no base64.
    """
    return payload(b64decode(text.replace("\n", "").replace("\r", ""), validate=True))

"""How far a stream was read, for a group that is gone and has to be made again."""

from __future__ import annotations

from typing import Final, TypeAlias

Id: TypeAlias = tuple[int, int]
"""An entry's id: milliseconds and a number."""

LAST_NUMBER: Final = 2**64 - 1
UNKNOWN: Final[Id] = (LAST_NUMBER, LAST_NUMBER)
"""Id of a last entry that may be any."""


def parsed(text: bytes | str) -> Id:
    """An id as Redis writes it."""
    milliseconds, _, number = (text if isinstance(text, str) else text.decode()).partition("-")
    return int(milliseconds), int(number or 0)


class Position:
    """Of one stream, shared by all loops that read it."""

    __slots__ = ("_in_hand", "_last")

    def __init__(self) -> None:
        self._last: Id | None = None
        self._in_hand: dict[Id, str] = {}

    def reached(self, text: bytes) -> None:
        """The group has read to there."""
        self._last = max(self._last or (0, 0), parsed(text))

    def take(self, text: bytes, consumer: str) -> None:
        """A consumer has an entry in hand."""
        self._in_hand[parsed(text)] = consumer

    def done(self, text: bytes) -> None:
        """An entry is done."""
        self._in_hand.pop(parsed(text), None)

    def forget(self, consumer: str) -> None:
        """A consumer has nothing in hand."""
        self._in_hand = {i: name for i, name in self._in_hand.items() if name != consumer}

    def start(self, last: Id | None) -> str:
        """Where a group begins that is made now.

        Args:
            last: id of the last entry of the stream that is there; None: there is none.
        """
        if self._last is None:
            return "$"
        if last is None or last < self._last:
            return "0"  # it is another stream: all in it is new
        milliseconds, number = min((*map(_before, self._in_hand), self._last))
        return f"{milliseconds}-{number}"


def _before(entry: Id) -> Id:
    milliseconds, number = entry
    return (milliseconds, number - 1) if number else (max(milliseconds - 1, 0), LAST_NUMBER)

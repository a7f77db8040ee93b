"""Rows of a stream as publications, joins and leaves, and back."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import msgspec
from msgspec import Raw

from flyball.core.errors import EngineRefusal
from flyball.core.types import NO_DATA, ClientInfo, Publication
from flyball.protocol import codes
from flyball.protocol.codec import UNREADABLE

if TYPE_CHECKING:
    from datetime import datetime

PUBLICATION, JOIN, LEAVE = 0, 1, 2
"""Kinds of rows."""
COLUMNS: Final = (
    "channel, channel_offset, epoch, kind, {data}, tags::text AS tags, client_id, user_id,"
    " {conn_info}, {chan_info}, {prev_data}, created_at, version, delta"
)
_Tags: Final = msgspec.json.Decoder(dict[str, str])
_Any: Final = msgspec.json.Decoder(Raw)
_NULL: Final = Raw(b"null")


class Payloads:
    """How payloads stand in the tables.

    Args:
        binary: as bytes; otherwise as JSONB, which keeps neither white space nor the order of keys.
    """

    def __init__(self, *, binary: bool) -> None:
        self.binary: bool = binary
        self.type: str = "bytea" if binary else "text"
        """What goes to and comes from the database."""
        self.column: str = "bytea" if binary else "jsonb"

    def columns(self) -> str:
        """Those of a row, as SQL."""
        names = ("data", "conn_info", "chan_info", "prev_data")
        return COLUMNS.format(**{name: self.selected(name) for name in names})

    def selected(self, name: str) -> str:
        """One column with a payload, as SQL."""
        return name if self.binary else f"{name}::text AS {name}"

    def write(self, data: Raw, what: str) -> Any:
        """A payload for the database.

        Raises:
            EngineRefusal: it is no JSON, and nothing else can be kept.
        """
        if self.binary:
            return bytes(data)
        try:
            text = bytes(data).decode()
            _Any.decode(text)
        except UNREADABLE as error:
            detail = f"{what} is no JSON ({error}), which broker.postgres.binary_data would take"
            raise EngineRefusal(codes.BAD_REQUEST, detail=detail) from None
        return text

    def write_some(self, data: Raw, what: str) -> Any:
        """The same; nothing for an empty one."""
        return self.write(data, what) if data else None

    def read(self, stored: Any) -> Raw:
        """A payload as it is delivered: JSON without white space."""
        if stored is None:
            return NO_DATA if self.binary else _NULL
        if self.binary:
            return Raw(stored) if stored else NO_DATA
        return Raw(msgspec.json.format(stored, indent=-1).encode())

    def read_some(self, stored: Any) -> Raw:
        """The same; what is not there is empty."""
        return NO_DATA if stored is None else self.read(stored)

    # -- whole rows

    def info(self, row: Any, start: str = "") -> ClientInfo | None:
        """Who published, joined or left; ``start`` is that of the names of columns."""
        user, client = row[f"{start}user_id"], row[f"{start}client_id"]
        if user is None and client is None:
            return None
        conn_info = self.read_some(row[f"{start}conn_info"])
        chan_info = self.read_some(row[f"{start}chan_info"])
        return ClientInfo(user or "", client or "", conn_info, chan_info)

    def publication(self, row: Any, offset: int, epoch: str, start: str = "") -> Publication:
        """What was published. The first one of a stream carries its epoch."""
        tags = row[f"{start}tags"]
        return Publication(
            data=self.read(row[f"{start}data"]),
            info=self.info(row, start),
            offset=offset,
            tags=read_tags(tags) if tags is not None else None,
            version=row[f"{start}version"] or 0,
            epoch=epoch if offset == 1 else "",
        )


def read_tags(stored: str) -> dict[str, str] | None:
    """Tags; what an application wrote, and is no object of strings, is none."""
    try:
        return _Tags.decode(stored)
    except UNREADABLE:
        return None


def write_tags(tags: dict[str, str] | None) -> str | None:
    """See :func:`read_tags`."""
    return msgspec.json.encode(tags).decode() if tags else None


def milliseconds(when: datetime) -> int:
    """Unix time."""
    return int(when.timestamp() * 1000)

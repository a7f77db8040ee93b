"""Publications and clients as engines store them: Protobuf of the client protocol."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

from msgspec import Raw

from flyball.core.errors import FlyballError
from flyball.core.types import ClientInfo, Publication, payload
from flyball.protocol.client import CLIENT
from flyball.protocol.codec import DecodeError
from flyball.protocol.messages import NO_DATA
from flyball.protocol.varints import read_varint, varint

if TYPE_CHECKING:
    from flyball.core.types import PublishOptions

_DATA_TAG: Final = b"\x22"  # field 4 of Publication, by its length
_TIME_TAG: Final = b"\x48"  # field 9, a varint
_STAMP_SIZE: Final = 7
"""Tag and Unix milliseconds, from 2004 to 2109."""
_TIME_BYTE: Final = _TIME_TAG[0]
_FLAGS: Final = sum(128 << 7 * place for place in range(5))
"""What the highest bits of a time's bytes add: they tell that another byte follows."""


class MalformedError(FlyballError):
    """What is stored is none of this layout."""


def write_publication(data: Raw, options: PublishOptions, now: float) -> bytes:
    """A publication as it is stored: without offset and epoch. ``now`` in Unix seconds."""
    time = int(now * 1000)
    if options.info is None and not options.tags and not options.version:
        stamp = _TIME_TAG + varint(time)
        return _DATA_TAG + varint(len(data)) + bytes(data) + stamp if data else stamp
    publication = Publication(
        data=data, info=options.info, tags=options.tags, version=options.version, time=time
    )
    return CLIENT.protobuf.write(publication)


def read_publication(stored: bytes, *, timed: bool = True) -> Publication:
    """A publication as it was stored, with its time if that is wanted.

    Raises:
        MalformedError: it is none.
    """
    # Nearly all are data and a time: read here, at a quarter of what the codec takes.
    if stored[:1] == _DATA_TAG:
        size = len(stored)
        length, start = (stored[1], 2) if size > 1 and stored[1] < 128 else read_number(stored, 1)
        end = start + length
        if end == size:
            return Publication(Raw(stored[start:end]))
        if size - end == _STAMP_SIZE and stored[end] == _TIME_BYTE:
            a, b, c, d, e, f = stored[end + 1 :]
            if a > 127 and b > 127 and c > 127 and d > 127 and e > 127 and f < 128:
                data = Raw(stored[start:end]) if length else NO_DATA
                if not timed:
                    return Publication(data)
                time = a + (b << 7) + (c << 14) + (d << 21) + (e << 28) + (f << 35) - _FLAGS
                return Publication(data, time=time)
    try:
        publication = CLIENT.protobuf.read(Publication, stored)
    except DecodeError as error:
        raise MalformedError(f"no publication: {error}") from None
    if not timed:
        publication.time = 0
    return publication


def write_info(info: ClientInfo) -> bytes:
    """Who somebody is, as presence and join messages have it."""
    return CLIENT.protobuf.write(info)


def read_info(stored: bytes) -> ClientInfo:
    """See :func:`write_info`."""
    try:
        info = CLIENT.protobuf.read(ClientInfo, stored)
    except DecodeError as error:
        raise MalformedError(f"no client info: {error}") from None
    info.conn_info, info.chan_info = payload(bytes(info.conn_info)), payload(bytes(info.chan_info))
    return info


def read_number(data: bytes, position: int) -> tuple[int, int]:
    """The varint at ``position`` and where it ends.

    Raises:
        MalformedError: it is cut off, or too long.
    """
    try:
        return read_varint(data, position)
    except DecodeError as error:
        raise MalformedError(str(error)) from None

"""Deltas between two values, in the format of the Fossil version control system.

A delta is the size of the target and a line break, then steps, then the checksum:

- ``<count>@<offset>,`` copies ``count`` bytes of the source from ``offset``,
- ``<count>:<bytes>`` inserts bytes,
- ``<checksum>;`` ends the delta: the sum of the target's big-endian 32-bit words, modulo
  2^32, the last word filled up with zeros.

Numbers are written in base 64 with the digits ``0-9A-Z_a-z~``.
"""

from __future__ import annotations

import re
import struct
from typing import Final

_DIGITS: Final = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ_abcdefghijklmnopqrstuvwxyz~"
_VALUES: Final = {digit: value for value, digit in enumerate(_DIGITS)}
_STEP: Final = re.compile(rb"([0-9A-Z_a-z~]{1,6})([@:;])")
_SIZE: Final = re.compile(rb"([0-9A-Z_a-z~]{1,6})\n")
_OFFSET: Final = re.compile(rb"([0-9A-Z_a-z~]{1,6}),")
_MAX_NUMBER: Final = 2**32 - 1

_WINDOW: Final = 16
"""Bytes that have to be equal for a place in the source to be found."""
_WORTH_SEARCHING: Final = 32
"""Fewer bytes than this between equal beginnings and ends are inserted without a search."""
_MAX_CANDIDATES: Final = 8
"""Places of the source that are tried for one place of the target."""

MAX_TARGET_SIZE: Final = 64 * 1024 * 1024
"""Largest target that :func:`apply_delta` builds unless told otherwise, in bytes."""


class DeltaError(ValueError):
    """A delta is malformed or does not fit the source."""


def create_delta(source: bytes, target: bytes) -> bytes:
    """The delta that turns ``source`` into ``target``.

    It can be longer than ``target``: the caller compares.
    """
    parts = [_number(len(target)), b"\n"]
    prefix = _common_prefix(source, target)
    suffix = _common_suffix(source[prefix:], target[prefix:])
    suffix_offset = len(source) - suffix
    if prefix < _copy_cost(prefix, 0):
        prefix = 0
    if suffix < _copy_cost(suffix, suffix_offset):
        suffix = 0
    end = len(target) - suffix
    if prefix:
        _copy(prefix, 0, parts)
    if end - prefix >= _WORTH_SEARCHING and len(source) >= _WINDOW:
        _search(source, target, prefix, end, parts)
    else:
        _insert(target[prefix:end], parts)
    if suffix:
        _copy(suffix, suffix_offset, parts)
    parts += (_number(_checksum(target)), b";")
    return b"".join(parts)


def shorter_patch(source: bytes, target: bytes) -> bytes | None:
    """The delta that turns ``source`` into ``target``, or None if ``target`` itself is as short."""
    patch = create_delta(source, target)
    return patch if len(patch) < len(target) else None


def apply_delta(source: bytes, delta: bytes, *, max_size: int = MAX_TARGET_SIZE) -> bytes:
    """The target that ``delta`` makes of ``source``, at most ``max_size`` bytes.

    Raises:
        DeltaError: ``delta`` is malformed, its result is larger than it says or than
            ``max_size``, or the checksum is another.
    """
    head = _SIZE.match(delta)
    if head is None:
        raise DeltaError("the delta does not begin with the size of the target")
    size = _parse(head[1])
    if size > max_size:
        raise DeltaError(f"the target has {size} bytes, {max_size} are allowed")
    parts: list[bytes] = []
    total = 0
    pos = head.end()
    while True:
        step = _STEP.match(delta, pos)
        if step is None:
            raise DeltaError(f"the delta is malformed at byte {pos}")
        count, pos = _parse(step[1]), step.end()
        if step[2] == b";":
            break
        total += count
        if total > size:
            raise DeltaError(f"the delta makes more than the {size} bytes it announces")
        read = _read_copy if step[2] == b"@" else _read_insertion
        part, pos = read(source, delta, pos, count)
        parts.append(part)
    if pos != len(delta):
        raise DeltaError("something follows the end of the delta")
    target = b"".join(parts)
    if len(target) != size:
        raise DeltaError(f"the delta announces {size} bytes and makes {len(target)}")
    if _checksum(target) != count:
        raise DeltaError("the checksum is wrong: the delta is for another source")
    return target


def _read_copy(source: bytes, delta: bytes, pos: int, count: int) -> tuple[bytes, int]:
    """The bytes that a copy step takes from ``source``, and where the step ends."""
    match = _OFFSET.match(delta, pos)
    if match is None:
        raise DeltaError(f"the delta is malformed at byte {pos}")
    offset = _parse(match[1])
    if offset + count > len(source):
        raise DeltaError(f"the delta copies from beyond the source ({len(source)} bytes)")
    return source[offset : offset + count], match.end()


def _read_insertion(_source: bytes, delta: bytes, pos: int, count: int) -> tuple[bytes, int]:
    """The bytes that an insertion step brings along, and where the step ends."""
    end = pos + count
    if end > len(delta):
        raise DeltaError("the delta ends inside an insertion")
    return delta[pos:end], end


def _parse(digits: bytes) -> int:
    value = 0
    for digit in digits:
        value = value << 6 | _VALUES[digit]
    if value > _MAX_NUMBER:
        raise DeltaError("a number of the delta has more than 32 bits")
    return value


def _number(value: int) -> bytes:
    if value < 64:
        return _DIGITS[value : value + 1]
    out = bytearray()
    while value:
        out.append(_DIGITS[value & 63])
        value >>= 6
    out.reverse()
    return bytes(out)


def _copy_cost(count: int, offset: int) -> int:
    """How long a copy step is, and the head of an insertion that has to follow."""
    return len(_number(count)) + len(_number(offset)) + 3


def _checksum(data: bytes) -> int:
    words = (len(data) + 3) // 4
    padded = data if len(data) == words * 4 else data.ljust(words * 4, b"\0")
    total: int = sum(struct.unpack(f">{words}I", padded))
    return total & _MAX_NUMBER


def _copy(count: int, offset: int, parts: list[bytes]) -> None:
    parts += (_number(count), b"@", _number(offset), b",")


def _insert(data: bytes, parts: list[bytes]) -> None:
    if data:
        parts += (_number(len(data)), b":", data)


def _common_prefix(a: bytes, b: bytes) -> int:
    """How many bytes at the beginning are equal."""
    size = min(len(a), len(b))
    a, b = a[:size], b[:size]
    if a == b:
        return size
    # as big-endian numbers, they differ first where the exclusive or has its highest bit
    difference = int.from_bytes(a, "big") ^ int.from_bytes(b, "big")
    return size - (difference.bit_length() + 7) // 8


def _common_suffix(a: bytes, b: bytes) -> int:
    """How many bytes at the end are equal."""
    size = min(len(a), len(b))
    a, b = a[len(a) - size :], b[len(b) - size :]
    if a == b:
        return size
    difference = int.from_bytes(a, "little") ^ int.from_bytes(b, "little")
    return size - (difference.bit_length() + 7) // 8


# --- the search ----------------------------------------------------------------------------
#
# The source is cut into blocks of one window each. A window of the target that is equal to
# a block is extended to both sides as far as it goes; of several such blocks the one that
# covers most is copied. A found block is always worth a copy, so the candidates compared
# for it are paid for by the bytes it covers: the time is linear, with _MAX_CANDIDATES.


def _search(source: bytes, target: bytes, base: int, end: int, parts: list[bytes]) -> None:
    """Write the steps that make the bytes of ``target`` from ``base`` to ``end``."""
    blocks: dict[bytes, list[int]] = {}
    for start in range(0, len(source) - _WINDOW + 1, _WINDOW):
        blocks.setdefault(source[start : start + _WINDOW], []).append(start)
    find = blocks.get
    target = target[:end]
    place = base
    while place + _WINDOW <= end:
        candidates = find(target[place : place + _WINDOW])
        if candidates is None:
            place += 1
            continue
        start, count, offset = _best_match(source, target, base, place, candidates)
        _insert(target[base:start], parts)
        _copy(count, offset, parts)
        base = place = start + count
    _insert(target[base:], parts)


def _best_match(
    source: bytes, target: bytes, base: int, place: int, candidates: list[int]
) -> tuple[int, int, int]:
    """The longest match around ``place``: where it begins in target, count, offset."""
    best = (place, 0, 0)
    for block in candidates[:_MAX_CANDIDATES]:
        forward = _match_forward(source, block, target, place)
        limit = min(block, place - base)
        backward = (
            _common_suffix(source[block - limit : block], target[place - limit : place])
            if limit
            else 0
        )
        if forward + backward > best[1]:
            best = (place - backward, forward + backward, block - backward)
        if place + forward == len(target):
            break
    return best


def _match_forward(source: bytes, block: int, target: bytes, place: int) -> int:
    """How many bytes from ``block`` and ``place`` on are equal, looking further and further."""
    count = 0
    chunk = 4 * _WINDOW
    while True:
        a = source[block + count : block + count + chunk]
        b = target[place + count : place + count + chunk]
        if a != b or len(a) < chunk:
            return count + _common_prefix(a, b)
        count += chunk
        chunk *= 2

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
_MAX_CANDIDATES: Final = 250
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
    if len(source) <= _WINDOW:
        _insert(target, parts)
    elif len(target) - prefix <= _WINDOW and prefix >= _WINDOW:
        # the usual small change near the end needs no search
        _copy(prefix, 0, parts)
        _insert(target[prefix:], parts)
    else:
        _search(source, target, parts)
    parts += (_number(_checksum(target)), b";")
    return b"".join(parts)


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
        if step[2] == b"@":
            offset, pos = _read_offset(delta, pos)
            if offset + count > len(source):
                raise DeltaError(f"the delta copies from beyond the source ({len(source)} bytes)")
            parts.append(source[offset : offset + count])
        else:
            if pos + count > len(delta):
                raise DeltaError("the delta ends inside an insertion")
            parts.append(delta[pos : pos + count])
            pos += count
    if pos != len(delta):
        raise DeltaError("something follows the end of the delta")
    target = b"".join(parts)
    if len(target) != size:
        raise DeltaError(f"the delta announces {size} bytes and makes {len(target)}")
    if _checksum(target) != count:
        raise DeltaError("the checksum is wrong: the delta is for another source")
    return target


def _read_offset(delta: bytes, pos: int) -> tuple[int, int]:
    match = _OFFSET.match(delta, pos)
    if match is None:
        raise DeltaError(f"the delta is malformed at byte {pos}")
    return _parse(match[1]), match.end()


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


def _digit_count(value: int) -> int:
    return max(1, (value.bit_length() + 5) // 6)


def _checksum(data: bytes) -> int:
    words = (len(data) + 3) // 4
    padded = data if len(data) == words * 4 else data.ljust(words * 4, b"\0")
    return sum(struct.unpack(f">{words}I", padded)) & _MAX_NUMBER


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
# The source is cut into blocks of one window each, and the blocks are put into buckets by a
# checksum that can be rolled along the target. Each window of the target is compared with
# the blocks of its bucket, newest first; the match that covers most wins. Which block is
# found where decides about the bytes of the delta, and clients accept any correct delta;
# the order and the buckets are those of other implementations so that captures agree.


class _Buckets:
    """The blocks of a source by rolling checksum."""

    __slots__ = ("_blocks", "_count")

    def __init__(self, source: bytes) -> None:
        count = len(source) // _WINDOW
        self._count = count
        blocks: dict[int, list[int]] = {}
        for index in range(count):
            start = index * _WINDOW
            bucket = _roll_start(source, start)
            key = (bucket[0] & 0xFFFF | (bucket[1] & 0xFFFF) << 16) % count
            blocks.setdefault(key, []).append(start)
        self._blocks = {
            key: starts[: -_MAX_CANDIDATES - 1 : -1] for key, starts in blocks.items()
        }

    def find(self, low: int, high: int) -> list[int] | None:
        """Starts of the blocks that may be equal to the window with this checksum."""
        return self._blocks.get((low & 0xFFFF | (high & 0xFFFF) << 16) % self._count)


def _roll_start(data: bytes, start: int) -> tuple[int, int]:
    """Both sums of the window at ``start``: of the bytes, and weighted by place."""
    low = high = 0
    for byte in data[start : start + _WINDOW]:
        low += byte
        high += low
    return low, high


def _search(source: bytes, target: bytes, parts: list[bytes]) -> None:
    """Write the steps that make ``target``."""
    buckets = _Buckets(source)
    base = 0
    while base + _WINDOW < len(target):
        found = _next_match(source, target, base, buckets)
        if found is None:
            break
        start, count, offset = found
        _insert(target[base:start], parts)
        _copy(count, offset, parts)
        base = start + count
    _insert(target[base:], parts)


def _next_match(
    source: bytes, target: bytes, base: int, buckets: _Buckets
) -> tuple[int, int, int] | None:
    """The first place from ``base`` on that is worth a copy: start in target, count, offset."""
    low, high = _roll_start(target, base)
    place = base
    while True:
        candidates = buckets.find(low, high)
        if candidates:
            best = _best_match(source, target, base, place, candidates)
            if best is not None:
                return best
        following = place + _WINDOW
        if following >= len(target):
            return None
        old = target[place]
        low += target[following] - old
        high += low - _WINDOW * old
        place += 1


def _best_match(
    source: bytes, target: bytes, base: int, place: int, candidates: list[int]
) -> tuple[int, int, int] | None:
    """The longest match through ``place`` that is shorter to copy than to insert."""
    best: tuple[int, int, int] | None = None
    best_count = 0
    for block in candidates:
        forward = _match_forward(source, block, target, place)
        backward = _match_backward(source, block, target, place, base)
        count = forward + backward
        offset = block - backward
        cost = _digit_count(place - backward - base) + _digit_count(count) + _digit_count(offset)
        if count >= cost + 3 and count > best_count:
            best_count = count
            best = place - backward, count, offset
    return best


_CHUNK: Final = 64


def _match_forward(source: bytes, block: int, target: bytes, place: int) -> int:
    """How many bytes from ``block`` and ``place`` on are equal."""
    if source[block] != target[place]:
        return 0
    count = 0
    chunk = _CHUNK
    while True:
        a = source[block + count : block + count + chunk]
        b = target[place + count : place + count + chunk]
        if a != b or len(a) < chunk:
            return count + _common_prefix(a, b)
        count += chunk
        chunk *= 2


def _match_backward(source: bytes, block: int, target: bytes, place: int, base: int) -> int:
    """How many bytes before ``block`` and ``place`` are equal, not going before ``base``."""
    # the first byte of the source is left out, as other implementations do
    limit = min(block - 1, place - base)
    if limit <= 0 or source[block - 1] != target[place - 1]:
        return 0
    return _common_suffix(source[block - limit : block], target[place - limit : place])

"""Values and frames of AMQP 1.0, written from its specification (part 1: types, part 2: transport)."""

import struct
import uuid
from dataclasses import dataclass


class Symbol(str):
    __slots__ = ()


class UByte(int):
    __slots__ = ()


class UShort(int):
    __slots__ = ()


class UInt(int):
    __slots__ = ()


class ULong(int):
    __slots__ = ()


class Timestamp(int):
    """Milliseconds."""

    __slots__ = ()


class Symbols(list):
    """An array of symbols."""

    __slots__ = ()


@dataclass
class Described:
    """A value with what it is."""

    code: object
    value: object


NUMBERS = {
    UByte: (0x50, ">B"),
    UShort: (0x60, ">H"),
    UInt: (0x70, ">I"),
    ULong: (0x80, ">Q"),
    Timestamp: (0x83, ">q"),
    int: (0x81, ">q"),
}
FIXED = {
    0x50: (UByte, ">B"),
    0x51: (int, ">b"),
    0x60: (UShort, ">H"),
    0x61: (int, ">h"),
    0x70: (UInt, ">I"),
    0x71: (int, ">i"),
    0x52: (UInt, ">B"),
    0x54: (int, ">b"),
    0x80: (ULong, ">Q"),
    0x81: (int, ">q"),
    0x53: (ULong, ">B"),
    0x55: (int, ">b"),
    0x72: (float, ">f"),
    0x82: (float, ">d"),
    0x83: (Timestamp, ">q"),
}
CONSTANTS = {0x40: None, 0x41: True, 0x42: False, 0x43: UInt(0), 0x44: ULong(0), 0x45: []}
TEXTS = {0xA0: bytes, 0xA1: str, 0xA3: Symbol}


def encode(value):
    if value is None:
        return b"\x40"
    if isinstance(value, bool):
        return b"\x41" if value else b"\x42"
    if isinstance(value, Described):
        return b"\x00" + encode(value.code) + encode(value.value)
    if isinstance(value, ULong) and value < 256:  # as short as every description is written
        return bytes([0x53, value])
    if type(value) in NUMBERS:
        code, form = NUMBERS[type(value)]
        return bytes([code]) + struct.pack(form, value)
    if isinstance(value, uuid.UUID):
        return b"\x98" + value.bytes
    if isinstance(value, bytes):
        return b"\xb0" + struct.pack(">I", len(value)) + value
    if isinstance(value, str):
        code = b"\xb3" if isinstance(value, Symbol) else b"\xb1"
        return code + struct.pack(">I", len(value.encode())) + value.encode()
    if isinstance(value, Symbols):
        items = b"\xb3" + b"".join(struct.pack(">I", len(s)) + s.encode() for s in value)
        return b"\xf0" + struct.pack(">II", len(items) + 4, len(value)) + items
    if isinstance(value, dict):
        flat = [part for pair in value.items() for part in pair]
        items = b"".join(map(encode, flat))
        return b"\xd1" + struct.pack(">II", len(items) + 4, len(flat)) + items
    items = b"".join(map(encode, value))
    return b"\xd0" + struct.pack(">II", len(items) + 4, len(value)) + items


def decode(data, at=0):
    """A value, and where the next one begins."""
    code, at = data[at], at + 1
    if code == 0x00:
        kind, at = decode(data, at)
        value, at = decode(data, at)
        return Described(kind, value), at
    return decode_as(code, data, at)


def decode_as(code, data, at):
    if code in CONSTANTS:
        return CONSTANTS[code], at
    if code == 0x56:
        return bool(data[at]), at + 1
    if code == 0x98:
        return uuid.UUID(bytes=bytes(data[at : at + 16])), at + 16
    if code in FIXED:
        kind, form = FIXED[code]
        end = at + struct.calcsize(form)
        return kind(struct.unpack(form, data[at:end])[0]), end
    short = code & 0x10 == 0
    size, at = (data[at], at + 1) if short else (int.from_bytes(data[at : at + 4], "big"), at + 4)
    end = at + size
    if code & 0xEF in TEXTS:
        raw = bytes(data[at:end])
        kind = TEXTS[code & 0xEF]
        return (raw if kind is bytes else kind(raw.decode())), end
    count, at = (data[at], at + 1) if short else (int.from_bytes(data[at : at + 4], "big"), at + 4)
    if code & 0xEF == 0xE0:
        return decode_array(data, at, count), end
    items = []
    for _ in range(count):
        item, at = decode(data, at)
        items.append(item)
    if code & 0xEF == 0xC1:
        return dict(zip(items[::2], items[1::2], strict=True)), end
    assert code & 0xEF == 0xC0, f"type {code:#x}"
    return items, end


def decode_array(data, at, count):
    code, at, items = data[at], at + 1, Symbols()
    for _ in range(count):
        item, at = decode_as(code, data, at)
        items.append(item)
    return items


def frame(channel, code, fields, payload=b"", *, kind=0):
    """One frame: a performative, and what it carries."""
    body = encode(Described(ULong(code), fields)) + payload
    return struct.pack(">IBBH", len(body) + 8, 2, kind, channel) + body


async def read_frame(reader):
    """Channel, code, fields and payload; no code: a sign of life."""
    size, offset, _kind, channel = struct.unpack(">IBBH", await reader.readexactly(8))
    body = await reader.readexactly(size - 8)
    body = body[offset * 4 - 8 :]
    if not body:
        return channel, None, [], b""
    found, end = decode(body)
    return channel, int(found.code), found.value, body[end:]


def sections(payload):
    """The parts of a message: code, value, bytes."""
    at, found = 0, []
    while at < len(payload):
        part, end = decode(payload, at)
        found.append((int(part.code), part.value, payload[at:end]))
        at = end
    return found

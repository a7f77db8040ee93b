"""A WebSocket client that can also misbehave: frames are written as the test says."""

import asyncio
import base64
import hashlib
import os
import struct
import zlib

from waiting import PATIENCE, until

MASK = bytes((1, 2, 3, 4))
TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10
ARRIVED = b"arrived"
"""What comes back behind all that was written before it."""
ACCEPT_SUFFIX = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
"""RFC 6455, section 1.3."""


def accept_key(key):
    """The ``Sec-WebSocket-Accept`` that answers ``key``."""
    return base64.b64encode(hashlib.sha1((key + ACCEPT_SUFFIX).encode()).digest()).decode()


def frame(opcode, payload, *, first_bits=0x80):
    """A masked client frame."""
    head = bytes([first_bits | opcode])
    if len(payload) < 126:
        head += bytes([0x80 | len(payload)])
    elif len(payload) < 65536:
        head += bytes([0x80 | 126]) + struct.pack(">H", len(payload))
    else:
        head += bytes([0x80 | 127]) + struct.pack(">Q", len(payload))
    return head + MASK + bytes(b ^ MASK[i % 4] for i, b in enumerate(payload))


async def read_head(reader):
    """Status line and headers of an HTTP response."""
    head = await reader.readuntil(b"\r\n\r\n")
    status, *lines = head.decode("latin-1").split("\r\n")
    return status, [line for line in lines if line]


async def http(port, method, path, headers, ssl=None):
    """One HTTP exchange: status line, header lines, body; the connection is closed after it."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port, ssl=ssl)
    try:
        lines = [f"{method} {path} HTTP/1.1", f"Host: localhost:{port}"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        status, head = await asyncio.wait_for(read_head(reader), PATIENCE)
        length = next((int(h.split(":")[1]) for h in head if h.lower().startswith("content-l")), 0)
        return status, head, (await reader.readexactly(length)).decode()
    finally:
        writer.close()
        await writer.wait_closed()


class Socket:
    """One connection; what comes is in :attr:`received`, frame by frame."""

    def __init__(self, reader, writer):
        self.received = []
        """``(opcode, payload)`` of every data frame and pong; a close is ``(8, (code, reason))``."""
        self.raw = []
        """The same frames as they came."""
        self.pings = 0
        self._arrivals = 0
        self._answers_pings = True
        self.response_headers = []
        self.key = ""
        self._reader, self._writer = reader, writer
        self._inflate = False
        self._news = asyncio.Event()
        self._reading = None

    @classmethod
    async def open(cls, port, *, path="/connection/websocket", headers=None):
        """Connects and shakes hands."""
        reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=2**22)
        wanted = {
            "Host": f"localhost:{port}",
            "Connection": "Upgrade",
            "Upgrade": "websocket",
            "Sec-WebSocket-Version": "13",
            "Sec-WebSocket-Key": base64.b64encode(os.urandom(16)).decode(),
            **(headers or {}),
        }
        lines = [f"GET {path} HTTP/1.1", *(f"{n}: {v}" for n, v in wanted.items())]
        writer.write(("\r\n".join(lines) + "\r\n\r\n").encode())
        socket = cls(reader, writer)
        socket.key = wanted["Sec-WebSocket-Key"]
        status, socket.response_headers = await asyncio.wait_for(read_head(reader), PATIENCE)
        assert " 101 " in status, status
        socket._inflate = any("permessage-deflate" in h for h in socket.response_headers)
        socket._reading = asyncio.create_task(socket._read())
        return socket

    async def _read(self):
        try:
            while True:
                head = await self._reader.readexactly(2)
                length = head[1] & 0x7F
                extended = b""
                if length >= 126:
                    extended = await self._reader.readexactly(2 if length == 126 else 8)
                    length = int.from_bytes(extended, "big")
                payload = await self._reader.readexactly(length)
                self.raw.append(head + extended + payload)
                self._take(head[0], payload)
        except (asyncio.IncompleteReadError, ConnectionError):
            if not self.closed:
                self.received.append((CLOSE, (1006, "")))
        self._news.set()

    def _take(self, first, payload):
        opcode = first & 0x0F
        if opcode == PING:
            self.pings += 1
        elif opcode == PONG and payload == ARRIVED:
            self._arrivals += 1
        elif opcode == CLOSE:
            code = int.from_bytes(payload[:2], "big") if payload else 1005
            self.received.append((CLOSE, (code, payload[2:].decode())))
        else:
            if first & 0x40 and self._inflate:
                payload = zlib.decompressobj(-15).decompress(payload + b"\0\0\xff\xff")
            self.received.append((opcode, payload))
        self._news.set()

    @property
    def closed(self):
        """Whether the server ended the connection."""
        return bool(self.received) and self.received[-1][0] == CLOSE

    def write(self, data):
        """Writes bytes as they are, which may be part of a frame, or none."""
        self._answers_pings = False
        self._writer.write(data)

    def send(self, payload, opcode=None):
        """Sends one message: text for ``str``, binary for ``bytes``."""
        if isinstance(payload, str):
            payload, opcode = payload.encode(), TEXT if opcode is None else opcode
        self._writer.write(frame(BINARY if opcode is None else opcode, payload))

    def pause(self):
        """Reads no more, so that the server's writes pile up."""
        self._answers_pings = False
        self._reader._transport.pause_reading()

    def resume(self):
        """Reads again."""
        self._reader._transport.resume_reading()

    async def until(self, condition, what="message"):
        """Waits until ``condition()`` holds."""
        await until(
            condition,
            lambda: f"{what}; received {self.received}",
            news=self._news,
            over=self._reading.done,
        )

    async def arrived(self):
        """Waits until everything that the server has written is here."""
        if self._answers_pings and not self.closed:
            wanted = self._arrivals + 1
            self.send(ARRIVED, PING)
            await self.until(lambda: self.closed or self._arrivals >= wanted, "pong")

    async def close(self):
        """Drops the connection."""
        self._answers_pings = False
        self._writer.close()
        self._reading.cancel()
        await asyncio.gather(self._reading, return_exceptions=True)

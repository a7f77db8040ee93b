"""A raw client for tests: bytes in, bytes out, no help from any library."""

import asyncio
import contextlib
from typing import ClassVar

from waiting import PATIENCE

from flyball.transports.common.websocket.frames import unmask

KEY = "dGhlIHNhbXBsZSBub25jZQ=="
ACCEPT = "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
MASK = b"\x01\x02\x03\x04"
UPGRADE = {
    "Connection": "Upgrade",
    "Upgrade": "websocket",
    "Sec-WebSocket-Version": "13",
    "Sec-WebSocket-Key": KEY,
}


def request(path="/connection/websocket", headers=None, method="GET", host="localhost"):
    lines = [f"{method} {path} HTTP/1.1", f"Host: {host}"]
    lines += [
        f"{name}: {value}" for name, value in (UPGRADE if headers is None else headers).items()
    ]
    return ("\r\n".join(lines) + "\r\n\r\n").encode()


def client_frame(payload, opcode=1, fin=True, rsv=0, mask=MASK):
    first = (0x80 if fin else 0) | rsv | opcode
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0x80 | 126)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0x80 | 127)) + size.to_bytes(8, "big")
    return head + mask + unmask(payload, mask)


class RawClient:
    opened: ClassVar = []  # all clients, for the end of the test

    def __init__(self, reader, writer):
        self.opened.append(self)
        self.reader = reader
        self.writer = writer

    @classmethod
    async def open(cls, port, ssl=None):
        return cls(*await asyncio.open_connection("127.0.0.1", port, ssl=ssl))

    @classmethod
    async def websocket(cls, port, path="/connection/websocket", headers=None, ssl=None):
        client = await cls.open(port, ssl)
        client.send(request(path, {**UPGRADE, **(headers or {})}))
        head = await client.head()
        assert head.startswith(b"HTTP/1.1 101 "), head
        return client

    def send(self, data):
        self.writer.write(data)

    def text(self, text):
        self.send(client_frame(text.encode()))

    async def head(self):
        return await asyncio.wait_for(self.reader.readuntil(b"\r\n\r\n"), PATIENCE)

    async def read(self, size):
        return await asyncio.wait_for(self.reader.readexactly(size), PATIENCE)

    async def rest(self):
        """Everything until the server ends the connection."""
        return await asyncio.wait_for(self.reader.read(), PATIENCE)

    async def frame(self):
        """First byte and payload of the next frame."""
        first, size = await self.read(2)
        if size == 126:
            size = int.from_bytes(await self.read(2), "big")
        elif size == 127:
            size = int.from_bytes(await self.read(8), "big")
        return first, await self.read(size)

    async def response(self):
        """Status line, header lines (a list, without the date's) and body of an HTTP answer."""
        status, *lines = (await self.head()).decode().split("\r\n")[:-2]
        self.dates = [line for line in lines if line.startswith("Date: ")]
        lines = [line for line in lines if line not in self.dates]
        sizes = [line for line in lines if line.lower().startswith("content-length:")]
        body = await self.read(int(sizes[0].split(":")[1])) if sizes else b""
        return status, lines, body

    async def close(self):
        self.writer.close()
        with contextlib.suppress(OSError):
            await self.writer.wait_closed()

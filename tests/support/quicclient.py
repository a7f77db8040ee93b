"""A WebTransport client on aioquic."""

import asyncio
import contextlib
import ssl

from aioquic.asyncio.client import connect
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived, WebTransportStreamDataReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import (
    ConnectionTerminated,
    ProtocolNegotiated,
    StreamDataReceived,
    StreamReset,
)
from waiting import until


class Client(QuicConnectionProtocol):
    """One QUIC connection."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.http = None
        self.answers = {}
        """Stream to the headers of its answer."""
        self.data = {}
        """Stream to what came on it."""
        self.ended = set()
        self.streams = set()
        """WebTransport streams that we opened."""
        self.resets = set()
        self.terminated = None
        self.news = asyncio.Event()

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic, enable_webtransport=True)
        elif isinstance(event, ConnectionTerminated):
            self.terminated = event
        elif isinstance(event, StreamReset):
            self.resets.add(event.stream_id)
        if isinstance(event, StreamDataReceived) and event.stream_id in self.streams:
            # The library takes what comes on streams of our own for HTTP.
            self.data[event.stream_id] = self.data.get(event.stream_id, b"") + event.data
            if event.end_stream:
                self.ended.add(event.stream_id)
            self.news.set()
            return
        for happened in self.http.handle_event(event) if self.http else ():
            if isinstance(happened, HeadersReceived):
                self.answers[happened.stream_id] = dict(happened.headers)
            if isinstance(happened, DataReceived | WebTransportStreamDataReceived):
                known = self.data.get(happened.stream_id, b"")
                self.data[happened.stream_id] = known + happened.data
            if getattr(happened, "stream_ended", False):
                self.ended.add(happened.stream_id)
        self.news.set()

    async def until(self, condition, what="event"):
        await until(
            condition, lambda: f"{what}; {self.answers} {self.data} {self.ended}", news=self.news
        )

    async def request(self, path="/connection/webtransport", **more):
        """An extended CONNECT; the status of its answer."""
        self.session = self._quic.get_next_available_stream_id()
        headers = {
            ":method": "CONNECT",
            ":scheme": "https",
            ":authority": "localhost",
            ":path": path,
            ":protocol": "webtransport",
            **{name.replace("_", "-"): value for name, value in more.items()},
        }
        pairs = [(n.encode(), v.encode()) for n, v in headers.items() if v is not None]
        self.http.send_headers(self.session, pairs)
        self.transmit()
        await self.until(lambda: self.session in self.answers, "answer")
        return int(self.answers[self.session][b":status"])

    async def open(self, path="/connection/webtransport", **more):
        """A session with its stream."""
        assert await self.request(path, **more) == 200
        self.new_stream()
        return self

    def new_stream(self):
        self.stream = self.http.create_webtransport_stream(self.session)
        self.streams.add(self.stream)

    def send(self, data, *, end=False):
        self._quic.send_stream_data(self.stream, data, end)
        self.transmit()

    @property
    def text(self):
        return self.data.get(self.stream, b"").decode()

    @property
    def close_capsule(self):
        """Code and reason of the session's end."""
        data = self.data.get(self.session, b"")
        if not data:
            return None
        assert data[:2] == b"\x68\x43"
        size = data[2] if data[2] < 64 else int.from_bytes(data[2:4], "big") & 0x3FFF
        value = data[-size:]
        return int.from_bytes(value[:4], "big"), value[4:].decode()


class _Nowhere:
    """A socket that loses everything."""

    def sendto(self, data, addr=None):
        pass


def vanish(client):
    """Nothing that a QUIC connection says is heard any more."""
    client._transport = _Nowhere()


@contextlib.asynccontextmanager
async def dial(port, alpn=None, **options):
    """Connects to a port of 127.0.0.1."""
    configuration = QuicConfiguration(
        is_client=True,
        alpn_protocols=H3_ALPN if alpn is None else alpn,
        verify_mode=ssl.CERT_NONE,
        max_datagram_frame_size=65536,
        **options,
    )
    async with connect(
        "127.0.0.1", port, configuration=configuration, create_protocol=Client
    ) as client:
        await client.until(lambda: client.http is not None, "HTTP/3")
        yield client

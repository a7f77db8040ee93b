"""Clients of HTTP/2 and HTTP/3 with one face: requests are streams."""

import asyncio
import contextlib
import ssl

import h2.config
import h2.connection
import h2.events
import h2.exceptions
import h2.settings
from aioquic.asyncio.client import connect as connect_quic
from aioquic.asyncio.protocol import QuicConnectionProtocol
from aioquic.h3.connection import H3_ALPN, H3Connection
from aioquic.h3.events import DataReceived, HeadersReceived
from aioquic.quic.configuration import QuicConfiguration
from aioquic.quic.events import ConnectionTerminated, ProtocolNegotiated, StreamReset
from waiting import until


class Stream:
    """One request and what came back."""

    def __init__(self, client, stream_id):
        self.client, self.id = client, stream_id
        self.head = []
        self.body = b""
        self.ended = False
        self.was_reset = False

    @property
    def status(self):
        return int(dict(self.head)[":status"])

    @property
    def headers(self):
        return {name: value for name, value in self.head if not name.startswith(":")}

    @property
    def text(self):
        return self.body.decode()

    async def until(self, condition, what="event"):
        await self.client.until(condition, lambda: f"{what}: {self.head} {self.body!r}")

    async def answered(self):
        await self.until(lambda: self.head or self.was_reset or self.client.lost, "answer")
        return self

    async def complete(self):
        """The whole answer."""
        await self.until(lambda: self.ended, "end of the answer")
        return self

    def send(self, data, *, end=False):
        self.client.send(self.id, data, end=end)

    def cancel(self):
        self.client.cancel(self.id)


class Client:
    """What both have in common."""

    def __init__(self):
        self.streams = {}
        self.news = asyncio.Event()
        self.lost = False

    async def until(self, condition, what="event"):
        await until(condition, what, news=self.news)

    def ask(self, method, path, headers=(), body=b"", *, end=True, protocol=None):
        """Sends a request, without waiting for the answer."""
        fields = [(":method", method), (":scheme", "https"), (":path", path)]
        fields.append((":authority", "localhost"))
        if protocol:
            fields.append((":protocol", protocol))
        fields += [(n.lower(), v) for n, v in dict(headers).items()]
        stream = Stream(self, self.begin(fields, end=end and not body))
        self.streams[stream.id] = stream
        if body:
            self.send(stream.id, body, end=end)
        return stream

    async def request(self, *args, **kwargs):
        """Sends a request; returns when the head of the answer is there."""
        return await self.ask(*args, **kwargs).answered()


class H2Client(Client, asyncio.Protocol):
    """HTTP/2 over TLS, or in clear."""

    def __init__(self, settings=None):
        super().__init__()
        self.h2 = h2.connection.H2Connection(
            h2.config.H2Configuration(client_side=True, header_encoding="latin-1")
        )
        self.h2.local_settings = h2.settings.Settings(client=True, initial_values=settings)
        self.acknowledges = True
        """It gives the server credit for what it received."""
        self.goaway = None
        """The error code of the server's GOAWAY."""
        self._input = b""
        self._tap = []

    def tap(self):
        """The list that kinds and streams of all frames to come are put into."""
        self._tap = []
        return self._tap

    def connection_made(self, transport):
        self.transport = transport
        self.h2.initiate_connection()
        self.flush()

    def connection_lost(self, exc):
        self.lost = True
        self.news.set()

    def data_received(self, data):
        for event in self.h2.receive_data(self._without_goaway(data)):
            stream = self.streams.get(getattr(event, "stream_id", None))
            match event:
                case h2.events.ResponseReceived():
                    stream.head = event.headers
                case h2.events.DataReceived():
                    stream.body += event.data
                    if self.acknowledges and event.flow_controlled_length:
                        self.h2.acknowledge_received_data(
                            event.flow_controlled_length, event.stream_id
                        )
                case h2.events.StreamEnded():
                    stream.ended = True
                case h2.events.StreamReset():
                    stream.was_reset = True
        self.flush()
        self.news.set()

    def _without_goaway(self, data):
        """Whole frames less GOAWAY, after which the library would take no more."""
        self._input += data
        found = b""
        while len(self._input) >= 9:
            size = 9 + int.from_bytes(self._input[:3], "big")
            if len(self._input) < size:
                break
            frame, self._input = self._input[:size], self._input[size:]
            self._tap.append((frame[3], int.from_bytes(frame[5:9], "big")))
            if frame[3] == 7:
                self.goaway = int.from_bytes(frame[13:17], "big")
            else:
                found += frame
        return found

    def flush(self):
        self.transport.write(self.h2.data_to_send())

    def begin(self, fields, *, end):
        stream_id = self.h2.get_next_available_stream_id()
        self.h2.send_headers(stream_id, fields, end_stream=end)
        self.flush()
        return stream_id

    def send(self, stream_id, data, *, end=False):
        size = self.h2.max_outbound_frame_size
        parts = [data[i : i + size] for i in range(0, len(data), size)] or [b""]
        for part in parts:
            self.h2.send_data(stream_id, part, end_stream=end and part is parts[-1])
        self.flush()

    def cancel(self, stream_id):
        self.h2.reset_stream(stream_id, 8)
        self.flush()


class H3Client(Client, QuicConnectionProtocol):
    """HTTP/3."""

    def __init__(self, *args, **kwargs):
        QuicConnectionProtocol.__init__(self, *args, **kwargs)
        self.streams = {}
        self.news = asyncio.Event()
        self.lost = False
        self.http = None

    def quic_event_received(self, event):
        if isinstance(event, ProtocolNegotiated):
            self.http = H3Connection(self._quic)
        elif isinstance(event, ConnectionTerminated):
            self.lost = True
        elif isinstance(event, StreamReset) and event.stream_id in self.streams:
            self.streams[event.stream_id].was_reset = True
        for happened in self.http.handle_event(event) if self.http else ():
            stream = self.streams.get(happened.stream_id)
            if isinstance(happened, HeadersReceived):
                stream.head = [(n.decode(), v.decode()) for n, v in happened.headers]
            elif isinstance(happened, DataReceived):
                stream.body += happened.data
            stream.ended = stream.ended or happened.stream_ended
        self.news.set()

    def begin(self, fields, *, end):
        stream_id = self._quic.get_next_available_stream_id()
        pairs = [(n.encode(), v.encode()) for n, v in fields]
        self.http.send_headers(stream_id, pairs, end_stream=end)
        self.transmit()
        return stream_id

    def send(self, stream_id, data, *, end=False):
        self.http.send_data(stream_id, data, end_stream=end)
        self.transmit()

    def cancel(self, stream_id):
        self._quic.reset_stream(stream_id, 0x10C)
        self._quic.stop_stream(stream_id, 0x10C)
        self.transmit()


def trusting(*alpn):
    """TLS that takes any certificate."""
    context = ssl.create_default_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    context.set_alpn_protocols(list(alpn))
    return context


@contextlib.asynccontextmanager
async def dial_h2(port, *, tls=True, settings=None):
    """Connects to a port of 127.0.0.1."""
    loop = asyncio.get_running_loop()
    context = trusting("h2") if tls else None
    transport, client = await loop.create_connection(
        lambda: H2Client(settings), "127.0.0.1", port, ssl=context
    )
    try:
        yield client
    finally:
        transport.abort()
    await client.until(lambda: client.lost, "end of the connection")


@contextlib.asynccontextmanager
async def dial_h3(port, **options):
    """Connects to a port of 127.0.0.1."""
    configuration = QuicConfiguration(
        is_client=True, alpn_protocols=H3_ALPN, verify_mode=ssl.CERT_NONE, **options
    )
    async with connect_quic(
        "127.0.0.1", port, configuration=configuration, create_protocol=H3Client
    ) as client:
        await client.until(lambda: client.http is not None, "HTTP/3")
        yield client

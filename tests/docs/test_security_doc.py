"""The figures of docs/security.md are those of the code."""

import re

import pytest
from processes import ROOT

from flyball.aio import held
from flyball.core import inbox
from flyball.core.options import NodeOptions
from flyball.http import files, http1, http2
from flyball.http.http3 import connection as http3
from flyball.http.messages import HttpLimits
from flyball.http.multiplex import request
from flyball.server.auth import jose
from flyball.server.client import refusals
from flyball.server.logs import shorten
from flyball.transports import webtransport
from flyball.transports.common.websocket import frames, transport
from flyball.transports.common.websocket.endpoint import WebSocketOptions
from flyball.transports.unigrpc.listener import UniGrpcOptions

PAGE = (ROOT / "docs" / "security.md").read_text()
KIB, MIB = 1024, 1024 * 1024
HTTP, NODE, SOCKET = HttpLimits(), NodeOptions(), WebSocketOptions()

FIGURES = {
    "commands of a connection in a turn": (inbox.COMMANDS_A_TURN,),
    "commands in a frame": (inbox.MAX_COMMANDS_IN_FRAME, inbox.MAX_PENDING_SIZE // MIB),
    "WebSocket frames of a connection": (frames.FRAMES_A_TURN, frames.INFLATED_A_TURN // KIB),
    "fragments of a message": (frames.FREE_FRAGMENTS, frames.FRAGMENT_SIZE),
    "requests of an HTTP/1.1 connection": (http1.STEPS_A_TURN,),
    "frames of an HTTP/2 connection": (http2.EVENTS_A_TURN,),
    "frames of HTTP/2 that ask for nothing": (http2.MAX_CONTROL_FRAMES,),
    "packets of a QUIC connection": (
        http3.PACKETS_A_TURN,
        http3.MAX_PACKET,
        http3.MAX_WAITING,
    ),
    "bytes of unfinished heads": (NODE.held_bytes_limit // MIB,),
    "the same on one connection": (request.MAX_HELD // MIB,),
    "bytes after our close frame": (transport.MAX_IGNORED // KIB,),
    "message of a client": (SOCKET.message_size_limit // KIB,),
    "request head": (HTTP.max_head_size // KIB, HTTP.max_headers),
    "body of the API": (HTTP.max_body_size // MIB,),
    "token": (jose.MAX_TOKEN_SIZE // KIB,),
    "what waits for a client": (NODE.queue_max_size // MIB,),
    "channels of a connection": (NODE.channel_limit,),
    "refusals in the log": (
        refusals.LINES_OF_CLIENT,
        int(refusals.CLIENT_SECONDS),
        refusals.LINES_OF_ALL,
    ),
    "a text in the log": (shorten.MAX_TEXT,),
    "a TLS handshake": (int(HTTP.head_timeout),),
    "a whole request": (int(HTTP.request_timeout),),
    "the next request on a connection": (int(HTTP.keep_alive_timeout),),
    "the connect command": (int(NODE.stale_close_delay),),
    "the stream of a WebTransport session": (int(webtransport.OPEN_TIMEOUT),),
    "a client that takes nothing: WebSocket": (int(SOCKET.write_timeout),),
    "a client that takes nothing: HTTP": (int(HTTP.write_timeout),),
    "the answer to a ping": (int(NODE.pong_timeout),),
    "the answer to our close frame": (int(transport.CLOSE_TIMEOUT),),
}
"""How a row begins, and the figures of its second column, in their order."""


@pytest.mark.parametrize("start", FIGURES)
def test_figures(start):
    (row,) = [line for line in PAGE.splitlines() if line.startswith(f"| {start}")]
    found = [int(n.replace(",", "")) for n in re.findall(r"(?<![/\d.])\d[\d,]*", row.split("|")[2])]
    assert tuple(n for n in FIGURES[start] if n not in found) == ()


def test_figures_that_stand_elsewhere():
    assert NODE.held_bytes_limit == held.MAX_HELD
    assert UniGrpcOptions().handshake_timeout == HTTP.head_timeout
    assert f"the last {files.RESERVE} are kept" in PAGE

"""Offers of permessage-deflate (RFC 7692): what is accepted, and that it is kept."""

import zlib

import pytest
from wsclient import RawClient

from flyball.transports.common.websocket.deflate import Deflater
from flyball.transports.common.websocket.extensions import agree

PLAIN = "permessage-deflate; server_no_context_takeover; client_no_context_takeover"


@pytest.mark.parametrize(
    ("offers", "answer"),
    [
        ("permessage-deflate", PLAIN),
        ("PerMessage-Deflate", PLAIN),
        ("x-foo, permessage-deflate; client_max_window_bits=10", PLAIN),
        ("permessage-deflate; client_max_window_bits", PLAIN),
        ('permessage-deflate ; client_max_window_bits = "8"', PLAIN),
        ("permessage-deflate;server_no_context_takeover;client_no_context_takeover", PLAIN),
        ("permessage-deflate; server_max_window_bits=15", PLAIN + "; server_max_window_bits=15"),
        ("permessage-deflate; server_max_window_bits=9", PLAIN + "; server_max_window_bits=9"),
        ('permessage-deflate; server_max_window_bits="10"', PLAIN + "; server_max_window_bits=10"),
        # what cannot be kept falls back to the next offer
        ("permessage-deflate; server_max_window_bits=8, permessage-deflate", PLAIN),
        ("permessage-deflate; unknown=1, permessage-deflate", PLAIN),
    ],
)
def test_accepted(offers, answer):
    assert agree(offers).answer == answer


@pytest.mark.parametrize(
    "offers",
    [
        "",
        "permessage-bzip2",
        "x-permessage-deflate",
        "permessage-deflate; server_max_window_bits",
        "permessage-deflate; server_max_window_bits=",
        "permessage-deflate; server_max_window_bits=8",
        "permessage-deflate; server_max_window_bits=7",
        "permessage-deflate; server_max_window_bits=16",
        "permessage-deflate; server_max_window_bits=09",
        "permessage-deflate; server_max_window_bits=+9",
        "permessage-deflate; server_max_window_bits=1e1",
        "permessage-deflate; server_max_window_bits=9; server_max_window_bits=9",
        "permessage-deflate; client_max_window_bits=7",
        "permessage-deflate; client_max_window_bits=x",
        "permessage-deflate; client_max_window_bits; client_max_window_bits",
        "permessage-deflate; server_no_context_takeover=1",
        "permessage-deflate; client_no_context_takeover=true",
        "permessage-deflate; unknown",
        "permessage-deflate;",
        "permessage-deflate; =1",
        "x, " * 100 + "permessage-deflate",
    ],
)
def test_declined(offers):
    assert agree(offers) is None


@pytest.mark.parametrize("bits", range(9, 16))
@pytest.mark.parametrize("level", [1, 6, 9])
def test_the_window_is_kept_to(bits, level):
    # what repeats from far away needs a large window; a decoder with the small one reads it all
    block = bytes(range(256)) * 16
    payload = block + b"-" * 40_000 + block
    data = Deflater(level, bits).deflate(payload) + b"\x00\x00\xff\xff"
    assert zlib.decompressobj(-bits).decompress(data) == payload


async def test_clients_with_other_windows_share_a_channel(serve):
    server = await serve(compression=True)
    windows = {
        "permessage-deflate; server_max_window_bits=9": 9,
        "permessage-deflate": 15,
        "permessage-deflate; server_max_window_bits=8": None,
        "": None,
    }
    clients = []
    for offer in windows:
        headers = {"Sec-WebSocket-Extensions": offer} if offer else {}
        client = await RawClient.websocket(server.port, headers=headers)
        client.text('{"id":1,"connect":{}}\n{"id":2,"subscribe":{"channel":"a"}}')
        await client.frame()
        clients.append(client)
    block = bytes(range(32, 127)).replace(b'"', b"").replace(b"\\", b"")
    text = block.decode() + "-" * 20_000 + block.decode()
    await server.node.publish("a", text)
    for client, bits in zip(clients, windows.values(), strict=True):
        first, payload = await client.frame()
        assert first == (0x81 if bits is None else 0xC1)
        if bits is not None:
            payload = zlib.decompressobj(-bits).decompress(payload + b"\x00\x00\xff\xff")
        assert text.encode() in payload

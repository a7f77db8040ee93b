"""Every captured row: replayed, different on purpose, or not built yet.

Rows are line numbers of ``wire-examples.jsonl``, from 0.
"""

import json

REPLAYED = frozenset(
    (
        *range(1, 27),  # A: commands, errors and closes
        *range(28, 40),  # B: what takes time, and limits
        *range(41, 59),  # D: recovery, delta, filters, server API
        *range(113, 131),  # F: handshakes
        134,  # G
        *(136, 137),  # K
        *(143, 144, 145, *range(147, 151)),  # J
        *range(164, 170),  # N
        *(174, 175),  # Q
        *(178, 179),  # R
        *range(192, 203),  # V: frames byte for byte
        *(204, 206),  # W
    )
)
"""Rows that must come back as captured."""

STREAMS = frozenset((*range(76, 113), 160, *range(185, 192)))
"""Rows of http_stream, sse, emulation, uni_http_stream and uni_sse: test_golden_streams.py."""

ELSEWHERE = {
    **dict.fromkeys((131, 132), "test_golden_grpc.py"),
    **dict.fromkeys((138, 140, 141), "test_golden_http2.py"),
    **dict.fromkeys(range(152, 159), "test_golden_webtransport.py"),
}
"""Rows that are replayed by tests of their own, and which."""

NOT_BUILT = {
    **dict.fromkeys((*range(60, 71), 146, 173, 177, 183, 205), "map subscriptions"),
    **dict.fromkeys((*range(71, 75), 161, 162), "shared poll subscriptions"),
}
"""Rows about parts that are not built yet, and which."""

SAME_CONNECTION = {2, 3, 4, 5, 182}
"""Rows that go on where the one before stopped."""

TIMES = {
    1: 1795495350.5,
    28: 1795495466.421,
    30: 1795495472.233,
    31: 1795495478.941,
    32: 1795495479.060,
    33: 1795495479.062,
    34: 1795495479.064,
    35: 1795495481.416,
    36: 1795495485.314,
    37: 1795495485.315,
    39: 1795495485.625,
    143: 1795495882.5,
    171: 1795496301.5,
    172: 1795496307.5,
}
"""Unix time at the start of a row, where it matters: seen in the row, or told by its tokens."""


class Differs:
    """A row in which Flyball answers something else, on purpose."""

    def __init__(self, reason, change):
        self.reason = reason
        self.change = change
        """Captured lines to ours."""


def _refused_and_ended(lines):
    return [
        *lines[:-1],
        '{"id":3,"error":{"code":109,"message":"token expired"}}',
        '{"push":{"channel":"rec:1","unsubscribe":{"code":2501,"reason":"subscription expired"}}}',
    ]


def _only_matching(lines):
    return [line for line in lines if '"tags":{"k":"b"}' not in line]


def _full(lines):
    data = json.dumps(json.dumps({"v": "a" * 40, "z": 1}))
    return [
        *lines[:-1],
        f'{{"push":{{"channel":"rec:1","pub":{{"data":{data},"offset":5,"tags":{{"k":"a"}}}}}}}}',
    ]


DIFFERENT = {
    171: Differs(
        "a sub refresh with an expired token is refused with 109, and the deadline holds",
        _refused_and_ended,
    ),
    172: Differs("a refresh with a token without exp lifts the deadline", lambda lines: lines[:-1]),
    181: Differs("a tags filter holds with delta too, and patches have their base", _only_matching),
    182: Differs("after an empty recovery the first publication is in full", _full),
}
"""Rows of the original's known flaws, and what Flyball sends."""


def _told_why(code, reason):
    """The end of the stream comes after a push."""
    push = f'{{"push":{{"disconnect":{{"code":{code},"reason":"{reason}"}}}}}}\n'
    return lambda lines: [push, *lines]


DIFFERENT_ELSEWHERE = {
    138: Differs("the TCP port offers HTTP/2 beside HTTP/1.1", lambda offered: ["h2", *offered]),
    152: Differs("clients that insist on ALPN h3 get it", lambda _: {"status": 200}),
    155: Differs("a refused connect is told", _told_why(3500, "invalid token")),
    156: Differs("a malformed command is told", _told_why(3501, "bad request")),
}
"""The same of rows in :data:`ELSEWHERE`; what is changed is what their tests compare."""

_UNI = {"path": "/connection/uni_websocket"}

OPENED = {
    **dict.fromkeys((123, *range(125, 128), 148, 194, 202), _UNI),
    124: {"path": "/connection/uni_websocket?cf_connect=%7B%7D"},
    30: {"path": "/connection/websocket?cf_ws_frame_ping_pong=true"},
    129: {"headers": {"Sec-WebSocket-Extensions": "permessage-deflate"}},
    130: {"path": "/connection/websocket?format=protobuf"},
    165: {"headers": {"X-User-Id": "hu"}},
    167: {"path": "/connection/websocket?format=protobuf"},
    198: {
        "path": "/connection/websocket?cf_protocol=protobuf",
        "headers": {"Sec-WebSocket-Protocol": "centrifuge-json"},
    },
    199: {
        "path": "/connection/websocket?format=json",
        "headers": {"Sec-WebSocket-Protocol": "centrifuge-protobuf"},
    },
}
"""How a row's connection was opened, where not plainly."""

"""What a capture does not show of its session, row by row.

A capture has the frames of one client. What happened beside them (server API calls, other
clients, time that passed, elided payloads) stands here, by line number from 0. A row without
directions is played as it stands: a new connection, all frames in order.
"""

import json
import zlib

import pytest
from golden_socket import CLOSE, PONG, TEXT, frame

X40 = "x" * 40
STEP = 0.06
"""Seconds by which a moment may be missed: time moves in steps of 0.05."""

DIRECTIONS = {}
"""Line number to an ``async def(play)`` that does the row."""


def row(*numbers):
    """Registers the directions of rows."""

    def register(directions):
        for number in numbers:
            DIRECTIONS[number] = directions
        return directions

    return register


# -- configuration A


@row(6)
async def unsubscribe(play):
    await play.enter("")
    await play.stage.ask(play.socket, id=39, subscribe={"channel": "chat:1"})
    await play.rest()


@row(7)
async def channel_limit(play):
    await play.enter("")
    for n in range(19):
        await play.stage.ask(play.socket, id=50 + n, subscribe={"channel": f"plain:l{n}"})
    await play.rest()


@row(19)
async def expired_token(play):
    await play.open()
    await play.rest(quietly=True)
    play.stage.clock.advance(4.9)
    await play.stage.quiet()
    assert not play.socket.closed
    play.stage.clock.advance(0.2)
    await play.end()


@row(22)
async def oversized(play):
    await play.open()
    await play.send()
    play.socket.send(json.dumps({"id": 2, "publish": {"channel": "plain:1", "data": "x" * 70000}}))
    await play.end()


# -- configuration B: time passes


@row(28)
async def pings(play):
    await play.open()
    await play.send()
    assert await play.time() <= 2 + STEP, "the first ping comes early, to spread the load"
    await play.send()
    assert await play.time() == pytest.approx(2, abs=STEP)
    assert await play.time() == pytest.approx(1, abs=STEP)
    await play.end()


@row(29)
async def stale(play):
    await play.open()
    assert await play.time() == pytest.approx(1, abs=STEP)
    await play.end()


@row(30)
async def frame_pings(play):
    await play.open()
    await play.rest(quietly=True)
    await play.pass_time(lambda: play.socket.pings, limit=2 + STEP)
    play.socket.send("", PONG)
    await play.stage.quiet()
    waited = await play.pass_time(lambda: play.socket.pings > 1, limit=2 + STEP)
    assert waited == pytest.approx(2, abs=STEP), "a pong frame counts as an answer"
    await play.end()
    waited = await play.pass_time(lambda: play.socket.closed, limit=1 + STEP)
    assert waited == pytest.approx(1, abs=STEP)
    assert play.lines()[-1] == "close 1006"


@row(34)
async def no_pong(play):
    await play.open()
    await play.rest(quietly=True)
    await play.time()
    assert await play.time() == pytest.approx(1, abs=STEP)
    await play.end()


@row(35)
async def subscription_expires(play):
    await play.open()
    await play.send()
    await play.send()
    while not any("unsubscribe" in line for line in play.lines()):
        before = play.lines().count("{}")
        await play.time()
        await play.stage.quiet()
        if play.lines().count("{}") > before:
            play.socket.send("{}")
            await play.stage.quiet()
    # How many pings come before the expiry is looked at depends on chance.
    play.ignore("{}")
    await play.end()


@row(38)
async def user_limit(play):
    for _ in range(2):
        socket = await play.stage.open()
        socket.send(play.row["sent"][0])
        await socket.until(lambda s=socket: s.received)
    await play.open()
    await play.rest()


@row(39)
async def slow_reader(play):
    await play.open()
    await play.send()
    await play.send()
    play.socket.pause()
    data = "y" * 60000
    for _ in range(400):
        await play.stage.api("publish", channel="plain:q", data=data)
        if not play.stage.server.node.hub.num_clients:
            break
    play.socket.resume()
    await play.socket.until(lambda: play.socket.closed, "close")
    lines = play.lines()
    pushed = {"push": {"channel": "plain:q", "pub": {"data": data}}}
    assert all(json.loads(line) == pushed for line in lines[2:-1])
    assert play.stage.server.node.metrics.server_disconnects[3008] == 1
    # How many fit into the kernel's buffers, and whether a close frame still does, is chance.
    play.expected[2:3] = lines[2:-1]
    if lines[-1] == "close 1006":
        play.expected[-1] = "close 1006"
    await play.end()


# -- configuration D


@row(41)
async def recovery(play):
    await play.stage.publish("rec:a", {"n": 1}, {"n": 2}, {"n": 3})
    play.learn_epoch("RsAyqGjx", await play.stage.api("history", channel="rec:a"))
    await play.enter()
    await play.rest()


@row(42)
async def recovery_gap(play):
    await play.stage.publish("rec:a", *({"n": n} for n in range(4, 12)))
    await play.enter()
    await play.rest()


@row(43)
async def cache_recovery(play):
    await play.enter()
    await play.send()
    await play.stage.publish("cache:a", {"v": 1})
    await play.send()
    await play.stage.publish("cache:a", {"v": 2})
    await play.rest()


@row(44, 46, 53)
async def entered(play):
    await play.enter()
    await play.send()
    if play.number == 53:
        await play.stage.api("publish", channel="plain:nl", raw='{"a":\n 1}')
    await play.end()


@row(45, 47)
async def delta(play):
    await play.enter(protobuf=play.number == 47)
    await play.send()
    channel = "rec:p" if play.number == 47 else "rec:d"
    await play.stage.publish(channel, {"a": X40, "n": 1}, {"a": X40, "n": 2}, {"b": 1})
    await play.end()


@row(48)
async def tags(play):
    await play.enter()
    await play.send()
    for tags in ({"k": "a", "n": "3"}, {"k": "a", "n": "10"}, {"k": "c"}, {"k": "b"}, {}):
        await play.stage.publish("plain:t", {"t": tags}, tags=tags)
    await play.rest()


@row(49)
async def tags_with_recovery(play):
    await play.enter()
    await play.send()
    for number, tag in enumerate("aba"):
        await play.stage.publish("rec:tf", number, tags={"k": tag})
    await play.rest()


@row(50)
async def binary_for_json(play):
    await play.enter()
    await play.send()
    await play.stage.publish("plain:v", {"a": 1}, tags={"x": "y"})
    await play.stage.api("publish", channel="plain:v", b64data="/wD+")
    await play.end()


@row(51)
async def protobuf(play):
    await play.enter(protobuf=True)
    await play.send()
    await play.stage.api("publish", channel="plain:v", b64data="/wD+")
    await play.rest()


@row(52)
async def whitespace(play):
    await play.enter()
    await play.send()
    await play.send()
    await play.stage.publish("rec:nl", {"z": 1}, version=7)
    await play.end()


@row(54)
async def server_api(play):
    await play.enter()
    api, now = play.stage.api, play.stage.clock.time()
    await api("subscribe", user="u", channel="rec:srv", data={"hello": 1})
    await api("publish", channel="rec:srv", data={"x": 1})
    await api("unsubscribe", user="u", channel="rec:srv")
    await api("refresh", user="u", expire_at=int(now) + 100)
    await api("refresh", user="u")
    await api("disconnect", user="u")
    await play.end()


@row(55)
async def server_side(play):
    await play.open()
    await play.send()
    await play.stage.api("disconnect", user="u", disconnect={"code": 4001, "reason": "custom"})
    await play.end()


@row(57)
async def too_many_server_side(play):
    await play.open()
    token = play.sign({"sub": "u", "channels": [f"plain:c{n}" for n in range(130)]})
    play.socket.send(json.dumps({"id": 1, "connect": {"token": token}}))
    await play.end()


@row(58)
async def shutdown(play):
    await play.open()
    await play.send()
    await play.stage.server.stop()
    await play.end()


# -- configurations F to K


@row(130)
async def protobuf_ping(play):
    await play.open()
    await play.send()
    await play.time()
    await play.send()
    await play.end()
    assert play.stage.server.node.hub.num_clients == 1


@row(134)
async def connection_limit(play):
    await play.enter("")
    await play.handshake()


@row(143)
async def token_expires(play):
    await play.open()
    await play.send()
    # Half a second after 1795495882 to 1795495884, and the delay of a second.
    assert await play.time() == pytest.approx(2.5, abs=1)
    await play.end()


@row(149)
async def leave(play):
    other = await play.stage.enter(play.sign({"sub": "a"}))
    await play.stage.ask(other, id=2, subscribe={"channel": "room"})
    await play.open()
    await play.send()
    await play.send()
    await other.close()
    await play.end()


# -- configuration N: bytes on the wire


@row(168)
async def close_frame(play):
    await play.open()
    await play.send()
    play.socket.write(frame(CLOSE, (1000).to_bytes(2, "big") + b"bye"))
    await play.end()


@row(169)
async def unmasked(play):
    await play.open()
    play.socket.write(bytes.fromhex(play.row["sent"][0]["raw_hex"]))
    await play.end_raw()


@row(195, 196, 200, 201, 202)
async def raw_frames(play):
    await play.open()
    for data in play.row["sent"][0]["frames_hex"]:
        play.socket.write(bytes.fromhex(data))
    await play.end_raw()


@row(197)
async def inflating(play):
    """The captured bytes are cut short: any message of spaces above the limit does."""
    await play.open(headers=play.row["sent"][0]["headers"])
    compressor = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = compressor.compress(b" " * 20000) + compressor.flush(zlib.Z_SYNC_FLUSH)
    play.socket.write(frame(TEXT, data[:-4], first_bits=0xC0))
    await play.end_raw()


@row(123, 148)
async def uni(play):
    await play.open()
    await play.send()
    channel, *data = ("x", 0, 1, 2) if play.number == 148 else ("plain:1", 1)
    await play.stage.publish(channel, *data)
    if play.number == 123:
        assert await play.time() <= 3 + STEP
    await play.stage.api("disconnect", user="42" if play.number == 148 else "u")
    await play.end()


@row(127)
async def uni_stale(play):
    await play.open()
    assert await play.time() == pytest.approx(2, abs=STEP)
    await play.end()


@row(194)
async def uni_pings(play):
    await play.open()
    play.socket.write(bytes.fromhex(play.row["sent"][0]["frames_hex"][0]))
    await play.socket.until(lambda: play.socket.raw, "connect")
    assert await play.time() <= 2 + STEP
    await play.end_raw()


# -- configurations Q to W


@row(171)
async def expired_sub_refresh(play):
    await play.open()
    await play.rest(quietly=True)
    await play.time()
    await play.end()


@row(172)
async def expiry_is_lifted(play):
    await play.open()
    await play.rest(quietly=True)
    play.stage.clock.advance(10)
    await play.end()


@row(174)
async def delta_without_position(play):
    await play.open()
    await play.send()
    await play.send()
    await play.stage.publish("nopos:1", *({"a": X40, "n": n} for n in range(3)))
    await play.end()


@row(175)
async def delta_escapes(play):
    await play.open()
    await play.send()
    await play.send()
    first = json.loads(json.loads(play.expected[2])["push"]["pub"]["data"])["t"]
    await play.stage.publish("rec:u", {"t": first}, {"t": first[:-1] + "2"})
    await play.end()


@row(178)
async def recovery_limit(play):
    await play.stage.publish("rec:1", *range(8))
    play.learn_epoch("diXZUlyQ", await play.stage.api("history", channel="rec:1"))
    await play.open()
    await play.rest()


@row(179)
async def single_connection(play):
    message = play.row["sent"][0].removeprefix("(connection 1) ")
    sockets = []
    for _ in range(2):
        socket = await play.stage.open()
        socket.send(message)
        await socket.until(lambda s=socket: s.received)
        sockets.append(socket)
    await sockets[0].until(lambda: sockets[0].closed)
    play.sockets = sockets
    play.expected = [
        line.split(") ", 1)[1].replace(
            "{'close': [3504, 'connection limit']}", "close 3504 connection limit"
        )
        for line in play.expected
    ]
    await play.end()


@row(181)
async def filter_with_delta(play):
    await play.open()
    await play.send()
    await play.send()
    for letter in "abba":
        await play.stage.publish("rec:1", {"v": letter * 40}, tags={"k": letter})
    await play.end()


@row(182)
async def empty_recovery_with_delta(play):
    await play.send()
    await play.send()
    await play.stage.publish("rec:1", {"v": "a" * 40, "z": 1}, tags={"k": "a"})
    await play.end()


@row(204)
async def recover_since(play):
    await play.stage.publish("rec:1", 1, 2, 3)
    history = await play.stage.api("history", channel="rec:1")
    await play.open()
    await play.send()
    since = {"offset": 1, "epoch": history["epoch"]}
    await play.stage.api("subscribe", user="x", channel="rec:1", recover_since=since)
    await play.stage.publish("rec:1", "live")
    await play.end()

"""A connection to a node without sockets: JSON in, JSON out."""

import json

from flyball.core.transport import Framing, Transport
from flyball.protocol.json_codec import JSON


class LineFraming(Framing):
    codec = JSON

    def frame(self, messages):
        return b"\n".join(messages) + b"\n"


class UniLineFraming(LineFraming):
    unidirectional = True


BIDI, UNI = LineFraming(), UniLineFraming()


class Wire(Transport):
    """One connection; ``node`` answers into ``take()``."""

    name = "test"

    def __init__(self, node, *, framing=BIDI, emulation=False, disconnect_push=False):
        super().__init__(framing)
        self.emulation, self.disconnect_push = emulation, disconnect_push
        self.written = []
        self.closed_by = None
        self.lingers = None
        self.reading = True
        node.open_session(self)

    def _write(self, data):
        self.written.append(data)

    def _close(self, disconnect):
        self.closed_by = disconnect.code

    def linger(self, delay):
        self.lingers = delay

    def pause_reading(self):
        self.reading = False

    def resume_reading(self):
        self.reading = True

    def take(self):
        written, self.written = self.written, []
        return [json.loads(line) for data in written for line in data.splitlines()]

    def raw(self, frame):
        self.cork()
        self.session.receive(frame.encode() if isinstance(frame, str) else frame)
        self.uncork()
        return self.take()

    def say(self, *commands):
        return self.raw("\n".join(json.dumps(c) for c in commands))

    def ask(self, **request):
        """Sends one command and returns all that came back at once."""
        return self.say({"id": 1, **request})

    def await_ping(self, clock):
        """Moves the clock until a ping comes."""
        for _ in range(600):
            clock.advance(0.1)
            if {} in self.take():
                return
        raise AssertionError("no ping")

    def one(self, **request):
        (message,) = self.ask(**request)
        return message

    def connect(self, **request):
        messages = self.ask(connect=request)
        assert "connect" in messages[0], (messages, self.closed_by)
        return messages[0]["connect"]

    def subscribe(self, channel, **request):
        message = self.ask(subscribe={"channel": channel, **request})[0]
        return message.get("subscribe", message)


def error(message):
    return message["error"]["code"]

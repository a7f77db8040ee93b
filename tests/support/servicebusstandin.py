"""A stand-in for Azure Service Bus: AMQP 1.0 with its token node, its locks and its sessions.

Run as a program with a port and a folder; messages are there over its end, as they are in Azure.
Whoever sends a line of JSON in place of AMQP asks it about itself.
"""

import asyncio
import itertools
import json
import pickle
import sys
import time
import uuid
from dataclasses import dataclass, field
from pathlib import Path

from amqpcodec import (
    Described,
    Symbol,
    Symbols,
    Timestamp,
    UByte,
    UInt,
    ULong,
    UShort,
    encode,
    frame,
    read_frame,
    sections,
)

OPEN, BEGIN, ATTACH, FLOW, TRANSFER, DISPOSITION, DETACH, END, CLOSE = range(0x10, 0x19)
ACCEPTED, REJECTED, RELEASED, MODIFIED = range(0x24, 0x28)
HEADER, ANNOTATIONS, PROPERTIES, APPLICATION, DATA, VALUE = 0x70, 0x72, 0x73, 0x74, 0x75, 0x77
BATCH = 0x80013700
SESSION = Symbol("com.microsoft:session-filter")
LOCK = 60.0
EPOCH = 621355968000000000  # ticks of 100 ns from year 1 to 1970


@dataclass
class Held:
    """A message of a queue."""

    number: int
    session: str | None
    body: bytes
    deliveries: int = 0
    locked_until: float = 0.0
    stored_at: int = field(default_factory=lambda: int(time.time() * 1000))

    def wire(self):
        head = [None, None, None, None, UInt(self.deliveries)]
        notes = {
            Symbol("x-opt-sequence-number"): self.number,
            Symbol("x-opt-enqueued-time"): Timestamp(self.stored_at),
            Symbol("x-opt-locked-until"): Timestamp(int(self.locked_until * 1000)),
        }
        start = Described(ULong(HEADER), head), Described(ULong(ANNOTATIONS), notes)
        return b"".join(map(encode, start)) + self.body


@dataclass(eq=False)
class Link:
    """One end of a link."""

    channel: int
    handle: int
    address: str
    queue: str = ""
    sends: bool = False
    """To the client."""
    session: str | None = None
    credit: int = 0
    sent: int = 0
    parts: bytes = b""
    unsettled: dict = field(default_factory=dict)


class Bus:
    """All queues."""

    def __init__(self, file):
        self.file = file
        self.queues = pickle.loads(file.read_bytes()) if file.exists() else {}
        for messages in self.queues.values():
            for message in messages:
                message.locked_until = 0.0
        self.numbers = itertools.count(time.time_ns())
        self.sessions = {}
        """Queue and session to the link that has it."""
        self.connections = set()
        self.tokens = []

    def changed(self):
        new = self.file.with_suffix(".new")
        new.write_bytes(pickle.dumps(self.queues))
        new.rename(self.file)
        for connection in list(self.connections):
            connection.pump()

    def put(self, queue, payload, form):
        parts = sections(payload)
        if form == BATCH:
            for value in (value for code, value, _ in parts if code == DATA):
                self._put(queue, sections(value))
        else:
            self._put(queue, parts)
        self.changed()

    def _put(self, queue, parts):
        kept = b"".join(raw for code, _, raw in parts if PROPERTIES <= code <= VALUE)
        properties = next((value for code, value, _ in parts if code == PROPERTIES), [])
        session = properties[10] if len(properties) > 10 else None
        self.queues.setdefault(queue, []).append(Held(next(self.numbers), session, kept))

    def available(self, queue, session):
        now = time.time()
        for message in self.queues.get(queue, ()):
            if message.session == session and message.locked_until <= now:
                return message
        return None

    def free_session(self, queue):
        for message in self.queues.get(queue, ()):
            if message.session is not None and (queue, message.session) not in self.sessions:
                return message.session
        return None


class Connection:
    """One connection."""

    def __init__(self, bus, reader, writer):
        self.bus, self.reader, self.writer = bus, reader, writer
        self.links = {}
        self.waiting = []
        """Links that wait for a session, and until when."""
        self.deliveries = itertools.count()

    def send(self, channel, code, fields, payload=b""):
        self.writer.write(frame(channel, code, fields, payload))

    async def run(self):
        header = await self.reader.readexactly(8)
        if header[:4] != b"AMQP":
            return await self.tell(header + await self.reader.readline())
        if header[4] == 3:
            self.writer.write(header)
            self.writer.write(frame(0, 0x40, [Symbols(["ANONYMOUS", "EXTERNAL"])], kind=1))
            await read_frame(self.reader)
            self.writer.write(frame(0, 0x44, [UByte(0), None], kind=1))
            header = await self.reader.readexactly(8)
        self.writer.write(header)
        self.bus.connections.add(self)
        try:
            while await self.one():
                await self.writer.drain()
        finally:
            self.bus.connections.discard(self)
            for link in list(self.links.values()):
                self.forget(link)
            self.bus.changed()

    async def tell(self, line):
        asked = json.loads(line)
        if "clear" in asked:
            self.bus.queues[asked["clear"]] = []
            self.bus.changed()
        queue = self.bus.queues.get(asked.get("queue"), ())
        answer = {"left": len(queue), "deliveries": sum(m.deliveries for m in queue)}
        answer["tokens"] = self.bus.tokens
        self.writer.write(json.dumps(answer).encode() + b"\n")
        await self.writer.drain()

    async def one(self):
        channel, code, fields, payload = await read_frame(self.reader)
        fields = [*fields, *[None] * 14]
        if code == OPEN:
            more = [None] * 5
            self.send(0, OPEN, ["bus", None, UInt(65536), UShort(255), UInt(60_000), *more])
        elif code == BEGIN:
            window = [UInt(0), UInt(5000), UInt(5000), UInt(255), None, None, None]
            self.send(channel, BEGIN, [UShort(channel), *window])
        elif code == ATTACH:
            self.attach(channel, fields)
        elif code == FLOW and fields[4] is not None:
            link = self.links.get((channel, fields[4]))
            if link is not None:
                link.credit = (fields[5] or 0) + fields[6] - link.sent
                self.pump()
        elif code == TRANSFER:
            self.transfer(channel, fields, payload)
        elif code == DISPOSITION:
            self.disposition(channel, fields)
        elif code == DETACH:
            self.forget(self.links.pop((channel, fields[0]), None))
            self.send(channel, DETACH, [UInt(fields[0]), True, None])
            self.bus.changed()
        elif code == END:
            self.send(channel, END, [None])
        elif code == CLOSE:
            self.send(0, CLOSE, [None])
            return False
        return True

    # -- links

    def attach(self, channel, fields):
        sends = fields[2]
        end = fields[5] if sends else fields[6]
        address = end.value[0]
        link = Link(channel, int(fields[1]), address, address.rpartition("/")[2], sends)
        filters = end.value[7] if sends and len(end.value) > 7 else None
        if filters and SESSION in filters:
            limit = (fields[13] or {}).get(Symbol("com.microsoft:timeout"), 60_000) / 1000
            self.waiting.append((link, fields, time.time() + limit))
            self.pump()
        else:
            self.attached(link, fields)

    def attached(self, link, fields):
        self.links[(link.channel, link.handle)] = link
        name, _, role, *modes = fields[:5]
        until = int((time.time() + LOCK) * 10_000_000) + EPOCH
        more = {Symbol("com.microsoft:locked-until-utc"): until}
        answer = [name, UInt(link.handle), not role, *modes, fields[5], fields[6], None, False]
        self.send(
            link.channel,
            ATTACH,
            [*answer, UInt(0) if role else None, ULong(1 << 20), None, None, more],
        )
        if not role:
            flow = [UInt(0), UInt(5000), UInt(0), UInt(5000), UInt(link.handle), UInt(0)]
            self.send(link.channel, FLOW, [*flow, UInt(1000), None, False, False, None])

    def forget(self, link):
        """Its session is free again, with what is locked by it; other locks have their time."""
        if link is not None and link.session is not None:
            self.bus.sessions.pop((link.queue, link.session), None)
            for message in link.unsettled.values():
                message.locked_until = 0.0

    def transfer(self, channel, fields, payload):
        link = self.links[(channel, fields[0])]
        link.parts += payload
        if fields[5]:
            return
        parts, link.parts = link.parts, b""
        if link.queue == "$cbs":
            self.token(channel, parts)
        else:
            self.bus.put(link.queue, parts, fields[3])
        done = Described(ULong(ACCEPTED), [])
        first = UInt(fields[1])
        self.send(channel, DISPOSITION, [True, first, first, True, done, None])

    def token(self, channel, payload):
        found = {code: value for code, value, _ in sections(payload)}
        self.bus.tokens.append(found[APPLICATION]["type"])
        link = next(k for k in self.links.values() if k.queue == "$cbs" and k.sends)
        properties = [None, None, None, None, None, found[PROPERTIES][0]]
        status = {"status-code": 202, "status-description": "Accepted"}
        answer = (
            Described(ULong(PROPERTIES), properties),
            Described(ULong(APPLICATION), status),
            Described(ULong(VALUE), ""),
        )
        self.deliver(link, b"".join(map(encode, answer)), settled=True)

    def deliver(self, link, payload, *, settled=False):
        number = next(self.deliveries)
        link.sent, link.credit = link.sent + 1, link.credit - 1
        tag = uuid.uuid4().bytes
        fields = [UInt(link.handle), UInt(number), tag, UInt(0), settled, False]
        self.send(link.channel, TRANSFER, [*fields, None, None, False, False, False], payload)
        return number

    def disposition(self, channel, fields):
        first, last, state = fields[1], fields[2], fields[4]
        last = first if last is None else last
        for link in self.links.values():
            for number in [n for n in link.unsettled if first <= n <= last]:
                self.settle(link, link.unsettled.pop(number), int(state.code))
        if not fields[3]:
            answer = [False, UInt(first), UInt(last), True, state, None]
            self.send(channel, DISPOSITION, answer)
        self.bus.changed()

    def settle(self, link, message, outcome):
        if outcome in (ACCEPTED, REJECTED):
            self.bus.queues[link.queue].remove(message)
        message.locked_until = 0.0
        if outcome == MODIFIED:
            message.deliveries += 1

    def pump(self):
        """Gives out sessions and messages."""
        for entry in list(self.waiting):
            link, fields, until = entry
            session = self.bus.free_session(link.queue)
            if session is not None:
                self.waiting.remove(entry)
                self.bus.sessions[(link.queue, session)] = link
                link.session = session
                fields[5].value[7][SESSION] = session
                self.attached(link, fields)
            elif time.time() > until:
                self.waiting.remove(entry)
                self.attached(link, fields)
                why = Described(ULong(0x1D), [Symbol("com.microsoft:timeout"), "no session", None])
                self.send(link.channel, DETACH, [UInt(link.handle), True, why])
        for link in self.links.values():
            while link.sends and link.queue != "$cbs" and link.credit > 0:
                message = self.bus.available(link.queue, link.session)
                if message is None:
                    break
                message.locked_until = time.time() + LOCK
                link.unsettled[self.deliver(link, message.wire())] = message


async def main():
    bus = Bus(Path(sys.argv[2]) / "queues")

    async def connected(reader, writer):
        try:
            await Connection(bus, reader, writer).run()
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    server = await asyncio.start_server(connected, "127.0.0.1", int(sys.argv[1]))
    async with server:
        while True:  # nothing tells when a lock or a wait is over
            await asyncio.sleep(0.1)
            for connection in list(bus.connections):
                connection.pump()


if __name__ == "__main__":
    asyncio.run(main())

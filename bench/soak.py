"""What bad clients cost everybody else, and what a long day does to memory.

Floods run beside an honest client in a process of its own, which publishes every 20 ms and
measures the way back to itself. Then come storms of returning clients, a great many connects,
readers that do not read, an open admin page, and idle clients for a while. Prints a Markdown table with bounds; ends
with 1 if one of them was not kept. Needs Linux, a C compiler and an installed ``flyball``;
everything stays on loopback.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import datetime as dt
import heapq
import http.client
import json
import re
import socket
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import run

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

Flood: TypeAlias = "Callable[[SoakServer, threading.Event], None]"
"""Sends what it has, and goes on or waits until it is told to stop."""
MIB = 1024 * 1024
MEMORY_BOUND = 64 * MIB
"""What a flood may add to the server's memory."""
P99_BOUND = 0.010
"""Seconds for the honest client's p99 beside a flood; or twice what it is without one."""
PERMISSIONS = {**run.PERMISSIONS, "history_size": 100, "history_ttl": "300s"}
WATCH_BOUND = 0.01
"""Of a core: what an open admin page may cost the server."""
WATCHED: dict[str, tuple[tuple[float, str, dict[str, Any]], ...]] = {
    "status": ((2, "", {}),),
    "connections": ((5, "connections", {"limit": 100}),),
    "connections of one channel": ((5, "connections", {"limit": 100, "channel": "bench7"}),),
    "channels": ((15, "channels", {"limit": 200, "order": "clients"}),),
    "one channel": (
        (3, "channel_state", {"channel": "kept:1"}),
        (3, "history", {"channel": "kept:1", "limit": 50, "reverse": True}),
    ),
}
"""Page to what it asks for as long as it is seen: every so many seconds, which command (empty: the
figures of all nodes), with what."""
CONNECT = b'{"id":1,"connect":{}}'


@dataclass(slots=True)
class Row:
    """A line of the table."""

    work: str
    figure: str
    bound: str
    kept: bool


# -- the server


def write_config(folder: Path, port: int, internal: int, **client: Any) -> Path:
    """A server that lets anonymous clients do all they like, and offers everything to abuse."""
    config = {
        "http_server": {
            "address": "127.0.0.1",
            "port": port,
            "internal_port": internal,
            "h2c_external": True,
        },
        "http_api": {"key": run.API_KEY},
        "log": {"level": "error"},
        "health": {"enabled": True},
        "prometheus": {"enabled": True},
        "admin": {"enabled": True, "password": "bench", "secret": run.TOKEN_SECRET},
        "http_stream": {"enabled": True},
        "websocket": {"compression": True},
        "client": {
            "allow_anonymous_connect_without_token": True,
            "stale_close_delay": "60s",
            **client,
        },
        "channel": {
            "without_namespace": PERMISSIONS,
            "namespaces": [
                {"name": "kept", **PERMISSIONS, "force_recovery": True, "history_meta_ttl": "1h"}
            ],
        },
    }
    path = folder / "config.json"
    path.write_text(json.dumps(config))
    return path


class SoakServer(run.Server):
    """A server with a port for its API apart."""

    def __init__(self, command: list[str], port: int, folder: Path, internal: int) -> None:
        self.internal = internal
        super().__init__(command, port, folder, health=False)


@contextlib.contextmanager
def server(command: list[str], **client: Any) -> Iterator[SoakServer]:
    """A fresh server, with options of the section ``client``."""
    with tempfile.TemporaryDirectory(prefix="flyball-soak-") as name:
        folder, port, internal = Path(name), run.free_port(), run.free_port()
        config = write_config(folder, port, internal, **client)
        running = SoakServer([*command, "-c", str(config)], port, folder, internal)
        try:
            yield running
        finally:
            running.stop()


def memory(running: SoakServer) -> int:
    """Bytes that the server keeps for itself.

    Without the pages of files: how many of them count as its own depends on who else reads them.
    """
    text = Path(f"/proc/{running.process.pid}/smaps_rollup").read_text()
    return int(re.search(r"^Anonymous:\s+(\d+)", text, re.MULTILINE)[1]) * 1024  # type: ignore[index]


def cpu(running: SoakServer) -> float:
    """Seconds of CPU that the server has used."""
    fields = Path(f"/proc/{running.process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def precise_cpu(running: SoakServer) -> float:
    """The same of its main thread, to the nanosecond."""
    text = Path(f"/proc/{running.process.pid}/schedstat").read_text()
    return int(text.split()[0]) / 1e9


def metric(running: SoakServer, name: str) -> float:
    """One number of the server's metrics, all its series together."""
    with urllib.request.urlopen(f"http://127.0.0.1:{running.internal}/metrics") as answer:
        text = answer.read().decode()
    return sum(float(v) for v in re.findall(rf"^{name}(?:\{{.*\}})? (\S+)$", text, re.MULTILINE))


# -- clients


def frame(payload: bytes, first: int = 0x81) -> bytes:
    """A WebSocket frame of a client, masked with zeros."""
    size = len(payload)
    if size < 126:
        head = bytes((first, 0x80 | size))
    elif size < 65536:
        head = bytes((first, 0xFE)) + size.to_bytes(2, "big")
    else:
        head = bytes((first, 0xFF)) + size.to_bytes(8, "big")
    return head + bytes(4) + payload


def upgrade(query: str = "", extensions: str = "") -> bytes:
    """The request for a WebSocket connection."""
    key = base64.b64encode(bytes(16)).decode()
    return (
        f"GET /connection/websocket{query} HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\n"
        f"Connection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n"
        f"{extensions}\r\n"
    ).encode()


def dial(port: int, greeting: bytes = b"", *, answer: bool = True) -> socket.socket:
    """A connection that has said ``greeting`` and, with ``answer``, heard something."""
    link = socket.create_connection(("127.0.0.1", port), timeout=10)
    if greeting:
        link.sendall(greeting)
        if answer:
            link.recv(65536)
    return link


def honest(port: int, seconds: float) -> dict[str, float]:
    """Publishes every 20 ms and measures the way back to itself."""
    link = dial(port, upgrade())
    link.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    for command in (CONNECT, b'{"id":2,"subscribe":{"channel":"honest"}}'):
        link.sendall(frame(command))
        link.recv(65536)
    times, end = [], time.monotonic() + seconds
    link.settimeout(60)
    number = 2
    while time.monotonic() < end:
        number += 1
        started = time.perf_counter()
        data = b'{"id":%d,"publish":{"channel":"honest","data":%d}}' % (number, number)
        link.sendall(frame(data))
        seen = b""
        while b'"id":%d' % number not in seen or b'"push"' not in seen:
            part = link.recv(65536)
            if not part:
                raise SystemExit("the honest client was cut off")
            seen += part
        times.append(time.perf_counter() - started)
        time.sleep(max(0.0, 0.02 - times[-1]))
    times.sort()
    return {"p99": times[int(len(times) * 0.99)], "max": times[-1], "count": len(times)}


# -- floods: each is one thread, sends what it has, and ignores how it ends


def send_all(links: list[socket.socket], data: bytes, stop: threading.Event) -> None:
    """Sends ``data`` on all links again and again, reading nothing."""
    for link in links:
        link.settimeout(0.05)
    open_links = set(links)
    while open_links and not stop.is_set():
        for link in list(open_links):
            try:
                link.send(data)
            except TimeoutError:
                continue
            except OSError:
                open_links.discard(link)
    stop.wait()


def zeros(running: SoakServer, stop: threading.Event) -> None:
    link = dial(running.port, upgrade("?cf_protocol=protobuf"))
    send_all([link], frame(bytes(65_000), 0x82) * 20, stop)


def bombs(running: SoakServer, stop: threading.Event) -> None:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -15)
    data = deflate.compress(bytes(600_000)) + deflate.flush(zlib.Z_SYNC_FLUSH)
    extensions = "Sec-WebSocket-Extensions: permessage-deflate; client_no_context_takeover\r\n"
    link = dial(running.port, upgrade("?cf_protocol=protobuf", extensions))
    send_all([link], frame(data[:-4], 0xC2) * 50, stop)


def pings(running: SoakServer, stop: threading.Event) -> None:
    send_all([dial(running.port, upgrade())], frame(b"", 0x89) * 10_000, stop)


def fragments(running: SoakServer, stop: threading.Event) -> None:
    data = frame(b"x", 1) + frame(b"x", 0) * 60_000
    send_all([dial(running.port, upgrade()) for _ in range(10)], data, stop)


def publishes(running: SoakServer, stop: threading.Event) -> None:
    lines = b"\n".join(
        b'{"id":%d,"publish":{"channel":"flood","data":1}}' % id_ for id_ in range(2, 1302)
    )
    links = [dial(running.port, upgrade()) for _ in range(4)]
    for link in links:
        link.sendall(frame(CONNECT))
    send_all(links, frame(lines), stop)


def bodies(running: SoakServer, stop: threading.Event) -> None:
    head = b"POST /api/publish HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n"
    links = [dial(running.internal, head, answer=False) for _ in range(20)]
    send_all(links, bytes(65_536), stop)


def pipelines(running: SoakServer, stop: threading.Event) -> None:
    request = b"GET /nowhere HTTP/1.1\r\nHost: x\r\n\r\n"
    send_all([dial(running.port) for _ in range(4)], request * 2000, stop)


def chunks(running: SoakServer, stop: threading.Event) -> None:
    head = b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
    send_all(
        [dial(running.port, head, answer=False) for _ in range(4)], b"1\r\na\r\n" * 20_000, stop
    )


def http2_frames(kind: int, payload: bytes) -> Flood:
    preface = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" + struct.pack(">IBI", 4, 0, 0)
    data = struct.pack(">I", len(payload))[1:] + bytes((kind, 0)) + bytes(4) + payload

    def flood(running: SoakServer, stop: threading.Event) -> None:
        links = [dial(running.port, preface) for _ in range(4)]
        send_all(links, data * 5000, stop)

    return flood


def unfinished_frames(running: SoakServer, stop: threading.Event) -> None:
    links = [dial(running.port, upgrade()) for _ in range(2000)]
    data = frame(b"x" * 65_000)[:-1]
    for link in links:
        with contextlib.suppress(OSError):
            link.sendall(data)
    stop.wait()


def unfinished_bodies(running: SoakServer, stop: threading.Event) -> None:
    data = (
        b"POST /connection/http_stream HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n"
        + b"x" * 64_999
    )
    links = [dial(running.port, data, answer=False) for _ in range(2000)]
    stop.wait()
    del links


FLOODS: dict[str, Flood] = {
    "nothing": lambda running, stop: None,  # noqa: ARG005 - a flood's signature
    "frames of 65,000 empty commands": zeros,
    "compressed frames of 600,000 empty commands": bombs,
    "pings without pause, nothing read": pings,
    "messages in fragments of a byte, 10 clients": fragments,
    "frames of 1,300 publishes, 4 clients": publishes,
    "API bodies of 64 MiB without a key, 20 clients": bodies,
    "pipelined requests, 4 clients": pipelines,
    "bodies in chunks of a byte, 4 clients": chunks,
    "WINDOW_UPDATE of HTTP/2, 4 clients": http2_frames(8, b"\0\0\0\1"),
    "unknown frames of HTTP/2, 4 clients": http2_frames(0xBB, b""),
    "2,000 unfinished frames of 65 KB": unfinished_frames,
    "2,000 unfinished bodies of 65 KB": unfinished_bodies,
}


def run_flood(command: list[str], flood: Flood, seconds: float) -> dict[str, float]:
    """The honest client's times, the server's CPU time and memory while ``flood`` goes on."""
    with server(command) as running:
        before, used = memory(running), cpu(running)
        stop = threading.Event()
        flooder = threading.Thread(target=flood, args=(running, stop), daemon=True)
        flooder.start()
        time.sleep(0.3)
        measured = subprocess.run(
            [sys.executable, __file__, "--honest", str(running.port), str(seconds)],
            capture_output=True,
            text=True,
            check=True,
        )
        times: dict[str, float] = json.loads(measured.stdout)
        found = {**times, "memory": memory(running) - before, "cpu": cpu(running) - used}
        stop.set()
        flooder.join(10)
        return found


def floods(command: list[str], seconds: float) -> Iterator[Row]:
    """Each flood beside an honest client."""
    idle = 0.0
    for name, flood in FLOODS.items():
        found = run_flood(command, flood, seconds)
        idle = idle or found["p99"]
        bound = max(2 * idle, P99_BOUND)
        yield Row(
            f"flood: {name}",
            f"p99 {found['p99'] * 1000:.1f} ms, max {found['max'] * 1000:.1f} ms,"
            f" {found['memory'] / MIB:+.0f} MiB, CPU {found['cpu']:.1f} s",
            f"p99 ≤ {bound * 1000:.0f} ms, ≤ +{MEMORY_BOUND // MIB} MiB",
            found["p99"] <= bound and found["memory"] <= MEMORY_BOUND,
        )


# -- storms


async def come_back(port: int, channel: str, epoch: str, offset: int) -> bool:
    """One client that returns and recovers; whether it did."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(upgrade())
    await reader.readuntil(b"\r\n\r\n")
    wish = {"channel": channel, "recover": True, "epoch": epoch, "offset": offset}
    writer.write(frame(CONNECT + b"\n" + json.dumps({"id": 2, "subscribe": wish}).encode()))
    seen = b""
    while b'"id":2' not in seen:
        part = await reader.read(65536)
        if not part:
            break
        seen += part
    writer.close()
    return b'"recovered":true' in seen


def api(port: int, method: str, **request: Any) -> Any:
    """One call of the server API."""
    asked = urllib.request.Request(
        f"http://127.0.0.1:{port}/api/{method}",
        json.dumps(request).encode(),
        {"X-API-Key": run.API_KEY},
    )
    with urllib.request.urlopen(asked) as answer:
        return json.load(answer)["result"]


def storms(command: list[str], clients: int, rounds: int) -> Iterator[Row]:
    """All clients come back at once and recover, several times."""
    with server(command) as running:
        positions = []
        for number in range(50):
            for value in range(5):
                found = api(running.internal, "publish", channel=f"kept:{number}", data=value)
            positions.append((f"kept:{number}", found["epoch"]))

        async def storm() -> tuple[int, float]:
            started = time.monotonic()
            comers = [come_back(running.port, *positions[i % 50], i % 5) for i in range(clients)]
            return sum(await asyncio.gather(*comers)), time.monotonic() - started

        asyncio.run(storm())
        before = memory(running)
        results = [asyncio.run(storm()) for _ in range(rounds)]
        grown = memory(running) - before
        recovered = sum(count for count, _ in results)
        seconds = statistics.median(taken for _, taken in results)
        reads = metric(running, "flyball_history_reads_total")
        yield Row(
            f"storms: {rounds} of {clients} clients that recover in 50 channels",
            f"{recovered} recovered, {seconds:.1f} s each, {grown / MIB:+.1f} MiB,"
            f" {reads:.0f} reads of streams",
            f"all recover, ≤ +{16} MiB",
            recovered == rounds * clients and grown <= 16 * MIB,
        )


# -- long runs


def connects(command: list[str], count: int) -> Iterator[Row]:
    """Clients that come and go."""
    with server(command) as running:
        done = 0
        load = ("--mode", "connect", "--window", "50")
        done += run.run_load(running, load, 2)["ops"]
        before = memory(running)
        while done < count:
            done += run.run_load(running, load, 10)["ops"]
        grown = memory(running) - before
        yield Row(
            f"{done} connects and closes",
            f"{grown / MIB:+.1f} MiB",
            "≤ +8 MiB",
            grown <= 8 * MIB,
        )


def deaf(command: list[str], clients: int) -> Iterator[Row]:
    """Subscribers that do not read are closed, and leave nothing."""
    with server(command) as running:
        before = memory(running)
        links = [dial(running.port, upgrade()) for _ in range(clients)]
        for link in links:
            link.sendall(frame(CONNECT + b'\n{"id":2,"subscribe":{"channel":"busy"}}'))
        payload = "x" * 60_000
        highest = 0
        for _ in range(100):
            api(running.internal, "publish", channel="busy", data=payload)
            highest = max(highest, memory(running) - before)
        time.sleep(3)
        left = metric(running, "centrifugo_node_num_clients")
        yield Row(
            f"{clients} subscribers that read nothing, 100 messages of 60 KB",
            f"{left:.0f} still connected, at most {highest / MIB:+.0f} MiB",
            f"all closed, ≤ +{MEMORY_BOUND // MIB} MiB",
            left == 0 and highest <= MEMORY_BOUND,
        )


def idle(command: list[str], clients: int, minutes: float) -> Iterator[Row]:
    """Clients that do nothing: what memory does meanwhile."""
    with server(command) as running:
        seconds = max(int(minutes * 60), 10)
        samples: list[tuple[float, int]] = []
        done = threading.Event()

        def sample() -> None:
            while not done.wait(seconds / 20):
                samples.append((time.monotonic(), memory(running)))

        sampler = threading.Thread(target=sample, daemon=True)
        sampler.start()
        load = ("--mode", "idle", "--conns", str(clients))
        found = run.run_load(running, load, seconds)
        done.set()
        sampler.join()
        later = samples[len(samples) // 3 : -1] or samples
        slope = statistics.linear_regression(*zip(*later, strict=True)).slope * 60
        yield Row(
            f"{clients} idle clients for {minutes:g} min",
            f"{found['pss_kb_per_conn']:.1f} KB each, slope {slope / 1024:+.0f} KB/min",
            "slope ≤ 100 KB/min",
            slope <= 100 * 1024,
        )


class Page:
    """What an open admin page asks for, over a connection of its own."""

    def __init__(self, running: SoakServer) -> None:
        self._running = running
        self._link = http.client.HTTPConnection("127.0.0.1", running.internal, timeout=30)
        self._token = ""
        form = b"password=bench"
        self._token = json.loads(self._ask("POST", "auth", form))["token"]

    def _ask(self, method: str, path: str, body: bytes = b"") -> bytes:
        headers = {"Authorization": f"token {self._token}"}
        self._link.request(method, f"/admin/{path}", body, headers)
        answer = self._link.getresponse()
        found = answer.read()
        if answer.status != 200 or b'"error"' in found:
            message = f"{path}: {answer.status} {found[:200]!r}"
            raise RuntimeError(message)
        return found

    def watch(self, page: str, seconds: float) -> float:
        """Leaves a page open for a while; the server's CPU seconds around its requests."""
        cost = 0.0
        now = time.monotonic()
        due = [(now, number) for number in range(len(WATCHED[page]))]
        end = now + seconds
        while True:
            at, number = heapq.heappop(due)
            if at >= end:
                break
            time.sleep(max(0.0, at - time.monotonic()))
            every, command, params = WATCHED[page][number]
            before = precise_cpu(self._running)
            if command:
                self._ask("POST", "api", json.dumps({"method": command, "params": params}).encode())
            else:
                self._ask("GET", "stats")
            time.sleep(0.02)  # what it left to do after the answer
            cost += precise_cpu(self._running) - before
            heapq.heappush(due, (at + every, number))
        return cost

    def close(self) -> None:
        """Ends the connection."""
        self._link.close()


def watched(command: list[str], clients: int, seconds: float) -> Iterator[Row]:
    """What an open admin page costs beside idle clients, each in a channel of its own."""
    # Without pings: nothing else happens around the page's requests.
    quiet = {"ping_interval": "0s", "pong_timeout": "0s"}
    with server(command, **quiet) as running, contextlib.closing(Page(running)) as page:
        for value in range(50):
            api(running.internal, "publish", channel="kept:1", data={"number": value})
        load = ("--mode", "idle", "--conns", str(clients))
        whole = int(seconds * len(WATCHED)) + 10
        crowd = threading.Thread(target=run.run_load, args=(running, load, whole), daemon=True)
        crowd.start()
        while metric(running, "centrifugo_node_num_clients") < clients:
            time.sleep(0.2)
        time.sleep(1)  # what connecting has left to do
        for name in WATCHED:
            cost = page.watch(name, seconds) / seconds
            yield Row(
                f"an open admin page ({name}) beside {clients} clients in as many channels",
                f"{cost * 100:.2f} % of a core",
                f"≤ {WATCH_BOUND * 100:.0f} %",
                cost <= WATCH_BOUND,
            )
        crowd.join()


def arguments() -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--honest", nargs=2, help=argparse.SUPPRESS)
    parser.add_argument("--minutes", type=float, default=30, help="of the idle clients (30)")
    parser.add_argument("--clients", type=int, default=10_000, help="idle clients (10000)")
    parser.add_argument("--connects", type=int, default=200_000, help="connects (200000)")
    parser.add_argument("--storm", type=int, default=5000, help="clients of a storm (5000)")
    parser.add_argument("--server", help="another flyball command to measure")
    parser.add_argument("--quick", action="store_true", help="a minute of everything")
    return parser.parse_args()


def main() -> int:
    """Runs everything and prints the table."""
    options = arguments()
    if options.honest:
        print(json.dumps(honest(int(options.honest[0]), float(options.honest[1]))))
        return 0
    if options.quick:
        options.minutes, options.clients = 0.25, 2000
        options.connects, options.storm = 20_000, 1000
    run.raise_file_limit()
    run.build()
    command = [options.server] if options.server else run.flyball_command()
    today = dt.datetime.now(dt.UTC).date().isoformat()
    print(f"{today}, {run.machine()}:\n\n| work | found | bound |\n|---|---|---|", flush=True)
    kept = True
    for rows in (
        floods(command, 2.0 if options.quick else 5.0),
        storms(command, options.storm, 3),
        deaf(command, 200),
        connects(command, options.connects),
        watched(command, options.clients, 10.0 if options.quick else 30.0),
        idle(command, options.clients, options.minutes),
    ):
        for row in rows:
            verdict = "kept" if row.kept else "**missed**"
            print(f"| {row.work} | {row.figure} | {row.bound}: {verdict} |", flush=True)
            kept = kept and row.kept
    return 0 if kept else 1


if __name__ == "__main__":
    sys.exit(main())

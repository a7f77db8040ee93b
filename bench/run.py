# ruff: noqa: RUF001 -- the printed table is typeset
"""Compares the server's cost with that of a C floor doing the same work, in one run.

``rtload`` makes the load and reads each server's CPU time and memory from /proc; ``rtlimit`` is
the floor: canned answers and one send(2) for each message. Every case starts fresh servers,
alternates floor and Flyball, and takes the median of the repeats. Needs Linux, a C compiler and
an installed ``flyball`` command; everything stays on loopback.
"""

from __future__ import annotations

import argparse
import base64
import contextlib
import datetime as dt
import hashlib
import hmac
import http.client
import json
import os
import platform
import resource
import shlex
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
BIN = HERE / "bin"
README = ROOT / "README.md"
START_MARK = "<!-- bench:start -->"
END_MARK = "<!-- bench:end -->"

API_KEY = "bench-api-key"
TOKEN_SECRET = "bench-token-secret-of-32-bytes-or-more"  # a throw-away server's
START_TIMEOUT = 20.0
"""Seconds a server may take until it answers."""

PERMISSIONS = {
    "allow_subscribe_for_client": True,
    "allow_subscribe_for_anonymous": True,
    "allow_publish_for_client": True,
    "allow_publish_for_anonymous": True,
}


@dataclass(frozen=True, slots=True)
class Case:
    """One line of the table."""

    group: str
    """What ``--only`` selects."""
    title: str
    load: tuple[str, ...]
    """Arguments of rtload for both servers."""
    target: float
    """Highest ratio to the floor; for memory, KB a client."""
    own: tuple[str, ...] = ()
    """Arguments of rtload for Flyball only (the floor speaks JSON and checks nothing)."""
    memory: bool = False
    """The result is memory of an idle client, not CPU; the floor is not run."""
    baseline: tuple[str, ...] = ()
    """Arguments of rtload for Flyball itself: what the result is compared with, not the floor."""
    backend: str = ""
    """``http`` or ``grpc``: Flyball asks a backend. The floor is a plain client that asks it too."""
    most: float = float("inf")
    """Highest CPU time, microseconds."""


@dataclass(slots=True)
class Result:
    """What came out of a case; times in microseconds."""

    case: Case
    floor: list[dict[str, Any]] = field(default_factory=list)
    flyball: list[dict[str, Any]] = field(default_factory=list)
    problem: str = ""


def token(user: str = "42") -> str:
    """A connection token signed with the server's HMAC secret."""

    def part(data: bytes) -> str:
        return base64.urlsafe_b64encode(data).rstrip(b"=").decode()

    head = part(b'{"alg":"HS256","typ":"JWT"}')
    claims = {"sub": user, "exp": int(time.time()) + 3600}
    body = part(json.dumps(claims, separators=(",", ":")).encode())
    mac = hmac.new(TOKEN_SECRET.encode(), f"{head}.{body}".encode(), hashlib.sha256)
    return f"{head}.{body}.{part(mac.digest())}"


def cases(idle_clients: int) -> list[Case]:
    """All lines of the table, in its order."""
    found: list[Case] = []
    for rate in (50, 200):
        for proto, extra in (("JSON", ()), ("Protobuf", ("--protobuf",))):
            for channel, note in (("bench", ""), ("hist:x", ", history")):
                load = ("--mode", "fanout", "--conns", "1000", "--rate", str(rate))
                title = f"fan-out to 1000, {rate} msg/s, {proto}{note}"
                found.append(Case("fanout", title, (*load, "--channel", channel), 2.0, extra))
    direct = ("--mode", "direct", "--conns", "1000", "--rate", "3000", "--publishers", "4")
    connect = ("--mode", "connect", "--window", "50")
    idle = ("--mode", "idle", "--conns", str(idle_clients))
    return [
        *found,
        Case("direct", "one message to one client, 3000/s", direct, 3.0),
        Case("api", "HTTP API publish", ("--mode", "api", "--publishers", "4"), 2.5),
        Case(
            "clientpub",
            "client publish, 10 in flight",
            ("--mode", "clientpub", "--conns", "1", "--window", "10"),
            3.0,
        ),
        Case("connect", "connect and close", connect, 7.0),
        Case("connect", "connect and close, JWT", connect, 7.0, ("--token", token())),
        Case("idle", f"memory of {idle_clients} idle clients", idle, 12.0, memory=True),
        *streams(idle_clients),
        *proxies(),
    ]


def proxies() -> list[Case]:
    """Calls to a backend, 50 at a time, beside aiohttp and grpcio making the same calls."""
    rpc = ("--mode", "rpc", "--conns", "50", "--publishers", "50", "--window", "1")
    connect = ("--mode", "connect", "--window", "50")
    found = []
    for name, client, most in (("http", "aiohttp", 120.0), ("grpc", "grpcio", 250.0)):
        title = f"through a proxy over {name.upper()}, beside bare {client}"
        found.append(Case("proxy", f"RPC {title}", rpc, 2.0, backend=name, most=most))
        found.append(Case("proxy", f"connect and close {title}", connect, 7.0, backend=name))
    return found


def streams(idle_clients: int) -> list[Case]:
    """HTTP streaming and SSE beside our own WebSocket doing the same."""
    found = []
    fanout = ("--mode", "fanout", "--conns", "1000", "--rate", "50")
    idle = ("--mode", "idle", "--conns", str(idle_clients))
    for name in ("http_stream", "sse"):
        own = ("--transport", name)
        title = f"fan-out to 1000, 50 msg/s, {name} beside WebSocket"
        found.append(Case("streams", title, fanout, 1.5, own, baseline=fanout))
        title = f"memory of {idle_clients} idle {name} clients beside WebSocket"
        found.append(Case("streams", title, idle, 1.5, own, memory=True, baseline=idle))
    return found


def build() -> None:
    """Compiles what is not there or older than its source."""
    compiler = os.environ.get("CC") or shutil.which("cc") or shutil.which("gcc")
    if not compiler:
        sys.exit("bench: no C compiler found (looked for $CC, cc, gcc)")
    BIN.mkdir(exist_ok=True)
    for name in ("rtload", "rtlimit"):
        source, program = HERE / f"{name}.c", BIN / name
        if program.exists() and program.stat().st_mtime >= source.stat().st_mtime:
            continue
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)


def flyball_command() -> list[str]:
    """The ``flyball`` of the environment this script runs in, else the one on PATH."""
    beside = Path(sys.executable).parent / "flyball"
    found = str(beside) if beside.exists() else shutil.which("flyball")
    if not found:
        sys.exit("bench: no flyball command found; run `make setup` first")
    return [found]


def free_port() -> int:
    """A loopback port that nobody listens on."""
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return int(s.getsockname()[1])


def write_config(folder: Path, port: int, backend: str = "") -> Path:
    """A server that lets anonymous clients do what the load needs; it may ask a backend."""
    history = {"name": "hist", "history_size": 100, "history_ttl": "60s", **PERMISSIONS}
    config: dict[str, Any] = {
        "http_server": {"address": "127.0.0.1", "port": port},
        "http_api": {"key": API_KEY},
        "log": {"level": "error"},
        "health": {"enabled": True},
        "http_stream": {"enabled": True},
        "sse": {"enabled": True},
        "client": {
            "allow_anonymous_connect_without_token": True,
            "token": {"hmac_secret_key": TOKEN_SECRET},
        },
        "channel": {"without_namespace": PERMISSIONS, "namespaces": [history]},
    }
    if backend:
        config["client"]["proxy"] = {"connect": {"enabled": True, "endpoint": f"{backend}/connect"}}
        endpoint = f"{backend}/rpc"
        config["rpc"] = {
            "proxy": {"endpoint": endpoint, "timeout": "5s"},
            "without_namespace": {"proxy_enabled": True},
        }
    path = folder / "config.json"
    path.write_text(json.dumps(config, indent=2))
    return path


class Server:
    """A server process of ours, stopped by its pid."""

    def __init__(self, command: list[str], port: int, folder: Path, *, health: bool) -> None:
        self.port = port
        self.log = folder / f"{Path(command[0]).name}.log"
        with self.log.open("wb") as out:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, cwd=folder
            )
        try:
            self._wait(health=health)
        except BaseException:
            self.stop()
            raise

    def _wait(self, *, health: bool) -> None:
        until = time.monotonic() + START_TIMEOUT
        while time.monotonic() < until:
            if self.process.poll() is not None:
                message = f"server ended at once: {self.tail()}"
                raise RuntimeError(message)
            if self._answers(health=health):
                return
            time.sleep(0.05)
        message = f"server did not answer on port {self.port} in {START_TIMEOUT:g} s: {self.tail()}"
        raise RuntimeError(message)

    def _answers(self, *, health: bool) -> bool:
        try:
            if not health:
                socket.create_connection(("127.0.0.1", self.port), timeout=1).close()
                return True
            link = http.client.HTTPConnection("127.0.0.1", self.port, timeout=1)
            with contextlib.closing(link):
                link.request("GET", "/health")
                return link.getresponse().status == 200
        except (OSError, http.client.HTTPException):
            return False

    def tail(self) -> str:
        """The end of what the server wrote."""
        return self.log.read_text(errors="replace").strip()[-2000:]

    def stop(self) -> None:
        """Ends the process and waits for it."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            try:
                self.process.wait(10)
            except subprocess.TimeoutExpired:
                self.process.kill()
        self.process.wait()


def run_load(server: Server, arguments: tuple[str, ...], seconds: int) -> dict[str, Any]:
    """One run of rtload; raises ``RuntimeError`` with its words when it failed."""
    command = [str(BIN / "rtload"), "--port", str(server.port), "--pid", str(server.process.pid)]
    command += ["--seconds", str(seconds), "--apikey", API_KEY, *arguments]
    done = subprocess.run(
        command, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL
    )
    lines = done.stdout.strip().splitlines()
    if not lines:
        message = f"rtload ended with {done.returncode}: {done.stderr.strip()} {server.tail()}"
        raise RuntimeError(message)
    answer: dict[str, Any] = json.loads(lines[-1])
    if answer["api_errors"]:
        message = f"{answer['api_errors']} API calls failed"
        raise RuntimeError(message)
    if answer["failed"] and answer["mode"] != "connect":
        message = f"{answer['failed']} of {answer['conns']} clients failed {server.tail()}"
        raise RuntimeError(message)
    if not answer["ops"]:
        message = f"nothing was done {server.tail()}"
        raise RuntimeError(message)
    return answer


def run_proxied(case: Case, result: Result, seconds: int, command: list[str]) -> None:
    """A backend, a plain client that asks it, then Flyball that does."""
    with tempfile.TemporaryDirectory(prefix="flyball-bench-") as name:
        folder, port, backend_port = Path(name), free_port(), free_port()
        script = [sys.executable, str(HERE / "backend.py")]
        serve = [*script, "serve", case.backend, str(backend_port)]
        backend = Server(serve, backend_port, folder, health=False)
        with contextlib.closing(_Stop(backend)):
            call = [*script, "call", case.backend, str(backend_port), "--seconds", str(seconds)]
            done = subprocess.run(call, capture_output=True, text=True, check=False)
            if done.returncode:
                raise RuntimeError(done.stderr)
            result.floor.append(json.loads(done.stdout))
            config = write_config(folder, port, f"{case.backend}://127.0.0.1:{backend_port}")
            ours = Server([*command, "-c", str(config)], port, folder, health=True)
            with contextlib.closing(_Stop(ours)):
                result.flyball.append(run_load(ours, case.load, seconds))


def run_case(case: Case, seconds: int, repeats: int, command: list[str]) -> Result:
    """Floor and Flyball in turns, on the same machine in the same minute."""
    result = Result(case)
    try:
        for _ in range(repeats):
            if case.backend:
                run_proxied(case, result, seconds, command)
                continue
            with tempfile.TemporaryDirectory(prefix="flyball-bench-") as name:
                folder = Path(name)
                if case.baseline:
                    port = free_port()
                    config = write_config(folder, port)
                    ours = Server([*command, "-c", str(config)], port, folder, health=True)
                    with contextlib.closing(_Stop(ours)):
                        result.floor.append(run_load(ours, case.baseline, seconds))
                elif not case.memory:
                    port = free_port()
                    floor = Server([str(BIN / "rtlimit"), str(port)], port, folder, health=False)
                    with contextlib.closing(_Stop(floor)):
                        result.floor.append(run_load(floor, case.load, seconds))
                port = free_port()
                config = write_config(folder, port)
                ours = Server([*command, "-c", str(config)], port, folder, health=True)
                with contextlib.closing(_Stop(ours)):
                    result.flyball.append(run_load(ours, (*case.load, *case.own), seconds))
    except RuntimeError as error:
        result.problem = str(error)
    return result


class _Stop:
    """Lets ``contextlib.closing`` end a server."""

    def __init__(self, server: Server) -> None:
        self.close = server.stop


def median(runs: list[dict[str, Any]], name: str) -> float:
    """The middle value of one figure over the repeats."""
    return statistics.median(float(run[name]) for run in runs)


def figures(result: Result) -> dict[str, Any]:
    """The numbers of one line, for people and for ``--json``."""
    case = result.case
    line: dict[str, Any] = {"case": case.title, "group": case.group, "target": case.target}
    if result.problem:
        return {**line, "problem": result.problem}
    if case.memory:
        kb = median(result.flyball, "pss_kb_per_conn")
        if case.baseline:
            ratio = kb / median(result.floor, "pss_kb_per_conn")
            return {
                **line,
                "kb_per_client": round(kb, 1),
                "ratio": round(ratio, 2),
                "met": ratio <= case.target,
            }
        return {**line, "kb_per_client": round(kb, 1), "met": kb <= case.target}
    floor, ours = median(result.floor, "cpu_us_per_op"), median(result.flyball, "cpu_us_per_op")
    ratio = ours / floor if floor else float("inf")
    return {
        **line,
        "floor_us": round(floor, 2),
        "flyball_us": round(ours, 2),
        "ratio": round(ratio, 2),
        "p99_us": round(median(result.flyball, "p99_us")),
        "ops_per_s": round(median(result.flyball, "ops_per_s")),
        "lost": sum(int(run["lost"]) for run in result.flyball),
        **({} if case.most == float("inf") else {"most_us": case.most}),
        "met": ratio <= case.target and ours <= case.most,
    }


def row(line: dict[str, Any]) -> str:
    """One line of the Markdown table."""
    if "problem" in line:
        words = " ".join(line["problem"].split()).replace("|", "/")[:160]
        return f"| {line['case']} | – | – | – | – | – | failed: {words} |"
    verdict = "met" if line["met"] else "missed"
    if "kb_per_client" in line:
        kb = line["kb_per_client"]
        if "ratio" in line:
            ratio = f"{line['ratio']:.2f}×"
            return f"| {line['case']} | – | {kb} KB each | {ratio} | – | ≤ {line['target']:g}×, {verdict} | – |"
        return f"| {line['case']} | – | {kb} KB each | – | – | ≤ {line['target']:g} KB, {verdict} | – |"
    p99 = f"{line['p99_us'] / 1000:.1f} ms" if line["p99_us"] else "–"
    lost = line["lost"] if line["group"] in ("fanout", "direct", "streams") else "–"
    target = f"≤ {line['target']:g}×"
    if "most_us" in line:
        target += f" and ≤ {line['most_us']:g} µs"
    return (
        f"| {line['case']} | {line['floor_us']:.1f} µs | {line['flyball_us']:.1f} µs "
        f"| {line['ratio']:.2f}× | {p99} | {target}, {verdict} | {lost} |"
    )


TABLE_HEAD = (
    "| work | C floor | Flyball | ratio | p99 latency | target | lost |\n"
    "|---|---|---|---|---|---|---|"
)


def machine() -> str:
    """What the numbers were taken on."""
    model = platform.machine()
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                model = line.split(":", 1)[1].strip()
                break
    return (
        f"{model}, {os.cpu_count()} cores, {platform.system()} {platform.release().split('-')[0]}, "
        f"Python {platform.python_version()}"
    )


def report(lines: list[dict[str, Any]]) -> str:
    """The whole table with its date and machine."""
    today = dt.datetime.now(dt.UTC).date().isoformat()
    head = f"Server CPU time for each delivered message or operation, {today}, {machine()}:"
    return "\n".join([head, "", TABLE_HEAD, *map(row, lines)]) + "\n"


def update_readme(text: str) -> None:
    """Puts the table between the markers of the README."""
    readme = README.read_text(encoding="utf-8")
    before, start, rest = readme.partition(START_MARK)
    _, end, after = rest.partition(END_MARK)
    if not start or not end:
        sys.exit(f"bench: {README.name} has no {START_MARK} … {END_MARK}")
    README.write_text(f"{before}{START_MARK}\n{text}{END_MARK}{after}", encoding="utf-8")


def raise_file_limit() -> int:
    """Lets this process and its children open as many files as allowed; returns how many."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    return hard if hard != resource.RLIM_INFINITY else 1 << 20


def arguments(groups: list[str]) -> argparse.Namespace:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--only", action="append", choices=groups, help="run this group only")
    parser.add_argument("--seconds", type=int, default=5, help="length of a run (default 5)")
    parser.add_argument("--repeats", type=int, default=2, help="runs of a case (default 2)")
    parser.add_argument("--quick", action="store_true", help="one short run, 4000 idle clients")
    parser.add_argument("--clients", type=int, default=10000, help="idle clients (default 10000)")
    parser.add_argument("--server", help="another flyball command to measure")
    parser.add_argument("--json", action="store_true", help="print JSON in place of the table")
    parser.add_argument(
        "--update-readme", action="store_true", help="put the table into README.md too"
    )
    return parser.parse_args()


def main() -> int:
    """Runs the chosen cases and prints what came out."""
    groups = list(dict.fromkeys(case.group for case in cases(1)))
    options = arguments(groups)
    seconds, repeats, clients = options.seconds, options.repeats, options.clients
    if options.quick:
        # Fewer clients would fit into the memory that start-up left free, and seem to cost nothing.
        seconds, repeats, clients = 2, 1, 4000
    # Both ends of an idle connection are on this machine, and each process needs a few more.
    clients = min(clients, raise_file_limit() - 200)
    build()
    command = shlex.split(options.server) if options.server else flyball_command()
    lines = []
    for case in cases(clients):
        if options.only and case.group not in options.only:
            continue
        if sys.stderr.isatty():
            print(f"… {case.title}", file=sys.stderr)
        lines.append(figures(run_case(case, seconds, repeats, command)))
    text = report(lines)
    if options.json:
        print(json.dumps({"machine": machine(), "seconds": seconds, "cases": lines}, indent=2))
    else:
        print(text, end="")
    if options.update_readme:
        update_readme(text)
    for line in lines:
        if "problem" in line:
            print(f"bench: {line['case']}: {line['problem']}", file=sys.stderr)
    return 0


if __name__ == "__main__":
    sys.exit(main())

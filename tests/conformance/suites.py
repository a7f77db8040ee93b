"""Conformance suites of others, run against our servers, and what is known to differ.

Autobahn's cases for WebSocket come with the wheel ``kosoku``, those for HTTP/2 with the Go
program ``h2spec``, which ``make`` installs.
"""

import asyncio
import json
import sys
import tempfile
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from xml.etree import ElementTree as ET

from echo import echo_server, page_server

AUTOBAHN = Path(__file__).with_name("autobahn.py")

QUICK_PARTS = (
    *(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 10)),
    *("9.1.1", "9.2.1", "9.7.1", "12.1.1", "12.3.1", "13.3.1", "13.7.1"),
)
"""Autobahn's cases that take seconds together."""
FULL_PARTS = (
    *(f"{group}.*" for group in (1, 2, 3, 4, 5, 6, 7, 9, 10)),
    *(f"12.{group}.*" for group in range(1, 6)),
    *(f"13.{group}.*" for group in range(1, 8)),
)
"""All cases, in parts of some minutes at most."""

WEBSOCKET = "WebSocket"
HTTP2_TLS, HTTP2_CLEARTEXT = "HTTP/2 over TLS", "HTTP/2 cleartext"

KNOWN = {
    **{
        (WEBSOCKET, f"6.4.{number}"): "text is looked at when the message is whole, not before"
        for number in range(1, 5)
    },
    (HTTP2_CLEARTEXT, "http2/3.5: Sends invalid connection preface"): (
        "what does not begin HTTP/2 is HTTP/1.1, whose answer is 400"
    ),
}
"""(suite, case) to the reason why another verdict than a plain pass is ours."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a suite says of one case."""

    suite: str
    part: str
    case: str
    passed: bool
    verdict: str
    """In the words of the suite."""
    detail: str = ""

    @property
    def surprise(self):
        """It is not as we know it: a new fault, or a known one that is none any more."""
        return self.passed is ((self.suite, self.case) in KNOWN)

    def __str__(self):
        return f"{self.suite} {self.case}: {self.verdict} {self.detail}".rstrip()


def missing_kosoku():
    """Why Autobahn's cases cannot be run here; empty if they can."""
    if find_spec("kosoku") is None:
        return "Autobahn's cases need the package kosoku; `make setup` installs it"
    return ""


def h2spec():
    """Where ``make test`` builds it; None if it did not."""
    built = sorted(Path(sys.prefix, "h2spec").glob("*/h2spec"))
    return built[-1] if built else None


def missing_h2spec():
    """Why the cases of HTTP/2 cannot be run here; empty if they can."""
    return "" if h2spec() else "h2spec is missing; `make test` builds it, which needs Go"


async def run_autobahn(*patterns):
    """Autobahn's cases of these patterns against the echo."""
    async with echo_server() as port:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, AUTOBAHN, f"ws://127.0.0.1:{port}", *patterns),
            stdout=asyncio.subprocess.PIPE,
        )
        lines, _ = await process.communicate()
    assert process.returncode == 0, "the suite itself failed"
    return [_autobahn_outcome(**json.loads(line)) for line in lines.splitlines()]


def _autobahn_outcome(case, verdict, closing, detail):
    group, subgroup, *_ = case.split(".")
    part = f"{group}.{subgroup}" if group in ("12", "13") else group
    passed = {verdict, closing} <= {"OK", "INFORMATIONAL"}
    return Outcome(WEBSOCKET, part, case, passed, verdict, f"(closing: {closing}) {detail}")


async def run_h2spec(suite):
    """All cases of h2spec against pages, over TLS or not."""
    tls = suite == HTTP2_TLS
    with tempfile.TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        async with page_server(tls=tls) as port:
            flags = ["--tls", "--insecure"] if tls else []
            process = await asyncio.create_subprocess_exec(
                *(h2spec(), "--strict", "--port", str(port), "--junit-report", report, *flags),
                stdout=asyncio.subprocess.DEVNULL,
            )
            await process.wait()
        tree = await asyncio.to_thread(ET.parse, report)
    return [_h2spec_outcome(suite, case) for case in tree.iter("testcase")]


def _h2spec_outcome(suite, case):
    package = case.get("package")
    faults = [child for child in case if child.tag in ("failure", "error", "skipped")]
    name = f"{package}: {case.get('classname')}"
    verdict = faults[0].tag if faults else "passed"
    detail = " ".join((faults[0].text or "").split()) if faults else ""
    part = package.partition("/")[0]
    return Outcome(suite, part, name, not faults, verdict, detail)

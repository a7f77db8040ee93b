"""A server of several workers that tests start."""

import json
import os
import ssl
import urllib.error
import urllib.request

from ports import free_port
from processes import FLYBALL, Program
from waiting import wait_for

KEY = "secret"


class Workers:
    """A supervisor and what it supervises.

    Args:
        folder: for its files.
        count: workers, as the flag tells; 0: as the configuration does.
        environ: more variables.
        more: more sections of the configuration; those that are here already are added to.
    """

    def __init__(self, folder, count=2, environ=None, **more):
        self.port = free_port()
        self.config = {
            "client": {"insecure": True, "allowed_origins": []},
            "http_api": {"key": KEY},
            "health": {"enabled": True},
            "prometheus": {"enabled": True},
            "pid_file": str(folder / "pid"),
            "http_stream": {"enabled": True},
            "http_server": {},
            "channel": {
                "namespaces": [
                    {
                        "name": "audit",
                        "history_size": 100000,
                        "history_ttl": "300s",
                        "force_recovery": True,
                        "allow_subscribe_for_client": True,
                        "allow_subscribe_for_anonymous": True,
                    }
                ]
            },
        }
        for name, section in more.items():
            known = self.config.get(name, {})
            self.config[name] = {**known, **section} if isinstance(section, dict) else section
        self.count = count or self.config["http_server"].get("workers") or 2
        self.path = folder / "config.json"
        self.write()
        self.scheme = "https" if "tls" in self.config["http_server"] else "http"
        flags = ("--workers", str(count)) if count else ()
        self.program = Program(
            str(FLYBALL),
            *("-c", str(self.path), *flags, "--http_server.port", str(self.port)),
            cwd=folder,
            env={**os.environ, **(environ or {})},
        )
        self.program.wait_for(lambda: len(self.pids) == self.count)

    def write(self):
        """Writes the configuration file (again)."""
        self.path.write_text(json.dumps(self.config))

    @property
    def pids(self):
        """Process ids of all workers that have started so far."""
        return [record["pid"] for record in self.program.records("started")]

    def pid_of(self, number):
        """The process that is a worker now, or was last."""
        told = f'"number":{number},'.encode()
        for pid in reversed(self.pids):
            with open(f"/proc/{pid}/environ", "rb") as environ:
                if told in environ.read():
                    return pid
        raise LookupError(number)

    @property
    def internal_port(self):
        """Where the API is, and what is for operators."""
        return self.config["http_server"].get("internal_port") or self.port

    def fetch(self, path, body=None, headers=(), port=None):
        """Status and body of an answer."""
        url = f"{self.scheme}://127.0.0.1:{port or self.internal_port}{path}"
        request = urllib.request.Request(url, body, dict(headers))
        trusting = ssl._create_unverified_context() if self.scheme == "https" else None
        try:
            with urllib.request.urlopen(request, timeout=30, context=trusting) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read()

    def call(self, method, **request):
        """The result of a call of the server API."""
        body = json.dumps(request).encode()
        _, answer = self.fetch(f"/api/{method}", body, {"X-API-Key": KEY})
        return json.loads(answer)["result"]

    def nodes(self):
        """The names of all workers that are known to one."""
        return {node["name"] for node in self.call("info")["nodes"]}

    def clients(self):
        """Clients of each worker, as one of them knows."""
        return sorted(node["num_clients"] for node in self.call("info")["nodes"])

    def health(self):
        """The status of /health, and what it says is wrong."""
        status, body = self.fetch("/health")
        return status, json.loads(body).get("problems", [])

    def wait_until_all_know_each_other(self):
        wait_for(lambda: len(self.nodes()) == self.count, "all workers")


def alive(pid):
    """Whether a process is there."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True

